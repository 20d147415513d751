"""Listing and reading objects on a real S3 server."""

from __future__ import annotations

import os
import struct
import zipfile
from datetime import date, timedelta
from functools import partialmethod
from typing import Any
from unittest.mock import Mock
from zoneinfo import ZoneInfo

import pytest
import s3fs
from moto.server import ThreadedMotoServer
from s3fs import S3FileSystem

from orders_dask.errors import ServiceUnavailable, SettingsError, SourceMissing, StoredObjectChanged
from orders_dask.extract.decode.decode import decode
from orders_dask.extract.discover import discover, list_once
from orders_dask.extract.framing.files import read_files
from orders_dask.extract.records import MIB
from orders_dask.extract.source.listing import list_files, list_together
from orders_dask.filesystem import RawKeyFileSystem, filesystem
from tests.support.builders import zipped
from tests.support.decoding import text_of

DAY = date(2024, 2, 3)
LINES = b'{"id": 1}\n{"id": 2}\n'
UTC = ZoneInfo("UTC")
EMPTY_ZIP = b"PK\x05\x06" + bytes(18)
EMPTY_ZIP_64 = (
    struct.pack("<4sQHHIIQQQQ4sIQI", b"PK\6\6", 44, 45, 45, *[0] * 6, b"PK\6\7", 0, 0, 1)
    + EMPTY_ZIP
)


@pytest.fixture
def store(environment: dict[str, str]) -> s3fs.S3FileSystem:
    return s3fs.S3FileSystem(skip_instance_cache=True)


def test_objects_of_a_run_date_are_listed_and_read(store: s3fs.S3FileSystem, source: str) -> None:
    for name in ("2024-02-03/b.json", "2024-02-03/a/c.json", "2024-02-04/d.json"):
        store.pipe_file(source + name, LINES)
    store.pipe_file(f"{source}2024-02-03/empty/", b"")
    for url in (f"{source}{{run_date}}/", f"{source}{{run_date}}", f"{source}{{run_date}}/**"):
        [split] = discover(url, DAY, MIB)
        assert [file.name for file in split.files] == [
            f"{source}2024-02-03/a/c.json",
            f"{source}2024-02-03/b.json",
        ]
        assert text_of([split]) == LINES * 2


def test_a_process_has_one_client_for_all_urls(source: str) -> None:
    first, path = filesystem(source)
    first.exists(path)  # connecting must not change its options
    second, _ = filesystem(f"{source}elsewhere/")
    assert second is first, "a second client costs 0.1 s and 13 MB of each process"


def test_a_new_object_is_seen_at_once(store: s3fs.S3FileSystem, source: str) -> None:
    with pytest.raises(SourceMissing):
        discover(source, DAY, MIB)
    store.pipe_file(f"{source}a.json", LINES)
    [split] = discover(source, DAY, MIB)
    assert len(split.files) == 1
    store.pipe_file(f"{source}b.json", LINES)
    [split] = discover(source, DAY, MIB)
    assert len(split.files) == 2


