"""A proxy that lets through a few bytes a second, so that a run lasts until it is cancelled."""

from __future__ import annotations

import os
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from socket import SHUT_WR, create_connection, socket
from urllib.parse import urlsplit

import pytest

CHUNK = 16_384
PAUSE = 0.1
"""Seconds after each chunk."""


@dataclass(frozen=True)
class SlowServer:
    """A server whose answers come slowly, until `fast` is set."""

    port: int
    fast: threading.Event = field(default_factory=threading.Event)


@contextmanager
def slow_server(upstream_port: int) -> Iterator[SlowServer]:
    """Yield a proxy in front of a server of this machine."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with create_connection(("127.0.0.1", upstream_port)) as upstream:
                requests = (self.request, upstream, 0.0)
                threading.Thread(target=copy, args=requests, daemon=True).start()
                copy(upstream, self.request, PAUSE)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """Say nothing: a client that is killed breaks its connections."""

    def copy(source: socket, target: socket, pause: float) -> None:
        with suppress(OSError):
            while chunk := source.recv(CHUNK):
                target.sendall(chunk)
                if pause:
                    slow.fast.wait(pause)
            target.shutdown(SHUT_WR)

    with Server(("127.0.0.1", 0), Handler) as server:
        slow = SlowServer(server.server_address[1])
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield slow
        server.shutdown()


@contextmanager
def slow_s3_of(patch: pytest.MonkeyPatch) -> Iterator[SlowServer]:
    """Make the S3 server slow for the commands of the orchestrators that are started in it."""
    port = urlsplit(os.environ["AWS_ENDPOINT_URL_S3"]).port
    assert port
    with slow_server(port) as slow:
        patch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{slow.port}")
        yield slow
        slow.fast.set()
