"""Settings from environment variables, files and AWS Secrets Manager. docs/settings.md lists them.

The names with a leading underscore are given by the environment that this runs in. Variables of
libraries are read by these themselves: ``AWS_*`` by botocore, ``PGSSLROOTCERT`` by libpq.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import time
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
)
from pydantic_settings import SettingsError as SourceError

from orders_dask.cost import Price
from orders_dask.errors import SettingsError
from orders_dask.secrets import (
    PASSWORD,
    PASSWORD_FILE,
    SECRETS_FOLDER,
    checked_secrets_folder,
    login_from_secrets_manager,
    password_file,
    password_from_file,
    read_setting,
    secrets_folder,
)
from orders_dask.setting_values import (
    columns_file,
    command_line,
    parse_pairs,
    parse_seconds,
    parse_size,
    printable_password,
    record_path,
    table_groups,
    timezone_name,
    webhook_url,
    without_zone,
)
from orders_dask.urls import parent_folder, validate_endpoint, validate_source, validate_stage

_SERVICE_PREFIXES: Final = (
    "_PGSQL_",
    "_AWS_",
    "AWS_",
    "PG",
    "DASK_SCHEDULER",
    "ORDERS_DASK_API_",
    "ORDERS_DASK_PG_",
    "ORDERS_DASK_SECRETS_DIR",
    "ORDERS_DASK_STAGE_URL",
)
"""Prefixes of the variables that choose a service: ours, botocore's, libpq's and Dask's."""