def test_folders_that_are_listed_together_have_the_files_of_each(
    store: s3fs.S3FileSystem, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = [DAY + timedelta(number) for number in range(12)]
    for day in days[1:]:
        store.pipe_file(f"{source}{day}/é/#1+ %41.json", LINES)
        store.pipe_file(f"{source}{day}/_SUCCESS", b"")
        store.pipe_file(f"{source}{day}/empty/", b"")
        store.pipe_file(f"{source}{day}.json", LINES)  # beside the folder, not in it
    for number in range(3):
        store.pipe_file(f"{source}{days[5]}/{number}.json", LINES)
    store.pipe_file(f"{source}{days[3]}-late/a.json", LINES)
    store.pipe_file(f"{source}{days[0]}", LINES)  # an object where the others have a folder
    urls = [f"{source}{day}/" for day in days]
    requests = Mock(wraps=RawKeyFileSystem.list_after)
    monkeypatch.setattr(RawKeyFileSystem, "list_after", lambda *args: requests(*args))

    together = list_together(urls)

    assert requests.call_count == 1
    assert together == {url: list_files(url) for url in urls[1:]}
    list_url = list_once(f"{source}{{run_date}}/", days)
    assert [list_url(url) for url in urls] == [list_files(url) for url in urls]
    assert list_together(urls[:3]) == {}, "few are listed one by one"


def test_an_object_that_is_named_as_the_first_folder_is_listed_with_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """SeaweedFS makes a folder of such a key; moto stores it, as Amazon does."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    _forget_connections()
    try:
        fs, _ = filesystem("s3://dump/")
        fs.call_s3("create_bucket", Bucket="dump")
        days = [DAY + timedelta(number) for number in range(4)]
        for key in (*(f"{day}/x.json" for day in days), f"{days[0]}/", f"{days[2]}/"):
            fs.call_s3("put_object", Bucket="dump", Key=key, Body=LINES)
        fs.call_s3("put_object", Bucket="dump", Key=f"{days[0]}-late", Body=LINES)
        urls = [f"s3://dump/{day}/" for day in days]
        together = list_together(urls)
        assert together == {url: list_files(url) for url in urls[1:]}
        list_url = list_once("s3://dump/{run_date}/", days)
        assert [list_url(url) for url in urls] == [list_files(url) for url in urls]
        assert [len(list_url(url).files) for url in urls] == [2, 1, 2, 1]
    finally:
        _forget_connections()
        server.stop()


def _forget_connections() -> None:
    """Let nothing go on to use connections with another S3 server."""
    S3FileSystem.clear_instance_cache()
    RawKeyFileSystem.clear_instance_cache()


def test_a_listing_that_can_not_be_had_together_is_made_one_by_one(
    monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://bad host/")
    _forget_connections()
    days = [DAY + timedelta(number) for number in range(8)]
    assert list_together(f"{source}{day}/" for day in days) == {}
    _forget_connections()


def test_folders_with_many_objects_between_them_are_listed_one_by_one(
    store: s3fs.S3FileSystem, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = [DAY + timedelta(number) for number in range(8)]
    for day in days:
        for kind in "abc":
            store.pipe_file(f"{source}{day}/{kind}/1.json", LINES)
    page = partialmethod(_page_of, RawKeyFileSystem.list_after, 5)
    monkeypatch.setattr(RawKeyFileSystem, "list_after", page)
    urls = [f"{source}{day}/b/" for day in days]

    together = list_together(urls)

    # Two requests for eight folders: from the first folder to c of the third, and so on.
    assert together == {url: list_files(url) for url in urls[1:3]}


def _page_of(self: Any, list_after: Any, size: int, *args: str) -> tuple[list[Any], bool]:
    details, more = list_after(self, *args)
    return details[:size], more or len(details) > size


def test_byte_ranges_and_zip_members_are_read_by_ranged_requests(
    store: s3fs.S3FileSystem, source: str
) -> None:
    content = b"".join(b'{"id": %d}\n' % number for number in range(100_000))
    members = {"2024-02-03.json": content, "2024-02-04.json": LINES}
    store.pipe_file(f"{source}a.json", content)
    store.pipe_file(f"{source}b.zip", zipped(members, zipfile.ZIP_DEFLATED))
    ranges = discover(f"{source}a.json", DAY, 200_000)
    assert len(ranges) == 7
    assert text_of(ranges) == content
    [member] = discover(f"zip://{{run_date}}.json::{source}b.zip", DAY, MIB)
    assert [file.name for file in member.files] == [f"zip://2024-02-03.json::{source}b.zip"]
    assert text_of([member]) == content


@pytest.mark.parametrize("padding", [b"", b"\0" * 9])
@pytest.mark.parametrize("record", [EMPTY_ZIP, EMPTY_ZIP_64], ids=["zip", "zip64"])
def test_an_empty_zip_has_no_orders_and_can_be_read(
    store: s3fs.S3FileSystem, source: str, record: bytes, padding: bytes
) -> None:
    store.pipe_file(f"{source}a.zip", record + padding)
    for block_size in (MIB, 1):
        [split] = discover(source, DAY, block_size)
        [block] = decode(split, UTC)
        assert (block.read, block.rejected, block.unreadable) == (0, (), False)
    with pytest.raises(SourceMissing):
        discover(f"zip://*.json::{source}a.zip", DAY, MIB)


def test_an_object_that_changed_since_it_was_listed_is_transient(
    store: s3fs.S3FileSystem, source: str
) -> None:
    store.pipe_file(f"{source}a.json", LINES)
    [split] = discover(source, DAY, MIB)
    store.pipe_file(f"{source}a.json", LINES[::-1])
    with pytest.raises(StoredObjectChanged, match=r"a\.json changed"):
        text_of([split])
    store.rm_file(f"{source}a.json")
    with pytest.raises(StoredObjectChanged):
        text_of([split])


def test_small_objects_are_fetched_together_each_as_it_was_listed(
    store: s3fs.S3FileSystem, source: str
) -> None:
    texts = {f"{number:03}.json": b'{"id": %d}\n' % number for number in range(1, 71)}
    texts["040.json"] = LINES * (MIB // 20)  # too large to go with others
    texts["050.json"] = b""
    for name, text in texts.items():
        store.pipe_file(source + name, text)
    splits = discover(source, DAY, 64 * MIB)
    assert text_of(splits) == b"".join(texts.values())
    store.pipe_file(f"{source}033.json", LINES)
    read: list[str] = []

    def read_all() -> None:
        for split in splits:
            for file, records in read_files(split):
                read.extend(file.name.rpartition("/")[2] for _ in records)

    with pytest.raises(StoredObjectChanged, match=r"033\.json changed"):
        read_all()
    assert read == [f"{number:03}.json" for number in range(1, 33)], "the others were read before"
    store.rm_file(f"{source}033.json")
    with pytest.raises(StoredObjectChanged, match=r"033\.json changed"):
        text_of(splits)


@pytest.mark.parametrize("block_size", [200 * MIB, 64 * MIB])
def test_an_object_that_changes_while_it_is_read_is_transient(
    store: s3fs.S3FileSystem, source: str, block_size: int
) -> None:
    store.pipe_file(f"{source}a.json", LINES * 8 * MIB)
    split, *_ = discover(source, DAY, block_size)
    files = read_files(split)
    _, records = next(files)
    next(records)
    store.pipe_file(f"{source}a.json", LINES)
    with pytest.raises(StoredObjectChanged):
        list(records)


def test_a_missing_bucket_is_a_settings_error(environment: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="bucket no-such-bucket"):
        discover("s3://no-such-bucket/a/", DAY, MIB)


def test_an_error_about_wrong_keys_does_not_show_them(
    environment: dict[str, str], source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-the-secret")
    RawKeyFileSystem.clear_instance_cache()
    with pytest.raises(SettingsError, match="check AWS_ENDPOINT_URL_S3") as caught:
        discover(source, DAY, MIB)
    assert "not-the-secret" not in str(caught.value)
    assert os.environ["AWS_ACCESS_KEY_ID"] not in str(caught.value)
    RawKeyFileSystem.clear_instance_cache()


def test_a_server_that_is_down_is_transient_with_its_address(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    RawKeyFileSystem.clear_instance_cache()
    with pytest.raises(ServiceUnavailable, match=r"S3 at 127\.0\.0\.1:9 .* bucket orders"):
        discover("s3://orders/a/", DAY, MIB)
    RawKeyFileSystem.clear_instance_cache()
