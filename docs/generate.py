"""Write the reference pages that follow from the code: settings, commands and exit codes.

``python docs/generate.py`` writes them. With ``--check`` it writes nothing, and ends with one
sentence that names the pages that are stale.
"""

from __future__ import annotations

import html
import inspect
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

import typer
from annotated_types import Ge, Le
from numpydoc.docscrape import NumpyDocString
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings
from typer.cli import get_docs_for_click

from orders_dask import errors
from orders_dask.cli import app
from orders_dask.order_api.settings import FetchSettings
from orders_dask.settings import Settings

DOCS: Final = Path(__file__).parent
COMMAND: Final = "orders-dask"
NOTICE: Final = "<!-- Written by `python docs/generate.py` from {}: change it there. -->"

SETTINGS: Final = """\
# Settings

Every setting is an environment variable; [.envrc.example](../.envrc.example) has all of them for
direnv. A variable that is not set is read from a file of its name in the folder of secrets, if
there is one, then from the secret of `ORDERS_DASK_PG_SECRET`. An empty variable counts as not set.
In Python, `load_settings` and `Settings` also take a setting by its attribute name. A setting that
is missing or malformed ends a command with exit code 2, before anything is contacted. One sentence
names all such settings and shows no value.

{settings}

## Fetching

[`orders-dask fetch`](fetch.md) needs the source and the time zone, which must be the shop's, and
these; it needs no other:

{of_fetch}

## Variables of the libraries

These are read by the libraries themselves, from the environment of each process: commands, and
workers of a cluster of your own ([clusters.md](clusters.md)).

{libraries}

Host, port, user and database are always those of `_PGSQL_*`. So `PGHOST`, `PGPORT`, `PGUSER` and
`PGDATABASE` have no effect. `PGPASSWORD` and `PGPASSFILE` count only while `_PGSQL_PASS` is empty.
"""

LIBRARIES: Final = {
    "`PGSSLROOTCERT`": ("libpq", "File of the certificates that sign the server's."),
    "`PGSSLCERT`, `PGSSLKEY`": ("libpq", "Certificate and key of the client."),
    "`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`": (
        "botocore",
        "Credentials. Without them botocore looks in its other places, such as the machine's role.",
    ),
    "`AWS_PROFILE`, `AWS_CONFIG_FILE`, `AWS_SHARED_CREDENTIALS_FILE`": (
        "botocore",
        "Profile, and the files that it is read from.",
    ),
    "`AWS_DEFAULT_REGION`": ("botocore", "Region. botocore does not read `AWS_REGION`."),
    "`AWS_CA_BUNDLE`": ("botocore", "File of the certificates that sign the S3 server's."),
    "`DASK_…`": (
        "Dask",
        "[Configuration of Dask](https://docs.dask.org/en/stable/configuration.html), such as its "
        "[certificates](clusters.md#tls).",
    ),
    "`NUMBA_CACHE_DIR`": (
        "Numba",
        "Folder of the [compiled reader](clusters.md#the-compile-cache).",
    ),
    "`MALLOC_ARENA_MAX`, `ARROW_DEFAULT_MEMORY_POOL`": (
        "glibc, Arrow",
        "[Memory](clusters.md#memory) of workers of your own.",
    ),
}
"""Who reads a variable that no setting of ours is for, and what it says."""

COMMANDS: Final = """\
Settings come from the environment ([settings.md](settings.md)). Standard output has results;
progress and notes go to standard error. [exit-codes.md](exit-codes.md) has the exit codes.
"""

EXIT_CODES: Final = """\
# Exit codes

{codes}

Every error is a class of [orders_dask/errors.py](../orders_dask/errors.py). A *transient* error may
pass: the same command may work later. It was retried already. A *terminal* error needs something to
change first.

{errors}
"""

CODES: Final = {
    0: ("Done. What was up to date already is done too.", "Nothing."),
    1: (
        "A fault of ours.",
        "Alert. Run the command again with `--debug`, and report the output.",
    ),
    2: ("Usage or settings.", "Alert. Don't repeat: correct what the message names."),
    3: (
        "The data was refused, or what is needed is not there. What was published stands.",
        "Alert. Don't repeat: correct the dump or whatever else the message names.",
    ),
    4: (
        "A service can't be reached, or another run has the run date locked.",
        "Repeat the command later; alert if that fails too. "
        "Before a `rollback` is repeated, look at `status`.",
    ),
    5: (
        "A check holds the load (docs/checks.md). What was published stands.",
        "Alert. Don't repeat: `accept` or `discard` the load, or correct the dump.",
    ),
    6: (
        "There is no file for the run date yet, or no load of it.",
        "Repeat the command later, until the dump should be there; then alert.",
    ),
    130: (
        "Stopped by Ctrl-C. What was published stands.",
        "Repeat the command: it goes on from there.",
    ),
    143: (
        "Stopped by SIGTERM. What was published stands.",
        "Repeat the command: it goes on from there.",
    ),
}
"""What each exit code means, and what a scheduler should do."""


