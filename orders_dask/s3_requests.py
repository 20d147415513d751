"""Count this process's requests to S3, in the two classes that Amazon charges for."""

from __future__ import annotations

from threading import Lock
from typing import Any, Final, NamedTuple


class S3Requests(NamedTuple):
    """Numbers of requests, each attempt counted.

    Attributes
    ----------
    puts
        Requests at the price of a PUT: PUT, COPY, POST and LIST.
    gets
        Those at the price of a GET: all others but DELETE and the abort of an upload, which are
        free. See https://aws.amazon.com/s3/pricing/.
    """

    puts: int = 0
    gets: int = 0


_PUTS: Final = ("Put", "Copy", "Post", "Create", "Upload", "Complete", "List")
_FREE: Final = ("Delete", "Abort")
"""How the names of operations in botocore begin."""

_LOCK: Final = Lock()
_counted = S3Requests()


def count_request(event_name: str, **_: Any) -> None:
    """Count one request: a handler of botocore's event ``before-send.s3``.

    Parameters
    ----------
    event_name
        Such as ``before-send.s3.GetObject``.
    """
    global _counted
    operation = event_name.rpartition(".")[2]
    if operation.startswith(_FREE):
        return
    put = operation.startswith(_PUTS)
    with _LOCK:
        _counted = S3Requests(_counted.puts + put, _counted.gets + (not put))


def drain_requests() -> S3Requests:
    """Return the requests since the last call, so that each is returned once.

    Tasks that share a process share its count: their sum is exact, the share of each is not.
    """
    global _counted
    with _LOCK:
        drained, _counted = _counted, S3Requests()
    return drained
