"""Spans for OpenTelemetry, if its SDK is in use; otherwise nothing is imported, and nothing done.

The SDK is in use if a command configured it by its ``OTEL_*`` variables (:func:`command_span`),
``opentelemetry-instrument`` did, or the program that calls this library. Spans carry run dates,
ids and counts. Of an error they have the type alone: a message might quote personal data.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from threading import Thread
from typing import Any, Final, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

LOG: Final = logging.getLogger("orders_dask")

PREFIX: Final = "orders_dask."
"""Beginning of the name of every attribute of ours."""

FLUSH_SECONDS: Final = 5.0
"""Longest time that a command waits at its end for spans to be sent."""

_SDK: Final = "opentelemetry.sdk.trace"

_ASKING: Final = (
    "OTEL_TRACES_EXPORTER",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_CONFIG_FILE",
)
"""OpenTelemetry's variables that say where spans go."""

Value = str | int | float | None


@contextmanager
def span(name: str, **attributes: Value) -> Iterator[None]:
    """Record a ``with`` block as a span, below the current one.

    Parameters
    ----------
    name
        Name of the span, the same for all of its kind.
    attributes
        Attributes without :data:`PREFIX`; those that are None are left out.
    """
    if _SDK not in sys.modules:
        yield
        return
    from importlib import metadata

    from opentelemetry import trace

    tracer = trace.get_tracer("orders_dask", metadata.version("orders_dask"))
    with tracer.start_as_current_span(
        name,
        attributes=_named(attributes),
        record_exception=False,
        set_status_on_exception=False,
    ) as current:
        try:
            yield
        except BaseException as error:
            if getattr(error, "exit_code", None) != 0:  # a command also ends well by an exception
                current.set_attribute("error.type", type(error).__name__)
                current.set_status(trace.StatusCode.ERROR)
            raise


def describe(**attributes: Value) -> None:
    """Add attributes to the current span."""
    if _SDK in sys.modules:
        from opentelemetry import trace

        trace.get_current_span().set_attributes(_named(attributes))


def _named(attributes: dict[str, Value]) -> dict[str, str | int | float]:
    return {PREFIX + name: value for name, value in attributes.items() if value is not None}


@contextmanager
def command_span(name: str) -> Iterator[None]:
    """Record a command as a span, configure the SDK before it, and send all spans after it.

    Its parent is the span that ``TRACEPARENT`` names, if there is one: see
    https://opentelemetry.io/docs/specs/otel/context/env-carriers/.
    """
    _configure()
    if _SDK not in sys.modules:
        yield
        return
    from opentelemetry import context, propagate

    fields = propagate.get_global_textmap().fields
    given = {key: os.environ[key.upper()] for key in fields if key.upper() in os.environ}
    token = context.attach(propagate.extract(given))
    try:
        with span(name):
            yield
    finally:
        context.detach(token)
        _flush()


def in_context(function: Callable[[Item], Result]) -> Callable[[Item], Result]:
    """Return a function for other threads whose spans have this thread's span above them."""
    context = copy_context()
    return lambda item: context.copy().run(function, item)


def _configure() -> None:
    """Configure the SDK as its variables say, if they say where spans go and it is installed."""
    is_disabled = os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    if is_disabled or _SDK in sys.modules or not any(os.environ.get(name) for name in _ASKING):
        return
    try:
        # Not public, but what every distribution of OpenTelemetry configures the SDK with.
        from opentelemetry.sdk._configuration import _OTelSDKConfigurator
    except ImportError:  # the variables are meant for others
        return

    class Configurator(_OTelSDKConfigurator):
        """The SDK's own, which is to be subclassed."""

    configurator: Any = Configurator  # its methods have no types
    _warn_once()
    # The defaults of the specification, which the SDK leaves to distributions.
    os.environ.setdefault("OTEL_TRACES_EXPORTER", "otlp")
    os.environ.setdefault("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    if "service.name=" not in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        os.environ.setdefault("OTEL_SERVICE_NAME", "orders_dask")
    try:
        configurator().configure()
    except Exception as error:  # noqa: BLE001
        # Exporters are plug-ins with errors of their own, and none may end a run.
        LOG.warning(
            "OpenTelemetry can't be configured by its OTEL_* variables (%s): no span is sent.",
            type(error).__name__,
        )


class _FirstAlone(logging.Handler):
    """Passes on that there was a problem, once: an exporter may fail every few seconds."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.has_warned = False

    def emit(self, record: logging.LogRecord) -> None:
        # Not the message, which may have the URL and so a password.
        if not self.has_warned:
            self.has_warned = True
            LOG.warning(
                "OpenTelemetry has a problem, and spans may be missing: check the OTEL_* variables "
                "and the collector (%s).",
                record.name,
            )


def _warn_once() -> None:
    logger = logging.getLogger("opentelemetry")
    logger.addHandler(_FirstAlone())
    logger.propagate = False


def _flush() -> None:
    """Send all spans, and give up after a while."""
    from opentelemetry import trace

    shutdown = getattr(trace.get_tracer_provider(), "shutdown", None)
    if shutdown is None:
        return
    # A timeout of the SDK's own is that of each batch: an exporter may take longer.
    sender = Thread(target=shutdown, name="telemetry", daemon=True)
    sender.start()
    sender.join(FLUSH_SECONDS)
    if sender.is_alive():
        LOG.warning(
            "OpenTelemetry has not sent all spans within %g s: check the collector.", FLUSH_SECONDS
        )
