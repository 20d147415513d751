"""Proxies between the product and its services that cause real faults on real connections, and count.

Both run on the event loop of a thread of the test's process, and are controlled by method calls."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar
from urllib.parse import unquote

ADDRESS: Final = "127.0.0.1"
PIECE: Final = 1 << 16
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Trouble = Literal["reset", "silence", "503", "500", "truncated", "slow"]
Result = TypeVar("Result")


class Loop:
    """An event loop in its own thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="proxies", daemon=True)
        self._thread.start()

    def do(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine on the loop and return its result."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def close(self) -> None:
        """Cancel all tasks and stop the loop."""
        self.do(self._cancel())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    async def _cancel(self) -> None:
        tasks = asyncio.all_tasks(self.loop) - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Proxy:
    """Listens on a free port and forwards connections to a server at another port."""

    def __init__(self, loop: Loop, upstream: int) -> None:
        self._upstream = upstream
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = loop
        self._server = loop.do(asyncio.start_server(self._accepted, ADDRESS, 0))
        self.port: int = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        """Stop listening, and reset all connections."""
        self._loop.loop.call_soon_threadsafe(self._server.close)
        self.reset_all()

    def reset_all(self) -> None:
        """Reset all connections, on both sides."""

        async def work() -> None:
            for writer in list(self._open):
                reset(writer)

        self._loop.do(work())

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            # OSError: the other side is closed or absent. IncompleteReadError: it closed in the
            # middle of a message.
            with suppress(OSError, asyncio.IncompleteReadError):
                await self._serve(reader, writer)
        finally:
            self._open.discard(writer)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise NotImplementedError

    @contextmanager
    def _reach(self, streams: Streams) -> Iterator[Streams]:
        """Yield the streams of an upstream connection, and close it at the end of the block."""
        self._open.add(streams[1])
        try:
            yield streams
        finally:
            self._open.discard(streams[1])
            streams[1].close()


def reset(writer: asyncio.StreamWriter) -> None:
    """Reset a TCP connection, and discard what is still to be sent."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Forward bytes until the stream ends."""
    while piece := await reader.read(PIECE):
        writer.write(piece)
        await writer.drain()
    writer.write_eof()


class S3Proxy(Proxy):
    """Proxy of the S3 server: one connection per request, so that each can have its own fault."""

    _trouble: Trouble | None = None
    _left = 0
    _only = re.compile("")
    troubled = 0

    def __init__(self, loop: Loop, upstream: int) -> None:
        super().__init__(loop, upstream)
        self.requests: list[str] = []
        """The first line of each request, unquoted."""

    def trouble(self, kind: Trouble, requests: int, only: str = "") -> None:
        """Inject a fault into the next requests whose first line, unquoted, matches `only`."""
        self._trouble, self._left, self._only = kind, requests, re.compile(only)
        self.troubled = 0

    def clear_faults(self) -> None:
        """Inject no further fault."""
        self._trouble, self._left = None, 0

    def _fault_of(self, head: bytes) -> Trouble | None:
        """Return the fault to inject into a request, if any."""
        if self._left > 0 and self._only.search(unquote(head.partition(b"\r\n")[0].decode())):
            self._left -= 1
            self.troubled += 1
            return self._trouble
        return None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.requests.append(unquote(head.partition(b"\r\n")[0].decode()))
        kind = self._fault_of(head)
        if kind == "reset":
            reset(writer)
            return
        if re.search(rb"(?i)\r\nexpect: *100-continue", head):
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await reader.readexactly(_length(head))
        if kind == "silence":
            return
        if kind in ("500", "503"):
            writer.write(_refusal(kind))
            await writer.drain()
            return
        with self._reach(await asyncio.open_connection(ADDRESS, self._upstream)) as (answer, to):
            # The signature covers neither of the headers that are removed here.
            to.write(re.sub(rb"(?i)\r\n(expect|connection):[^\r]*", b"", head)[:-2])
            to.write(b"Connection: close\r\n\r\n" + body)
            await to.drain()
            answer_head = await answer.readuntil(b"\r\n\r\n")
            writer.write(answer_head)
            if kind == "truncated":
                writer.write(await answer.read(max(1, _length(answer_head) // 2)))
                await writer.drain()
            elif kind == "slow":
                while piece := await answer.read(2048):
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0.02)
            else:
                await pump(answer, writer)


def _length(head: bytes) -> int:
    found = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    return int(found[1]) if found else 0


def _refusal(status: str) -> bytes:
    code = {"503": "SlowDown", "500": "InternalError"}[status]
    body = f"<Error><Code>{code}</Code><Message>Please try again.</Message></Error>".encode()
    head = f"HTTP/1.1 {status} {code}\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n"
    return f"{head}Connection: close\r\n\r\n".encode() + body


@dataclass(frozen=True)
class DelayedCommit:
    """A session whose answer is delayed, by the ports that client and server see."""

    client_port: int
    server_port: int


def _port(writer: asyncio.StreamWriter, end: str) -> int:
    return int(writer.get_extra_info(end)[1])


class PostgresProxy(Proxy):
    """Proxy of PostgreSQL: it can delay the answer to a COMMIT, and reset all connections."""

    def __init__(self, loop: Loop, upstream: int) -> None:
        super().__init__(loop, upstream)
        self._pattern: bytes | None = None
        self._go: asyncio.Event = asyncio.Event()
        self._lose = False
        self.delayed: DelayedCommit | None = None
        self.sessions = 0
        self.statements: list[str] = []
        """What sessions sent: each is a round trip."""

    def hold_commit(self, of: str) -> None:
        """Delay the answer to the next COMMIT of a transaction with a statement that contains `of`.

        ``delayed`` is the session when the server has answered, and None before.
        """
        self.delayed, self._go, self._lose = None, asyncio.Event(), False
        self._pattern = of.encode()

    def release(self, *, lose: bool) -> None:
        """Send the delayed answer, or reset its connection instead."""
        self._pattern, self._lose = None, lose
        self._loop.loop.call_soon_threadsafe(self._go.set)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with self._reach(await asyncio.open_connection(ADDRESS, self._upstream)) as (answer, to):
            session = _Session(reader, writer, answer, to)
            ends = [
                asyncio.ensure_future(self._requests(session)),
                asyncio.ensure_future(self._answers(session)),
            ]
            try:
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for end in ends:
                    end.cancel()
                await asyncio.gather(*ends, return_exceptions=True)

    async def _requests(self, session: _Session) -> None:
        """Forward the messages of the client, and mark the session when it sends that COMMIT."""
        self.sessions += 1
        length = await session.reader.readexactly(4)  # the first message has no type
        session.to.write(length + await _rest(session.reader, length))
        while True:
            kind = await session.reader.readexactly(1)
            length = await session.reader.readexactly(4)
            body = await _rest(session.reader, length)
            if kind == b"Q":
                self.statements.append(body.removesuffix(b"\0").decode())
            if kind == b"Q" and self._pattern:
                session.seen |= self._pattern in body
                if session.seen and body.upper().startswith(b"COMMIT"):
                    session.delayed, self._pattern = True, None  # no other one
            session.to.write(kind + length + body)
            await session.to.drain()

    async def _answers(self, session: _Session) -> None:
        while piece := await session.answer.read(PIECE):
            if session.delayed:
                self.delayed = DelayedCommit(
                    _port(session.writer, "peername"), _port(session.to, "sockname")
                )
                await self._go.wait()
                session.delayed = session.seen = False
                if self._lose:
                    reset(session.writer)
                    return
            session.writer.write(piece)
            await session.writer.drain()


class _Session:
    """The two connections of a session through the proxy, and the state of its transaction."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        answer: asyncio.StreamReader,
        to: asyncio.StreamWriter,
    ) -> None:
        self.reader, self.writer, self.answer, self.to = reader, writer, answer, to
        self.seen = False
        self.delayed = False


async def _rest(reader: asyncio.StreamReader, length: bytes) -> bytes:
    return await reader.readexactly(int.from_bytes(length) - 4)