def main() -> None:
    """Write the pages, or check them."""
    pages = {
        "settings.md": settings_page(),
        "cli.md": cli_page(),
        "exit-codes.md": exit_codes_page(),
    }
    if sys.argv[1:] == ["--check"]:
        stale = [name for name, text in pages.items() if _current(DOCS / name) != text]
        if stale:
            names = " and ".join(f"docs/{name}" for name in stale)
            sys.exit(f"Stale: {names}. Run `python docs/generate.py`.")
    elif sys.argv[1:]:
        sys.exit("Usage: python docs/generate.py [--check]")
    else:
        for name, text in pages.items():
            (DOCS / name).write_text(text)


def _current(page: Path) -> str | None:
    return page.read_text() if page.exists() else None


def settings_page() -> str:
    """Return the page of all settings: from the model, and from the attributes in its docstring."""
    page = SETTINGS.format(
        settings=_settings_table(Settings),
        of_fetch=_settings_table(FetchSettings),
        libraries=_table(
            ("variable", "read by", "meaning"), [(name, *rest) for name, rest in LIBRARIES.items()]
        ),
    )
    return f"{NOTICE.format('the class Settings')}\n\n{page}"


def _settings_table(kind: type[BaseSettings]) -> str:
    """Return the table of the settings of a class, with the meanings in its docstring."""
    meanings = {
        name: " ".join(described.desc)
        for described in NumpyDocString(inspect.getdoc(kind))["Attributes"]
        for name in (described.name or described.type).split(", ")
    }
    undescribed = kind.model_fields.keys() - meanings.keys()
    if undescribed:
        sys.exit(
            f"The docstring of {kind.__name__} must describe {', '.join(sorted(undescribed))}."
        )
    settings = [
        (
            f"`{field.validation_alias}`",
            _values(field),
            _default(field),
            _markdown(meanings[name]),
            f"`{name}`",
        )
        for name, field in kind.model_fields.items()
    ]
    return _table(("variable", "values", "default", "meaning", "attribute"), settings)


def _values(field: FieldInfo) -> str:
    """Return which values a setting may have."""
    choices = _choices(field.annotation)
    if choices:
        return ", ".join(f"`{choice}`" for choice in choices)
    low, high = (
        next((getattr(each, name) for each in field.metadata if isinstance(each, kind)), None)
        for kind, name in ((Ge, "ge"), (Le, "le"))
    )
    if low is not None and high is not None:
        return f"{_written(low)} to {_written(high)}"
    return "text"


def _choices(annotation: Any) -> list[str]:
    """Return the values that an annotation lists, of a union those of all its members."""
    if annotation is bool:
        return ["true", "false"]
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    return [choice for member in get_args(annotation) for choice in _choices(member)]


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "*required*"
    if field.default_factory is not None:
        return "*from the others*"
    if field.default is None:
        return "*none*"
    written = _written(field.default)
    return f"`{written}`" if written else "*empty*"


def _written(value: Any) -> str:
    """Return a value as people write it into a variable."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and value and value % 2**20 == 0:
        return f"{value >> 20}MiB"
    return str(value)


def cli_page() -> str:
    """Return the page of all commands, as Typer writes it."""
    command = typer.main.get_command(app)
    with typer.Context(command, info_name=COMMAND) as context:
        text = html.unescape(get_docs_for_click(obj=command, ctx=context, name=COMMAND))
    heading, _, rest = text.partition("\n\n")
    notice = NOTICE.format("the commands in orders_dask/cli")
    return f"{notice}\n\n{heading}\n\n{COMMANDS}\n{rest.rstrip()}\n"


def exit_codes_page() -> str:
    """Return the page of all exit codes, and of the error classes behind them."""
    rows = [
        (
            str(error.exit_code),
            f"`{error.__name__}`",
            "transient" if issubclass(error, errors.TransientError) else "terminal",
            _markdown(str(inspect.getdoc(error)).partition("\n")[0]),
        )
        for error in _classes(errors.OrdersDaskError)
        if error.__doc__ and error not in (errors.TerminalError, errors.TransientError)
    ]
    unexplained = {code for code, *_ in rows} - {str(code) for code in CODES}
    if unexplained:
        sys.exit(
            f"docs/generate.py must explain exit code {', '.join(sorted(unexplained))} in CODES."
        )
    page = EXIT_CODES.format(
        codes=_table(
            ("code", "meaning", "what a scheduler should do"),
            [(str(code), *texts) for code, texts in CODES.items()],
        ),
        errors=_table(("code", "error", "kind", "meaning"), sorted(rows, key=lambda row: row[0])),
    )
    return f"{NOTICE.format('orders_dask/errors.py')}\n\n{page}"


def _classes(base: type[errors.OrdersDaskError]) -> Iterator[type[errors.OrdersDaskError]]:
    """Yield all public classes below one, each followed by those below it."""
    for error in base.__subclasses__():
        if error.__module__ == errors.__name__:
            yield error
            yield from _classes(error)


def _markdown(text: str) -> str:
    """Return a docstring's text in Markdown: names of code in single backquotes."""
    return re.sub(r"(?::\w+:`~?(?:[\w.]*\.)?|``)([^`]+)`{1,2}", r"`\1`", text)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    cells = [[cell.replace("|", r"\|") for cell in line] for line in (head, *rows)]
    cells.insert(1, ["---"] * len(head))
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


if __name__ == "__main__":
    main()