class Settings(BaseSettings):
    """All settings, frozen.

    Each is passed by attribute name or, in this order, read from an environment variable, from a
    file of that name in the folder of secrets, or from AWS Secrets Manager. Use
    :func:`load_settings`, which raises one sentence for all problems.

    Attributes
    ----------
    pgsql_hostname
        Host name of the PostgreSQL server, or the folder of its socket.
    pgsql_port
        Port of the PostgreSQL server.
    pgsql_user
        User (role) of the PostgreSQL connections.
    pgsql_pass
        Password of this user, never shown. It may be empty. Then libpq uses ``PGPASSWORD`` or the
        password file (``~/.pgpass``, ``PGPASSFILE``), or the server asks for no password (peer or
        trust authentication).
    pgsql_database
        Name of the database.
    pgsql_pass_file
        File that holds the password instead. It is read again for each connection, so the password
        may be rotated during a run.
    pgsql_auth
        ``password``, or ``aws-iam`` for a token of Amazon RDS that is made for each connection; it
        needs ``PGSSLMODE`` of ``require`` or stricter.
    pgsql_secret
        Name or ARN of a secret in AWS Secrets Manager with user and password (host, port and
        database too, if the secret has them), as RDS manages it. If PostgreSQL refuses the
        password, the secret is read again.
    secrets_folder
        Folder whose files are settings: ``/run/secrets/_PGSQL_PASS`` holds the password. The folder
        is read from its variable alone, so the attribute changes nothing.
    source
        The dump: an fsspec URL of a file, a folder or a glob, with ``{run_date}`` or without.
    stage_url
        Folder of the Parquet intermediates, by default beside the source. Its last folder is always
        ``.orders_dask``, which is appended if it is missing.
    shop_timezone
        IANA name of the shop's time zone, for timestamps without an offset.
    record
        Where the order stands in each record of the dump: ``airbyte``, ``singer``, ``eventbridge``,
        ``debezium``, a dotted path such as ``detail.payload``, or both as ``debezium.body``. Unset,
        a record is the order.
    keep_raw
        ``parquet`` keeps the text of each record in the stage, for as long as its load is kept: it
        can then be decoded once more when the dump is gone. It has all personal data of the dump.
    schema_drift
        What becomes of keys that the contract doesn't know: ``ignore``, ``report``, or ``refuse`` a
        run that has any.
    facts
        Groups of tables, such as ``sales,discounts,taxes``: ``sales`` is always there, the others
        are ``discounts``, ``fulfilments``, ``payments``, ``taxes`` and ``attributes``. It has to be
        in the environment before :mod:`orders_dask` is imported, of workers too. See
        docs/contract.md#groups-of-tables.
    columns
        TOML file with columns of one's own, such as ``columns.toml``. Like ``ORDERS_DASK_FACTS`` it
        has to be in the environment before :mod:`orders_dask` is imported, of workers too. See
        docs/columns.md.
    latest
        Time of day, in the shop's time zone, by which yesterday should be published.
    max_rejected
        Share, 0 to 1, of a run date's orders, and of its lines. A run is refused if more than this
        share and more than 10 were rejected; with 0, if any was.
    alert_url
        Webhook that is told when a run date is held, refused, failed or late, and when it has
        recovered: Slack's, Teams', PagerDuty's events or any that takes JSON. Never shown.
    alert_key
        Routing key of PagerDuty's events. Never shown.
    alert_command
        Command, run without a shell, that gets the alert as JSON on standard input.
    copy_connections
        Number of parts that are loaded at once, each over its own connection.
    block_size
        Most bytes of text that one task decodes, such as ``32MiB``.
    partition_width
        Whether a partition of the fact storage holds a month or a day. The first ``orders-dask
        init`` fixes it.
    check_severities
        Severity of checks, as ``orders=warn,nulls=off``: ``off``, ``warn`` or ``hold``. See
        docs/checks.md.
    check_thresholds
        Thresholds of checks, as ``fewer_orders=0.5``.
    prices
        Prices of what a load costs, as ``worker_hour=0.05,put_1000=0.005``, in any currency:
        ``worker_hour`` and ``database_hour`` of an hour of CPU, ``put_1000`` and ``get_1000`` of
        1,000 requests to S3, ``gigabyte`` of 10^9 bytes read of the dump.
    budget
        What a run date may cost by these prices before it warns.
    checks_folder
        Folder with checks of one's own, a file ``*.sql`` each.
    allow_unreadable
        Whether a run date is published although a file could not be read to its end.
    scheduler_address
        Address of a Dask scheduler to use instead of a cluster on this machine.
    workers_timeout
        How long a run waits while the cluster has no worker, in seconds, or such as ``5m``.
    ssl_mode
        How libpq encrypts its connections; libpq's own default is ``prefer``.
    s3_endpoint
        URL of an S3 server other than Amazon's. botocore reads the variable itself, so the
        attribute changes nothing.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        case_sensitive=True,
        env_ignore_empty=True,
        populate_by_name=True,
        hide_input_in_errors=True,
    )

    pgsql_hostname: str = Field(validation_alias="_PGSQL_HOSTNAME")
    pgsql_port: int = Field(default=5432, validation_alias="_PGSQL_PORT", ge=1, le=65535)
    pgsql_user: str = Field(validation_alias="_PGSQL_USER")
    pgsql_pass: Annotated[SecretStr, AfterValidator(printable_password)] = Field(
        default=SecretStr(""), validation_alias=PASSWORD
    )
    pgsql_database: str = Field(validation_alias="_PGSQL_DATABASE")
    pgsql_pass_file: Path | None = Field(
        default_factory=password_file, validation_alias=PASSWORD_FILE
    )
    pgsql_auth: Literal["password", "aws-iam"] = Field(
        default="password", validation_alias="ORDERS_DASK_PG_AUTH"
    )
    pgsql_secret: str | None = Field(default=None, validation_alias="ORDERS_DASK_PG_SECRET")
    secrets_folder: str = Field(default=SECRETS_FOLDER, validation_alias="ORDERS_DASK_SECRETS_DIR")
    source: Annotated[str, AfterValidator(validate_source)] = Field(
        validation_alias="_AWS_S3_URL_SOURCE"
    )
    stage_url: Annotated[str, AfterValidator(validate_stage)] = Field(
        default_factory=lambda validated: parent_folder(validated["source"]),
        validation_alias="ORDERS_DASK_STAGE_URL",
    )
    shop_timezone: Annotated[str, AfterValidator(timezone_name)] = Field(
        default="UTC", validation_alias="ORDERS_DASK_SHOP_TIMEZONE"
    )
    record: Annotated[str, AfterValidator(record_path)] | None = Field(
        default=None, validation_alias="ORDERS_DASK_RECORD"
    )
    keep_raw: Literal["off", "parquet"] = Field(
        default="off", validation_alias="ORDERS_DASK_KEEP_RAW"
    )
    schema_drift: Literal["ignore", "report", "refuse"] = Field(
        default="report", validation_alias="ORDERS_DASK_SCHEMA_DRIFT"
    )
    facts: Annotated[str, AfterValidator(table_groups)] = Field(
        default="sales", validate_default=True, validation_alias="ORDERS_DASK_FACTS"
    )
    columns: Annotated[str | None, AfterValidator(columns_file)] = Field(
        default=None, validate_default=True, validation_alias="ORDERS_DASK_COLUMNS"
    )
    latest: Annotated[time, AfterValidator(without_zone)] = Field(
        default=time(12), validation_alias="ORDERS_DASK_LATEST"
    )
    max_rejected: float = Field(
        default=0.01, validation_alias="ORDERS_DASK_MAX_REJECTED", ge=0, le=1, allow_inf_nan=False
    )
    alert_url: Annotated[SecretStr, AfterValidator(webhook_url)] | None = Field(
        default=None, validation_alias="ORDERS_DASK_ALERT_URL"
    )
    alert_key: SecretStr | None = Field(default=None, validation_alias="ORDERS_DASK_ALERT_KEY")
    alert_command: Annotated[str, AfterValidator(command_line)] | None = Field(
        default=None, validation_alias="ORDERS_DASK_ALERT_COMMAND"
    )
    # As many COPYs as the server has cores: on two cores one took 3.2 s, two 1.7 s, four 1.6 s.
    copy_connections: int = Field(
        default=4, validation_alias="ORDERS_DASK_COPY_CONNECTIONS", ge=1, le=1000
    )
    # 128 MiB is some 20,000 orders of 6.6 KB; discover splits a small dump finer.
    block_size: Annotated[int, BeforeValidator(parse_size)] = Field(
        default=128 * 2**20, validation_alias="ORDERS_DASK_BLOCK_SIZE", ge=1, le=2**30
    )
    partition_width: Literal["month", "day"] = Field(
        default="month", validation_alias="ORDERS_DASK_PARTITION"
    )
    check_severities: Annotated[
        dict[str, Literal["off", "warn", "hold"]], NoDecode, BeforeValidator(parse_pairs)
    ] = Field(default_factory=dict, validation_alias="ORDERS_DASK_CHECK_SEVERITY")
    check_thresholds: Annotated[
        dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]],
        NoDecode,
        BeforeValidator(parse_pairs),
    ] = Field(default_factory=dict, validation_alias="ORDERS_DASK_CHECK_THRESHOLD")
    prices: Annotated[
        dict[Price, Annotated[float, Field(ge=0, allow_inf_nan=False)]],
        NoDecode,
        BeforeValidator(parse_pairs),
    ] = Field(default_factory=dict, validation_alias="ORDERS_DASK_PRICES")
    budget: float | None = Field(
        default=None, validation_alias="ORDERS_DASK_BUDGET", ge=0, allow_inf_nan=False
    )
    checks_folder: Path | None = Field(default=None, validation_alias="ORDERS_DASK_CHECKS")
    allow_unreadable: bool = Field(default=False, validation_alias="ORDERS_DASK_ALLOW_UNREADABLE")
    scheduler_address: str | None = Field(default=None, validation_alias="DASK_SCHEDULER_ADDRESS")
    # Machines of a cloud take two to five minutes to start.
    workers_timeout: Annotated[float, BeforeValidator(parse_seconds)] = Field(
        default=300, validation_alias="ORDERS_DASK_WORKERS_TIMEOUT", gt=0, allow_inf_nan=False
    )
    # botocore and, on workers, libpq read these themselves too. They are validated here, before any
    # connection.
    ssl_mode: (
        Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] | None
    ) = Field(default=None, validation_alias="PGSSLMODE")
    s3_endpoint: Annotated[str, AfterValidator(validate_endpoint)] | None = Field(
        default=None, validation_alias="AWS_ENDPOINT_URL_S3"
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the sources of settings, the first one first."""
        return (
            init_settings,
            env_settings,
            InitSettingsSource(settings_cls, password_from_file()),
            SecretsSettingsSource(settings_cls, checked_secrets_folder(variables_of(settings_cls))),
            InitSettingsSource(settings_cls, login_from_secrets_manager()),
        )

    @model_validator(mode="after")
    def _check_auth(self) -> Settings:
        if self.pgsql_auth == "aws-iam":
            if self.pgsql_pass.get_secret_value():
                raise ValueError(f"ORDERS_DASK_PG_AUTH is aws-iam: {PASSWORD} must not be set")
            if self.ssl_mode not in ("require", "verify-ca", "verify-full"):
                raise ValueError(
                    "ORDERS_DASK_PG_AUTH is aws-iam: PGSSLMODE must be require, "
                    "verify-ca or verify-full"
                )
        return self

    @model_validator(mode="after")
    def _check_budget(self) -> Settings:
        if self.budget is not None and not self.prices:
            raise ValueError("ORDERS_DASK_BUDGET is set: ORDERS_DASK_PRICES must be set too")
        return self

    @property
    def zone(self) -> ZoneInfo:
        """The shop's time zone."""
        return ZoneInfo(self.shop_timezone)

    @property
    def keeps_raw(self) -> bool:
        """Whether the stage keeps the raw texts of records."""
        return self.keep_raw != "off"


