"""Objects of any key, below any folder of the source URL, are listed, read and loaded."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable
from datetime import date
from itertools import count
from typing import Any
from zoneinfo import ZoneInfo

import s3fs
from distributed import Client
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from orders_dask.extract.decode.decode import decode
from orders_dask.extract.discover import discover
from orders_dask.extract.records import MIB
from orders_dask.jobs.run import run
from orders_dask.settings import Settings, load_settings
from orders_dask.urls import STAGE_FOLDER

DAY = date(2026, 10, 1)

ODD = (
    *(
        "::",
        "zip://*::",
        "s3://b/",
        "simplecache::",
        "?versionId=null",
        "?versionId=",
        "?",
        "#",
        "%",
    ),
    *("%2B", "+", " ", "[1]", "*", "**", "[", "]", "{run_date}", "{", "}", "'", '"', "~", "."),
    *("\N{LATIN SMALL LETTER E WITH ACUTE}", "e\N{COMBINING ACUTE ACCENT}", "\N{GRINNING FACE}"),
)


def _is_storable(key: str) -> bool:
    """Return whether the S3 server stores a key: it merges slashes, and refuses `.` and `..`."""
    names = key.split("/")
    return not {"", ".", "..", STAGE_FOLDER} & {*names} and all(
        len(name.encode()) <= 200 for name in names
    )


# No NUL, which the server refuses; no surrogate, which UTF-8 lacks; no `\`, which it replaces.
_CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0\\")
KEYS = st.lists(st.sampled_from([*ODD, "/", "a"]) | st.text(_CHARACTERS, max_size=9), max_size=6)
KEY = KEYS.map("".join).filter(_is_storable)
FOLDER = count()


ORDER = b'{"id": %d, "line_items": []}\n'
NAMES = (
    "a::b.json",
    "zip:::s3:",
    "a.json?versionId=null",
    "b?versionId=/c%2Bd%20e.json ",
    " f#?&=+[1]*{run_date}.json",
    "\N{LATIN SMALL LETTER E WITH ACUTE}.json",
    "e\N{COMBINING ACUTE ACCENT}.json",
)


def put(name: str, content: bytes) -> None:
    """Put an object of exactly this name; s3fs itself would split a version from it."""
    bucket, _, key = name.removeprefix("s3://").partition("/")
    s3fs.S3FileSystem().call_s3("put_object", Bucket=bucket, Key=key, Body=content)


def literally(folder: str) -> str:
    """Return a folder's name escaped for a source URL."""
    return re.sub(r"[*?[]", r"[\g<0>]", folder).replace("{", "{{").replace("}", "}}")


@hypothesis_settings(
    deadline=None,
    max_examples=40,
    phases=[Phase.generate],  # shrinking takes minutes of requests
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(folder=KEY, keys=st.lists(KEY, min_size=1, max_size=4, unique=True))
def test_any_key_below_any_folder_is_listed_and_read(
    environment: dict[str, str], source: str, folder: str, keys: list[str]
) -> None:
    base = f"{source}{next(FOLDER)}/"
    # No key is the folder of another one, which this server takes for a file. No part is hidden.
    shown = [re.sub(r"/(?=[._])", "/a", key) for key in keys]
    names = {f"{base}{folder}/{number}{key}": number for number, key in enumerate(shown, 1)}
    for name, number in names.items():
        put(name, ORDER % number)
    for block_size in (MIB, len(ORDER) // 2):  # read whole, and in byte ranges
        read = [
            (block.file.name, number)
            for split in discover(f"{base}{literally(folder)}/", DAY, block_size)
            for block in decode(split, ZoneInfo("UTC"))
            for number in block.orders["id"].to_pylist()
        ]
        assert sorted(read) == sorted(names.items())


def test_a_run_loads_any_key_and_stages_beside_a_folder_of_any_name(
    client: Client, settings: Settings, query: Callable[..., list[tuple[Any, ...]]], source: str
) -> None:
    folder = f"{source}zip:::s3: a::b #%2B+ ?versionId=null' e\N{COMBINING ACUTE ACCENT}"
    names = {f"{folder}/{DAY}/{key}": number for number, key in enumerate(NAMES, 1)}
    for name, number in names.items():
        put(name, ORDER % number)
    dated = load_settings(source=f"{literally(folder)}/{{run_date}}/", stage_url=folder)
    assert run(DAY, settings=dated, client=client).orders == len(names)
    loaded = query(
        "select load_file.name, order_id from orders.fact_order"
        " join orders_ops.load_file on file_id = source_file_id"
    )
    assert dict(loaded) == names
    assert run(DAY, settings=dated, client=client).outcome == "up_to_date"


def test_members_of_a_zip_of_any_name_are_read(environment: dict[str, str], source: str) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a::b.json", ORDER % 1)
        archive.writestr("c.json", ORDER % 2)
    name = f"{source}x::y?versionId=null/zip:::"
    put(name, packed.getvalue())
    [split] = discover(f"zip://a::*::{source}x::y[?]versionId=null/*", DAY, 1)
    [block] = decode(split, ZoneInfo("UTC"))
    assert block.file.name == f"zip://a::b.json::{name}"
    assert block.orders["id"].to_pylist() == [1]
