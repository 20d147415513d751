"""An unusable stage or AWS configuration is a settings error, which no retry overcomes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from orders_dask.errors import ServiceUnavailable, SettingsError
from orders_dask.filesystem import filesystem, translate_storage_errors
from orders_dask.stage.parts import find_part
from orders_dask.stage.write import write_part


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a file where a folder is expected."""
    made = tmp_path / "file"
    made.touch()
    return made


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc")
@pytest.mark.parametrize("protocol", ["", "file://"])
def test_a_stage_below_proc_can_not_be_written(protocol: str) -> None:
    url = f"{protocol}/proc/x/part=1"
    assert find_part(url) is None
    with pytest.raises(SettingsError, match=f"^{url} can't be .*see ORDERS_DASK_STAGE_URL"):
        write_part(url, ())


def test_a_stage_below_a_file_can_not_be_used(file: Path) -> None:
    with pytest.raises(SettingsError, match="Not a directory"):
        find_part(f"{file}/part=1")
    with pytest.raises(SettingsError, match="Not a directory"):
        write_part(f"file://{file}/part=1", ())


def test_a_stage_whose_name_is_too_long_can_not_be_used(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="File name too long"):
        write_part(f"{tmp_path}/{'x' * 300}/part=1", ())


@pytest.fixture
def aws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield a folder for AWS configuration, empty, with the URL of a server that isn't there."""
    for name in os.environ:
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    for name, value in {
        "HOME": str(tmp_path),
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1",
        "AWS_ACCESS_KEY_ID": "AKIA",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    (tmp_path / ".aws").mkdir()
    filesystem("s3://x/")[0].clear_instance_cache()  # its client has read another environment
    yield tmp_path / ".aws"
    filesystem("s3://x/")[0].clear_instance_cache()


def listed(bucket: str) -> None:
    """List a bucket."""
    url = f"s3://{bucket}/"
    with translate_storage_errors(url):
        fs, path = filesystem(url)
        fs.ls(path)


@pytest.mark.parametrize(
    ("variables", "why"),
    [
        ({"AWS_PROFILE": "nobody"}, r"profile \(nobody\) could not be found"),
        ({"AWS_DEFAULT_REGION": "eu west"}, "region_name 'eu west'"),
        ({"AWS_SECRET_ACCESS_KEY": ""}, "missing: AWS_SECRET_ACCESS_KEY"),
        ({"AWS_CONFIG_FILE": "{home}/broken"}, "Unable to parse config file"),
    ],
)
def test_what_botocore_can_not_make_sense_of_is_a_setting(
    aws: Path, variables: dict[str, str], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (aws / "broken").write_text("nonsense")
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(home=aws))
    with pytest.raises(SettingsError, match=why) as caught:
        listed("orders")
    assert "\n" not in str(caught.value)


def test_a_server_that_is_not_there_may_come_back(aws: Path) -> None:
    with pytest.raises(ServiceUnavailable, match="EndpointConnectionError"):
        listed("orders")
