"""The Typer application: how commands are registered, and how their errors end them."""

from __future__ import annotations

import errno
import functools
import inspect
import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Final, Literal

import typer

from orders_dask.cli import output
from orders_dask.errors import OrdersDaskError

app = typer.Typer(
    help="Bring raw order dumps from S3 to published run dates in PostgreSQL, in parallel with "
    "Dask.",
    epilog="Settings come from the environment: see .envrc.example. 'orders-dask demo' needs none.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # they show local variables, and so passwords
)


def _version(wanted: bool) -> None:
    """Print the installed version and exit, for ``--version``."""
    if wanted:
        from importlib import metadata  # late: 20 ms

        output.result(f"orders-dask {metadata.version('orders_dask')}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Parse the options before the name of a command."""


_UNWRITABLE: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)

Command = Callable[..., None]

Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


LogFormat = Annotated[
    Literal["text", "json"],
    typer.Option("--log-format", help="How standard error is written: text, or JSON lines."),
]


def command(**parsing: Any) -> Callable[[Command], Command]:
    """Return a decorator that registers a command, with the options and errors of all commands.

    Parameters
    ----------
    parsing
        Settings of the command's parser.
    """

    def register(function: Command) -> Command:
        return app.command(context_settings=parsing)(with_error_handling(function))

    return register


def with_error_handling(function: Command) -> Command:
    """Return a command with the options of all, which ends with one sentence on an error."""

    @functools.wraps(function)
    def wrapped(*, log_format: Literal["text", "json"], debug: bool, **arguments: Any) -> None:
        output.set_log_format(log_format)
        with _handle_errors(debug):
            function(**arguments)

    signature = inspect.signature(function, eval_str=True)
    keyword = inspect.Parameter.KEYWORD_ONLY
    of_all = [
        inspect.Parameter("log_format", keyword, default="text", annotation=LogFormat),
        inspect.Parameter("debug", keyword, default=False, annotation=Debug),
    ]
    registered: Any = wrapped
    registered.__signature__ = signature.replace(
        parameters=[*signature.parameters.values(), *of_all]
    )
    return wrapped


def exit_code_of(error: BaseException) -> int:
    """Return the exit code of a command that ends with an error (docs/exit-codes.md)."""
    if isinstance(error, KeyboardInterrupt):
        return 128 + int(error.args[0] if error.args else signal.SIGINT)
    if isinstance(error, typer.Exit | OrdersDaskError):
        return error.exit_code
    return 4 if _is_unwritable(error) else 1


def _is_unwritable(error: BaseException) -> bool:
    """Return whether standard output could not be written."""
    return isinstance(error, OSError) and error.errno in _UNWRITABLE and error.filename is None


@contextmanager
def _handle_errors(debug: bool) -> Iterator[None]:
    """Print one sentence for an error, and exit with its exit code."""
    try:
        yield
    except KeyboardInterrupt as stop:
        output.message("Stopped. What was published stands; the same command goes on from here.")
        raise typer.Exit(exit_code_of(stop)) from stop
    except (typer.Exit, BrokenPipeError):
        raise
    except Exception as error:
        exit_code = exit_code_of(error)
        if debug and not _is_unwritable(error):
            output.traceback_of(error)
        if isinstance(error, OrdersDaskError):
            output.message(f"Error: {error}", logging.ERROR, exit_code=exit_code)
        elif isinstance(error, OSError) and _is_unwritable(error):
            output.message(f"Error: the output can't be written ({error.strerror}).", logging.ERROR)
        else:
            advice = "" if debug else ": run it again with --debug, and report what it shows"
            # PostgreSQL's further lines show the row that it refuses, which is personal data.
            reason = str(error).partition("\n")[0]
            output.message(
                f"Error: a fault of ours, {type(error).__name__}: {reason}{advice}", logging.ERROR
            )
        raise typer.Exit(exit_code) from error
