"""Settings of ``orders-dask fetch``, which needs neither PostgreSQL nor Dask."""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import Annotated, Any, Final
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, SecretStr, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
)
from yarl import URL

from orders_dask.secrets import checked_secrets_folder
from orders_dask.setting_values import timezone_name
from orders_dask.settings import Settings, read_settings, variables_of
from orders_dask.urls import names_run_date, split_zip_url, validate_endpoint, validate_source

VERSION: Final = "2026-10"
"""Version of the Admin API that the contract was checked against."""


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine, where a fake shop may be."""
    return host in ("localhost", "127.0.0.1", "::1")


def _shop_url(url: str) -> str:
    parts = URL(url)
    if parts.host is None or parts.scheme not in ("http", "https"):
        raise ValueError("must be an address such as https://SHOP.myshopify.com")
    if parts.user or parts.password:
        raise ValueError("must hold no user or password")
    if parts.path not in ("", "/") or parts.query_string or parts.fragment:
        raise ValueError("must be the shop's host alone, such as https://SHOP.myshopify.com")
    if parts.scheme == "http" and not is_loopback(parts.host):
        raise ValueError("must begin with https://, for a token travels with each request")
    return f"{parts.origin()}"


def _api_version(version: str) -> str:
    if not re.fullmatch(r"20\d\d-(01|04|07|10)|unstable", version):
        raise ValueError(f"must be a version of the Admin API such as {VERSION}")
    return version


def _token(token: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[!-~]+", token.get_secret_value()):
        raise ValueError("must hold no blank, line break or character that is not ASCII")
    return token


def _dated_folder(source: str) -> str:
    validate_source(source)
    pattern, stored = split_zip_url(source)
    if pattern is not None or re.search(r"[*?\[]", stored) or not stored.endswith("/"):
        raise ValueError(
            "must be a folder that ends with /, such as s3://bucket/orders/run_date={run_date}/, "
            "to fetch into it"
        )
    if not names_run_date(source):
        raise ValueError("must hold {run_date}, so that each date has a folder to fetch into")
    days = [date(2000, 1, 1) + timedelta(days=n) for n in range(366)]
    if len({source.format(run_date=day) for day in days}) < len(days):
        raise ValueError("must hold all of {run_date}, so that each date has a folder of its own")
    return source


class FetchSettings(BaseSettings):
    """All settings of a fetch, frozen. :func:`load_fetch_settings` reads them.

    Attributes
    ----------
    source
        The dump, as for a run: the URL of a folder with ``{run_date}``. Pages are written there.
    shop_timezone
        IANA name of the shop's time zone; the shop must have the same.
    url
        Address of the shop, such as ``https://SHOP.myshopify.com``.
    token
        Access token of the Admin API, never shown.
    client_id, client_secret
        Instead of a token, what gives one for 24 hours by client credentials; the secret is never
        shown.
    version
        Version of the Admin API.
    s3_endpoint
        URL of an S3 server other than Amazon's. botocore reads the variable itself, so the
        attribute changes nothing.
    """

    model_config = Settings.model_config

    source: Annotated[str, AfterValidator(_dated_folder)] = Field(
        validation_alias="_AWS_S3_URL_SOURCE"
    )
    shop_timezone: Annotated[str, AfterValidator(timezone_name)] = Field(
        default="UTC", validation_alias="ORDERS_DASK_SHOP_TIMEZONE"
    )
    url: Annotated[str, AfterValidator(_shop_url)] = Field(validation_alias="ORDERS_DASK_API_URL")
    token: Annotated[SecretStr, AfterValidator(_token)] | None = Field(
        default=None, validation_alias="ORDERS_DASK_API_TOKEN"
    )
    client_id: str | None = Field(default=None, validation_alias="ORDERS_DASK_API_CLIENT_ID")
    client_secret: SecretStr | None = Field(
        default=None, validation_alias="ORDERS_DASK_API_CLIENT_SECRET"
    )
    version: Annotated[str, AfterValidator(_api_version)] = Field(
        default=VERSION, validation_alias="ORDERS_DASK_API_VERSION"
    )
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
        folder = checked_secrets_folder(variables_of(settings_cls))
        return init_settings, env_settings, SecretsSettingsSource(settings_cls, folder)

    @model_validator(mode="after")
    def _check_login(self) -> FetchSettings:
        by_client = self.client_id is not None, self.client_secret is not None
        if (self.token is not None, *by_client) not in [(True, False, False), (False, True, True)]:
            raise ValueError(
                "ORDERS_DASK_API_TOKEN must be set, or ORDERS_DASK_API_CLIENT_ID and "
                "ORDERS_DASK_API_CLIENT_SECRET, and not both"
            )
        return self

    @property
    def zone(self) -> ZoneInfo:
        """The shop's time zone."""
        return ZoneInfo(self.shop_timezone)


def load_fetch_settings(**overrides: Any) -> FetchSettings:
    """Return the settings of a fetch from the environment.

    Parameters
    ----------
    overrides
        Settings by attribute name, which take precedence. None overrides nothing.

    Raises
    ------
    SettingsError
        A setting is missing or malformed.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    return read_settings(FetchSettings, given)
