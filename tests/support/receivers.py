"""HTTP servers that keep what they get: a receiver of spans (OTLP), and one of any JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Receiver(ThreadingHTTPServer):
    """Keeps what `decode` makes of each body, and answers with `status`."""

    def __init__(self, decode: Callable[[bytes], Any]) -> None:
        self.decode = decode
        self.received: list[Any] = []
        self.paths: set[str] = set()
        self.status = 200
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.paths.add(self.path)
        self.server.received.append(self.server.decode(body))
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def receiver(decode: Callable[[bytes], Any] = json.loads) -> Iterator[Receiver]:
    """Yield a running receiver."""
    with Receiver(decode) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def spans_of(server: Receiver) -> list[Span]:
    """Return all spans that a receiver of :func:`decode_spans` got."""
    return [
        span
        for request in server.received
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def decode_spans(body: bytes) -> ExportTraceServiceRequest:
    """Decode the body of a request of the OpenTelemetry protocol."""
    request = ExportTraceServiceRequest()
    request.ParseFromString(body)
    return request


def attributes_of(span: Span) -> dict[str, Any]:
    """Return the attributes of a span by name, those of ours without their prefix."""
    return {
        each.key.removeprefix("orders_dask."): getattr(
            each.value, each.value.WhichOneof("value") or "string_value"
        )
        for each in span.attributes
    }
