"""Reports that a command writes beside its work, whatever becomes of them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from distributed import Client, LocalCluster

from orders_dask.cli.monitoring import performance_reported
from orders_dask.cli.report_file import write_report
from orders_dask.errors import SettingsError
from orders_dask.settings import Settings


def test_without_its_cluster_only_the_report_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings(pgsql_hostname="h", pgsql_user="u", pgsql_database="d", source="s3://b/")
    with (
        LocalCluster(n_workers=1, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
        performance_reported(lambda *_: client, tmp_path / "dask.html") as connect,
    ):
        assert connect(settings, True) is client
        cluster.close()
    assert "Warning: Dask's report is missing (" in capsys.readouterr().err
    assert not os.listdir(tmp_path)


def test_a_report_is_for_its_owner_and_there_is_no_other_file(tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    for page in ("a", "b"):
        write_report(file, page)
        assert file.read_text() == page
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with pytest.raises(SettingsError, match="can't be written"):
        write_report(tmp_path, "a")
    assert os.listdir(tmp_path) == ["report.html"]
