"""Recognise other formats by a file's first bytes, so that a rejection says what the file is."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from typing import Final

from orders_dask.extract.records import BOM, WHITESPACE

HEAD_BYTES: Final = 4096
"""Bytes of a file that are examined."""

_EXPORT_AS_JSON: Final = "export its orders as JSON, or leave it out of the source"
_RECOMPRESS: Final = "pack it as gzip, zstd, bzip2 or zip"
_COMPRESS_ONCE: Final = "pack it only once"
_UNPACK: Final = "pack the files in it as a zip, or each as gzip, zstd or bzip2"
_AS_UTF8: Final = "write it as UTF-8"

_BINARY: Final = (
    (rb"PAR1|PARE", "Parquet", _EXPORT_AS_JSON),
    (rb"Obj\x01", "Avro", _EXPORT_AS_JSON),
    (rb"ORC(?=.*\0)", "ORC", _EXPORT_AS_JSON),
    (rb"ARROW1\0\0|FEA1|\xff\xff\xff\xff", "Arrow", _EXPORT_AS_JSON),
    (rb"SQLite format 3\0", "a database of SQLite", _EXPORT_AS_JSON),
    (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a document of Microsoft Office", _EXPORT_AS_JSON),
    (rb"\x1f\x8b", "gzip within what it is packed in", _COMPRESS_ONCE),
    (rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)", "bzip2 within what it is packed in", _COMPRESS_ONCE),
    (rb"\x28\xb5\x2f\xfd", "zstd within what it is packed in", _COMPRESS_ONCE),
    (rb"PK(?:\x03\x04|\x05\x06|\x06\x06)", "a zip within what it is packed in", _COMPRESS_ONCE),
    (rb"PK(?:\x07\x08|00PK)", "a part of a zip that was split", "join the parts"),
    (rb"\xfd7zXZ\0", "xz", _RECOMPRESS),
    (rb"7z\xbc\xaf\x27\x1c", "7z", _UNPACK),
    (rb"Rar!\x1a\x07", "rar", _UNPACK),
    (rb"\x04\x22\x4d\x18", "lz4", _RECOMPRESS),
    (rb"\xff\x06\0\0sNaPpY", "snappy", _RECOMPRESS),
    (rb".{257}ustar", "tar", _UNPACK),
    (rb"\xff\xfe\0\0|\0\0\xfe\xff|\0\0\0[^\0]|[^\0]\0\0\0", "UTF-32", _AS_UTF8),
    (rb"\xff\xfe|\xfe\xff|\0[^\0]\0[^\0]|[^\0]\0[^\0]\0", "UTF-16", _AS_UTF8),
)
_TEXT: Final = (
    (rb"(?i:<(?:!doctype\s+)?html\b)", "HTML, an error page perhaps", _EXPORT_AS_JSON),
    (rb"<", "XML", _EXPORT_AS_JSON),
    (rb"%PDF-", "PDF", _EXPORT_AS_JSON),
)
_JSON: Final = re.compile(rb'["{\[]|-?[0-9]|(?:true|false|null)\b')


def describe(head: bytes) -> str | None:
    """Return which other format a file seems to have, and what to do; None if it may be JSON.

    Parameters
    ----------
    head
        Its first :data:`HEAD_BYTES` bytes, decompressed.
    """
    text = head.removeprefix(BOM).lstrip(WHITESPACE)
    format_hint = _match_signature(_BINARY, head) or _match_signature(_TEXT, text)
    if format_hint or not text or text.startswith((b"{", b"[")):
        return format_hint
    if b"\0" in text:
        return f"it looks like binary data, so {_EXPORT_AS_JSON}"
    if _is_csv(text):
        return f"it looks like CSV, so {_EXPORT_AS_JSON}"
    return (
        None if _JSON.match(text) else f"it looks like text that is no JSON, so {_EXPORT_AS_JSON}"
    )


def is_binary(head: bytes) -> bool:
    """Return whether a file is certainly binary, such as a tar, even if parts look like lines."""
    return b"\0" in head and _match_signature(_BINARY, head) is not None


def _match_signature(kinds: Iterable[tuple[bytes, str, str]], head: bytes) -> str | None:
    found = (kind for kind in kinds if re.match(kind[0], head, re.DOTALL))
    return next((f"it looks like {name}, so {advice}" for _, name, advice in found), None)


def _is_csv(text: bytes) -> bool:
    """Return whether the first two rows have the same number of cells, more than one."""
    first, *others = text.decode("latin-1").splitlines()
    lines = [first, *others[:-1]]  # the head may end in the middle of the last
    return any(map(_is_table, (list(csv.reader(lines, delimiter=mark)) for mark in ",;\t|")))


def _is_table(rows: list[list[str]]) -> bool:
    widths = [len(row) for row in rows if row][:2]
    prose = len(widths) == 1 and any(cell.startswith(" ") for row in rows for cell in row)
    return widths != [] and widths[0] == widths[-1] > 1 and not prose
