"""Proxies between the product and its services, which make real trouble on real connections.

Both live on the event loop of a thread of the test's process and are told by plain method calls
what to do."""

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
    """An event loop in a thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="proxies", daemon=True)
        self._thread.start()

    def do(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Do something there, and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def close(self) -> None:
        """End it, with all that it does."""
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
    """Listens on a port of its own and answers with what a server at another port says."""

    def __init__(self, loop: Loop, upstream: int) -> None:
        self._upstream = upstream
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = loop
        self._server = loop.do(asyncio.start_server(self._accepted, ADDRESS, 0))
        self.port: int = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        """Listen no more, and end all connections."""
        self._loop.loop.call_soon_threadsafe(self._server.close)
        self.reset_all()

    def reset_all(self) -> None:
        """Break off all connections, on both sides."""

        async def work() -> None:
            for writer in list(self._open):
                reset(writer)

        self._loop.do(work())

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            # OSError: the other side went, or isn't there. IncompleteReadError: it went in the
            # midst of something.
            with suppress(OSError, asyncio.IncompleteReadError):
                await self._serve(reader, writer)
        finally:
            self._open.discard(writer)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise NotImplementedError

    @contextmanager
    def _reach(self, streams: Streams) -> Iterator[Streams]:
        """Close a connection upstream at the end of the block."""
        self._open.add(streams[1])
        try:
            yield streams
        finally:
            self._open.discard(streams[1])
            streams[1].close()


def reset(writer: asyncio.StreamWriter) -> None:
    """Break a connection off with a TCP reset, whatever is still to be sent."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on what comes until it ends."""
    while piece := await reader.read(PIECE):
        writer.write(piece)
        await writer.drain()
    writer.write_eof()


class S3Proxy(Proxy):
    """In front of the S3 server: a connection for each request, so that each can be given trouble of its own."""

    _trouble: Trouble | None = None
    _left = 0
    _only = re.compile("")
    troubled = 0

    def trouble(self, kind: Trouble, requests: int, only: str = "") -> None:
        """Let the next requests whose first line, unquoted, matches `only` go wrong."""
        self._trouble, self._left, self._only = kind, requests, re.compile(only)
        self.troubled = 0

    def calm(self) -> None:
        """Let all requests go well."""
        self._trouble, self._left = None, 0

    def _of(self, head: bytes) -> Trouble | None:
        """Say what goes wrong with a request."""
        if self._left > 0 and self._only.search(unquote(head.partition(b"\r\n")[0].decode())):
            self._left -= 1
            self.troubled += 1
            return self._trouble
        return None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        kind = self._of(head)
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
            # The signature covers neither of the headers that are taken out here.
            to.write(re.sub(rb"(?i)\r\n(expect|connection):[^\r]*", b"", head)[:-2])
            to.write(b"Connection: close\r\n\r\n" + body)
            await to.drain()
            told = await answer.readuntil(b"\r\n\r\n")
            writer.write(told)
            if kind == "truncated":
                writer.write(await answer.read(max(1, _length(told) // 2)))
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
class Held:
    """Whose answer is held back: its port as the client has it, and as the server sees it."""

    client_port: int
    server_port: int


def _port(writer: asyncio.StreamWriter, end: str) -> int:
    return int(writer.get_extra_info(end)[1])


class PostgresProxy(Proxy):
    """In front of PostgreSQL: it can hold back the answer to a COMMIT, and break all connections off."""

    def __init__(self, loop: Loop, upstream: int) -> None:
        super().__init__(loop, upstream)
        self._pattern: bytes | None = None
        self._go: asyncio.Event = asyncio.Event()
        self._lose = False
        self.held: Held | None = None

    def hold_commit(self, of: str) -> None:
        """Hold back the answer to the next COMMIT of a transaction in which a statement contained `of`.

        ``held`` says whose, when the server has answered.
        """
        self.held, self._go, self._lose = None, asyncio.Event(), False
        self._pattern = of.encode()

    def release(self, *, lose: bool) -> None:
        """Give the answer that is held back, or break its connection off instead."""
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
        """Pass on what the client says, message by message, and see when it commits what is waited for."""
        length = await session.reader.readexactly(4)  # the first message has no type
        session.to.write(length + await _rest(session.reader, length))
        while True:
            kind = await session.reader.readexactly(1)
            length = await session.reader.readexactly(4)
            body = await _rest(session.reader, length)
            if kind == b"Q" and self._pattern:
                session.seen |= self._pattern in body
                if session.seen and body.upper().startswith(b"COMMIT"):
                    session.holding, self._pattern = True, None  # no other one
            session.to.write(kind + length + body)
            await session.to.drain()

    async def _answers(self, session: _Session) -> None:
        while piece := await session.answer.read(PIECE):
            if session.holding:
                self.held = Held(_port(session.writer, "peername"), _port(session.to, "sockname"))
                await self._go.wait()
                session.holding = session.seen = False
                if self._lose:
                    reset(session.writer)
                    return
            session.writer.write(piece)
            await session.writer.drain()


class _Session:
    """The two connections of a session through the proxy, and what is known of its transaction."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        answer: asyncio.StreamReader,
        to: asyncio.StreamWriter,
    ) -> None:
        self.reader, self.writer, self.answer, self.to = reader, writer, answer, to
        self.seen = False
        self.holding = False


async def _rest(reader: asyncio.StreamReader, length: bytes) -> bytes:
    return await reader.readexactly(int.from_bytes(length) - 4)
