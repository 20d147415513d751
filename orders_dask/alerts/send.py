"""Send an alert to a webhook, to PagerDuty or to a command. A failure is a warning and no more."""

from __future__ import annotations

import json
import logging
import shlex
import subprocess
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from datetime import date
from http.client import HTTPException
from threading import Thread
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import urlsplit
from urllib.request import HTTPErrorProcessor, Request, build_opener

from orders_dask.settings import Settings

LOG: Final = logging.getLogger("orders_dask")

TIMEOUT: Final = 15.0
"""Seconds that a webhook or command may take."""

PAGERDUTY: Final = "events.pagerduty.com"
"""Host of PagerDuty's events: https://developer.pagerduty.com/docs/send-alert-event."""

Kind: TypeAlias = Literal["held", "refused", "failed", "late"]


@dataclass(frozen=True)
class Alert:
    """Something that people should know of a run date.

    Attributes
    ----------
    run_date, kind
        The run date, and what is wrong with it.
    message
        One sentence: what is wrong and what to do, or that it has recovered.
    recovered
        Whether it is all right again.
    """

    run_date: date
    kind: Kind
    message: str
    recovered: bool = False

    @property
    def title(self) -> str:
        """The alert in a few words."""
        state = f"recovered, was {self.kind}" if self.recovered else self.kind
        return f"Orders of {self.run_date}: {state}"


def is_configured(settings: Settings) -> bool:
    """Return whether anybody is to be told."""
    return bool(settings.alert_url or settings.alert_command)


def send(alert: Alert, settings: Settings) -> bool:
    """Send an alert to all that the settings name; return whether any of them took it."""
    posted = bool(settings.alert_url) and _post(alert, settings)
    ran = bool(settings.alert_command) and _run(alert, settings.alert_command or "")
    return posted or ran


def _post(alert: Alert, settings: Settings) -> bool:
    assert settings.alert_url
    url = settings.alert_url.get_secret_value()
    key = settings.alert_key.get_secret_value() if settings.alert_key else ""
    host = urlsplit(url).hostname or ""
    body = _pagerduty_event(alert, key) if host == PAGERDUTY else _webhook_message(alert)
    request = Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    answer: Future[int] = Future()
    # A timeout of the socket's is that of each read: a slow answer would have no end.
    Thread(target=_open, args=(request, answer), name="alert", daemon=True).start()
    reason: object
    try:
        reason = answer.result(TIMEOUT)
    except (HTTPException, OSError, ValueError) as error:
        reason = type(error).__name__
    if isinstance(reason, int) and 200 <= reason < 300:
        return True
    # The URL of a webhook is a secret: its host alone is shown.
    LOG.warning("%s could not be told to %s (%s).", alert.title, host, reason)
    return False


class _AnyStatus(HTTPErrorProcessor):
    """Returns whatever was answered: of a redirect urllib would make a GET without the alert."""

    def http_response(self, request: Request, response: Any) -> Any:
        """Return the answer."""
        return response

    https_response = http_response


def _open(request: Request, answer: Future[int]) -> None:
    """Set the status of the answer to a request, or the error."""
    try:
        with build_opener(_AnyStatus).open(request, timeout=TIMEOUT) as response:
            answer.set_result(response.status)
    except Exception as error:  # noqa: BLE001
        # It is raised where the answer is waited for.
        answer.set_exception(error)


def _webhook_message(alert: Alert) -> Mapping[str, Any]:
    """Return what Slack and Teams show (``text``), with the fields for all others."""
    return {"text": f"{alert.title}\n{alert.message}", **_fields(alert)}


def _pagerduty_event(alert: Alert, key: str) -> Mapping[str, Any]:
    """Return an event that opens an incident, or resolves the one of the same run date and kind."""
    return {
        "routing_key": key,
        "event_action": "resolve" if alert.recovered else "trigger",
        "dedup_key": f"orders_dask {alert.run_date} {alert.kind}",
        "payload": {
            "summary": f"{alert.title}. {alert.message}"[:1024],
            "source": "orders_dask",
            "severity": "warning" if alert.kind == "late" else "error",
            "custom_details": _fields(alert),
        },
    }


def _fields(alert: Alert) -> dict[str, Any]:
    return asdict(alert) | {"run_date": str(alert.run_date)}


def _run(alert: Alert, command: str) -> bool:
    text = json.dumps({"title": alert.title, **_fields(alert)})
    try:
        ended = subprocess.run(
            shlex.split(command),
            input=text,
            text=True,
            timeout=TIMEOUT,
            check=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        LOG.warning(
            "%s could not be told: ORDERS_DASK_ALERT_COMMAND failed (%s).",
            alert.title,
            type(error).__name__,
        )
        return False
    if ended.returncode:
        LOG.warning(
            "%s could not be told: ORDERS_DASK_ALERT_COMMAND ended with %s.",
            alert.title,
            ended.returncode,
        )
    return not ended.returncode