def variables_of(settings_cls: type[BaseSettings]) -> list[str]:
    """Return the environment variable of each setting."""
    return [str(field.validation_alias) for field in settings_cls.model_fields.values()]


def load_settings(**overrides: Any) -> Settings:
    """Return the settings from the environment.

    Parameters
    ----------
    overrides
        Settings by attribute name, which take precedence over the environment. None overrides
        nothing.

    Returns
    -------
    Settings
        The validated settings.

    Raises
    ------
    SettingsError
        A setting is missing or malformed. One sentence names the variables of all such settings,
        and shows no value.
    ServiceUnavailable
        AWS Secrets Manager can't be reached.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    if {"pgsql_user", "pgsql_pass"} & given.keys():
        given = {"pgsql_pass_file": None, "pgsql_secret": None} | given
    return read_settings(Settings, given)


Kind = TypeVar("Kind", bound=BaseSettings)


def read_settings(kind: type[Kind], given: Mapping[str, Any]) -> Kind:
    """Return settings of a kind from the environment, or raise one sentence for all problems.

    Parameters
    ----------
    kind
        The class of the settings.
    given
        Settings by attribute name, which take precedence.

    Raises
    ------
    SettingsError, ServiceUnavailable
        As :func:`load_settings`.
    """
    unprintable = [
        name
        for name in sorted(os.environ)
        if name.startswith("AWS_") and _has_control_characters(name)
    ]
    problems = []
    try:
        settings = kind(**given)
        if not unprintable:
            return settings
    except SourceError as error:
        file = getattr(error.__cause__, "filename", None) or f"a file in {secrets_folder()}"
        raise SettingsError(
            f"The folder of secrets can't be read: {file} ({type(error.__cause__).__name__})."
        ) from error
    except ValidationError as error:
        problems = [
            (_variable_name(kind, *problem["loc"][:1]), problem["type"], problem["msg"])
            for problem in error.errors(include_url=False, include_input=False)
            if problem["type"] != "default_factory_not_called"  # follows from another one
        ]
    missing = [variable for variable, cause, _ in problems if cause == "missing"]
    clauses = [
        f"{variable} {message.removeprefix('Value error, ').removeprefix('Input ')}".strip()
        for variable, cause, message in problems
        if cause != "missing"
    ]
    clauses += [
        f"{name} must hold no line break or other control character" for name in unprintable
    ]
    if missing:
        clauses.insert(0, f"{_join_names(missing)} {'is' if len(missing) == 1 else 'are'} not set")
    raise SettingsError("; ".join(clauses))


def _has_control_characters(variable: str) -> bool:
    """Return whether a variable has characters that no HTTP header may have, such as a newline."""
    return not os.environ[variable].isprintable()


def shop_zone() -> ZoneInfo:
    """Return the shop's time zone, where no other setting is needed."""
    variable = "ORDERS_DASK_SHOP_TIMEZONE"
    name = os.environ.get(variable) or read_setting(variable) or "UTC"
    try:
        return ZoneInfo(timezone_name(name))
    except ValueError as error:
        raise SettingsError(f"{variable} {error}") from error


def without_service_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without the variables that choose PostgreSQL, S3 and Dask."""
    return {
        name: value for name, value in environment.items() if not name.startswith(_SERVICE_PREFIXES)
    }


def _variable_name(kind: type[BaseSettings], name: int | str = "") -> str:
    """Return the environment variable of a setting, given by either of its names."""
    field = kind.model_fields.get(str(name))
    return str(field.validation_alias) if field else str(name)


def _join_names(names: list[str]) -> str:
    """Join names as people do: ``A, B and C``."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
