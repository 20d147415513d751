"""Decompress files and read zips, as streams in bounded memory. Content decides, not the name.

Formats: gzip https://www.rfc-editor.org/rfc/rfc1952, zstd https://www.rfc-editor.org/rfc/rfc8878,
bzip2, and zip https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT. See
docs/contract.md#compression.
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
    """A compression format.

    Attributes
    ----------
    name
        Name for people.
    magic
        Pattern of a stream's first bytes.
    new_decompressor
        Makes a decompressor of one stream, with ``decompress``, ``eof`` and ``unused_data``.
    step
        Bytes that are decompressed at once.
    limit
        ``max_length`` for ``decompress``, if it has that parameter: bounds the output of a bomb.
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
    # The second magic is that of a skippable frame. decompress() has no limit, but 4 bytes give at
    # most 128 KiB.
    _Codec(
        "zstd",
        re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"),
        lambda: ZstdDecompressor().decompressobj(),
        step=256,
        limit=(),
    ),
)

_BAD_STREAM: Final[tuple[type[Exception], ...]] = (
    cast(type[Exception], igzip_lib.IsalError),  # its stub declares an instance
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
    RuntimeError,  # also for methods that this Python lacks
    struct.error,
    zlib.error,
    lzma.LZMAError,
)
_METHODS: Final = {
    **{1: "Shrink", 6: "Implode", 9: "Deflate64", 12: "bzip2", 14: "LZMA", 20: "zstd"},
    **{93: "zstd", 95: "xz", 98: "PPMd", 99: "AES encryption"},
}
"""Methods of members that are not read: APPNOTE.TXT, 4.4.5."""

MAX_NESTED_RATIO: Final = 1_100
"""Most bytes of text for each byte of a file that is compressed twice: what one layer may give."""

_NESTED_ALLOWANCE: Final = 64 * MIB
_ENCRYPTED: Final = 0x1
_LOCAL_HEADER_BYTES: Final = 30
"""Minimum bytes of a member's header in a zip."""


def is_compressed(head: bytes) -> bool:
    """Return whether a file is compressed, by its first 4 bytes; a zip is not."""
    return _codec(head) is not None


def _codec(head: bytes) -> _Codec | None:
    return next((codec for codec in _CODECS if codec.magic.match(head)), None)


def decompress(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Decompress a file if it is compressed, one stream after another.

    Parameters
    ----------
    chunks
        The file. The first chunk has at least 4 bytes, unless the file is shorter.

    Yields
    ------
    bytes
        The text, in chunks of about :data:`~orders_dask.extract.records.CHUNK_BYTES` bytes.

    Raises
    ------
    Unreadable
        A stream is truncated or corrupt, or garbage follows it. All text before it has been
        yielded.
    """
    first = next(chunks, b"")
    codec = _codec(first)
    chunks = chain([first], chunks)
    if codec is None:
        yield from chunks
        return
    buffered: list[bytes] = []
    size = 0
    try:
        for piece in _decompress_streams(codec, chunks):
            if piece:
                buffered.append(piece)
            size += len(piece)
            if size >= CHUNK_BYTES:
                yield b"".join(buffered)
                buffered, size = [], 0
    except Unreadable:
        yield b"".join(buffered)
        raise
    yield b"".join(buffered)


def decompress_twice(chunks: Iterator[bytes]) -> tuple[Iterator[bytes], bool]:
    """Decompress a file, and what is in it if that is compressed too.

    Parameters
    ----------
    chunks
        As for :func:`decompress`.

    Returns
    -------
    iterator of bytes
        The text, as :func:`decompress` gives it. It ends as unreadable if it grows out of all
        proportion.
    bool
        Whether the file is compressed twice.
    """
    first = next(chunks, b"")
    if not is_compressed(first):
        return chain([first], chunks), False
    stored = 0

    def count(chunk: bytes) -> bytes:
        nonlocal stored
        stored += len(chunk)
        return chunk

    def bounded(text: Iterator[bytes]) -> Iterator[bytes]:
        size = 0
        for chunk in text:
            size += len(chunk)
            if size > MAX_NESTED_RATIO * stored + _NESTED_ALLOWANCE:
                raise Unreadable("it is packed twice, and its text grows out of all proportion")
            yield chunk

    once = decompress(map(count, chain([first], chunks)))
    inner = next(once, b"")
    unpacked = chain([inner], once)
    is_nested = is_compressed(inner)
    return (bounded(decompress(unpacked)) if is_nested else unpacked), is_nested


def _decompress_streams(codec: _Codec, chunks: Iterator[bytes]) -> Iterator[bytes]:
    stream = None
    for chunk in chunks:
        for start in range(0, len(chunk), codec.step):
            piece = chunk[start : start + codec.step]
            while piece:
                # Tapes and block devices pad files with NUL: that is not garbage.
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
    """Return whether a file is a zip, by its first 4 bytes.

    It begins with a member's header, or, if empty, with the end of its directory (Zip64 too).
    """
    return head.startswith((b"PK\x03\x04", b"PK\x05\x06", b"PK\x06\x06"))


def list_members(stream: BinaryIO) -> tuple[ZipFile, list[ZipInfo]]:
    """Open a zip and list its members that are files of the dump, in the byte order of their names.

    Directories and hidden members are left out: names with a segment that starts with ``.`` or
    ``__MACOSX``. The segments ``.`` and ``..`` hide nothing, because some tools write
    ``./a.json``, and a name is never used as a path.

    Returns
    -------
    tuple
        The open zip and its members.

    Raises
    ------
    Unreadable
        The zip has no directory or a bad one, two members of one name, or members that overlap (a
        bomb).
    """
    try:
        archive = ZipFile(stream)
    except _BAD_ZIP as error:
        raise Unreadable(f"the zip can't be opened: {error}") from error
    members = [
        info for info in archive.infolist() if not (info.is_dir() or _is_hidden(info.filename))
    ]
    name, count = next(iter(Counter(info.filename for info in members).most_common(1)), ("", 0))
    if count > 1:
        raise Unreadable(f"the zip has {count} members named {name}")
    by_offset = sorted(archive.infolist(), key=lambda info: info.header_offset)
    for info, after in pairwise(by_offset):
        if info.header_offset + _LOCAL_HEADER_BYTES + info.compress_size > after.header_offset:
            raise Unreadable(f"the zip's members {info.filename} and {after.filename} overlap")
    return archive, sorted(members, key=lambda info: info.filename.encode(errors="surrogatepass"))


def _is_hidden(name: str) -> bool:
    return any(
        segment.startswith((".", "__MACOSX")) and segment not in (".", "..")
        for segment in name.split("/")
    )


def read_member(archive: ZipFile, info: ZipInfo) -> Iterator[bytes]:
    """Yield a member of a zip in chunks of :data:`~orders_dask.extract.records.CHUNK_BYTES` bytes.

    Raises
    ------
    Unreadable
        It is encrypted, truncated, corrupt or packed by a method other than deflate. All text
        before it has been yielded.
    """
    # For other methods zipfile unpacks all that 8 MiB give at once: hundreds of GB of a bomb.
    if info.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        name = _METHODS.get(info.compress_type, "an unknown method")
        raise Unreadable(
            f"the zip's member is packed by {name} (method {info.compress_type}), so pack it by "
            "deflate"
        )
    if info.flag_bits & _ENCRYPTED:
        raise Unreadable("the zip's member is encrypted")
    try:
        with archive.open(info) as stream:
            while chunk := stream.read(CHUNK_BYTES):
                yield chunk
    except _BAD_ZIP as error:
        raise Unreadable(f"the zip's member can't be read: {error}") from error
