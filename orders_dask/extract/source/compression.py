"""Compression and zips, found by content, read as streams in bounded memory.

Formats: gzip https://www.rfc-editor.org/rfc/rfc1952, zstd https://www.rfc-editor.org/rfc/rfc8878,
bzip2, and zip https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT.
"""

from __future__ import annotations

import bz2
import lzma
import re
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any, BinaryIO, Final, cast
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from isal import igzip_lib
from zstandard import ZstdDecompressor, ZstdError

from orders_dask.extract.records import CHUNK_BYTES, MIB, Unreadable


@dataclass(frozen=True)
class _Codec:
    """A compression.

    Attributes
    ----------
    name
        For people.
    magic
        What a stream of it begins with.
    new_decompressor
        Makes a decompressor of one stream, with ``decompress``, ``eof`` and ``unused_data``.
    step
        Bytes that are decompressed at once.
    limit
        ``max_length`` of ``decompress``, where it knows one: what a bomb may give at once.
    """

    name: str
    magic: re.Pattern[bytes]
    new_decompressor: Callable[[], Any]
    step: int = 64 * 1024
    limit: tuple[int, ...] = (MIB,)


_CODECS: Final = (
    _Codec(
        "gzip",
        re.compile(rb"\x1f\x8b"),
        lambda: igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP),
    ),
    _Codec("bzip2", re.compile(rb"BZh"), bz2.BZ2Decompressor),
    # The second magic is that of a frame to be skipped. There is no limit to ask for, but 4 bytes
    # give 128 KiB at most.
    _Codec(
        "zstd",
        re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"),
        lambda: ZstdDecompressor().decompressobj(),
        step=256,
        limit=(),
    ),
)

_BAD_STREAM: Final[tuple[type[Exception], ...]] = (
    cast(type[Exception], igzip_lib.IsalError),  # an instance, says its stub
    ZstdError,
    OSError,
    EOFError,
    ValueError,
)
_BAD_ZIP: Final[tuple[type[Exception], ...]] = (
    BadZipFile,
    OSError,
    EOFError,
    ValueError,
    RuntimeError,  # a method that this Python can't read, too
    struct.error,
    zlib.error,
    lzma.LZMAError,
)
_ENCRYPTED: Final = 0x1
_LOCAL_HEADER_BYTES: Final = 30
"""Bytes of a member's header in a zip, at least."""


def is_compressed(head: bytes) -> bool:
    """Tell by its first 4 bytes whether a file is compressed; a zip is none."""
    return _codec(head) is not None


def _codec(head: bytes) -> _Codec | None:
    return next((codec for codec in _CODECS if codec.magic.match(head)), None)


def decompress(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Decompress a file if it is compressed, one stream after another.

    Parameters
    ----------
    chunks
        The file. The first chunk tells what it is: at least 4 bytes, unless the file is shorter.

    Yields
    ------
    bytes
        The text, in chunks of about :data:`~orders_dask.extract.records.CHUNK_BYTES` bytes.

    Raises
    ------
    Unreadable
        A stream is truncated or corrupt, or something else follows it. What was decompressed before
        was given.
    """
    first = next(chunks, b"")
    codec = _codec(first)
    chunks = chain([first], chunks)
    if codec is None:
        yield from chunks
        return
    held: list[bytes] = []
    size = 0
    try:
        for piece in _decompress_streams(codec, chunks):
            if piece:
                held.append(piece)
            size += len(piece)
            if size >= CHUNK_BYTES:
                yield b"".join(held)
                held, size = [], 0
    except Unreadable:
        yield b"".join(held)
        raise
    yield b"".join(held)


def _decompress_streams(codec: _Codec, chunks: Iterator[bytes]) -> Iterator[bytes]:
    stream = None
    for chunk in chunks:
        for start in range(0, len(chunk), codec.step):
            piece = chunk[start : start + codec.step]
            while piece:
                # Padding with NUL, as tapes and block devices leave it, is no garbage.
                if stream is None and not (piece := piece.lstrip(b"\0")):
                    break
                stream = stream or codec.new_decompressor()
                yield from _feed(codec, stream, piece)
                if not stream.eof:
                    break
                piece, stream = stream.unused_data, None
    if stream is not None:
        raise Unreadable(f"the {codec.name} stream is truncated")


def _feed(codec: _Codec, stream: Any, piece: bytes) -> Iterator[bytes]:
    try:
        yield stream.decompress(piece, *codec.limit)
        while not (stream.eof or getattr(stream, "needs_input", True)):
            yield stream.decompress(b"", *codec.limit)
    except _BAD_STREAM as error:
        raise Unreadable(
            f"the {codec.name} stream is corrupt, or garbage follows it: {error}"
        ) from error


def is_zip(head: bytes) -> bool:
    """Tell by its first 4 bytes whether a file is a zip: a member's header, or the end of an empty directory.

    That of Zip64 begins otherwise.
    """
    return head.startswith((b"PK\x03\x04", b"PK\x05\x06", b"PK\x06\x06"))


def list_members(stream: BinaryIO) -> tuple[ZipFile, list[ZipInfo]]:
    """Open a zip and list the members that are files of the dump, in the byte order of their names.

    Directories are left out, and names with a segment that starts with ``.`` or ``__MACOSX``; but
    ``.`` and ``..`` by themselves hide nothing: some tools write ``./a.json``, and a name is never
    used as a path.

    Raises
    ------
    Unreadable
        The zip has no directory, a bad one, two members of one name, or members that share bytes (a
        bomb).
    """
    try:
        archive = ZipFile(stream)
    except _BAD_ZIP as error:
        raise Unreadable(f"the zip can't be opened: {error}") from error
    found = [
        info for info in archive.infolist() if not (info.is_dir() or _is_hidden(info.filename))
    ]
    name, times = next(iter(Counter(info.filename for info in found).most_common(1)), ("", 0))
    if times > 1:
        raise Unreadable(f"the zip has {times} members named {name}")
    placed = sorted(archive.infolist(), key=lambda info: info.header_offset)
    for info, after in pairwise(placed):
        if info.header_offset + _LOCAL_HEADER_BYTES + info.compress_size > after.header_offset:
            raise Unreadable(f"the zip's members {info.filename} and {after.filename} overlap")
    return archive, sorted(found, key=lambda info: info.filename.encode(errors="surrogatepass"))


def _is_hidden(name: str) -> bool:
    return any(
        segment.startswith((".", "__MACOSX")) and segment not in (".", "..")
        for segment in name.split("/")
    )


def read_member(archive: ZipFile, info: ZipInfo) -> Iterator[bytes]:
    """Read a member of a zip in chunks of :data:`~orders_dask.extract.records.CHUNK_BYTES` bytes.

    Raises
    ------
    Unreadable
        It is encrypted, truncated, corrupt or packed by a method other than deflate. What was read
        before was given.
    """
    # Of the other methods Python's zipfile unpacks all that 8 MiB give at once: hundreds of GB of a
    # bomb.
    if info.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        raise Unreadable(f"the zip's member is packed by method {info.compress_type}, not deflate")
    if info.flag_bits & _ENCRYPTED:
        raise Unreadable("the zip's member is encrypted")
    try:
        with archive.open(info) as stream:
            while chunk := stream.read(CHUNK_BYTES):
                yield chunk
    except _BAD_ZIP as error:
        raise Unreadable(f"the zip's member can't be read: {error}") from error
