"""URLs and paths of S3, without a server."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orders_dask.errors import SettingsError
from orders_dask.filesystem import RawKeyFileSystem, filesystem, listed_object


@settings(deadline=None)  # the first example makes the file system
@given(st.text(min_size=1))
@example("a::s3://b")
@example("/a//b/")
@example("a?versionId=1?versionId=")
@example("s3://")
def test_the_name_of_a_listed_object_leads_to_its_key_exactly(key: str) -> None:
    name = RawKeyFileSystem(anon=True).unstrip_protocol(f"bucket/{key}")
    fs, path = listed_object(name)
    # As s3fs opens a file: it strips the path, and strips it again where it asks for its details.
    assert fs.split_path(fs._strip_protocol(path)) == ("bucket", key, None)


@pytest.mark.parametrize("url", ["s3://b/a::b?versionId=1/", "s3a://b/a::b?versionId=1"])
def test_a_folder_has_no_slash_at_its_end_and_no_version(url: str) -> None:
    fs, path = filesystem(url)
    assert path == "b/a::b?versionId=1"
    assert fs.split_path(path) == ("b", "a::b?versionId=1", None)
    assert fs.split_path("b/folder/") == ("b", "folder/", None)
    assert fs.split_path("b") == fs.split_path("b/") == ("b", "", None)


@pytest.mark.parametrize("url", ["s3:/b/a", "b/a", "zip://a::s3://b/c"])
def test_a_url_of_no_store_is_a_settings_error(url: str) -> None:
    with pytest.raises(SettingsError, match=rf"^The URL '{url}' "):
        filesystem(url)
