"""What is written for Prometheus is documented, and its alert rules name what is written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from orders_dask.monitoring.prometheus import Gauge, former_gauges, write_gauges
from tests.support import REPOSITORY

PAGE = (REPOSITORY / "docs" / "monitoring.md").read_text()
RULES = REPOSITORY / "deploy" / "prometheus" / "orders_dask.rules.yml"


def test_the_alert_rules_of_the_page_are_those_of_the_file_and_name_documented_gauges() -> None:
    [group] = yaml.safe_load(RULES.read_text())["groups"]
    [shown] = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    keys = ("alert", "expr", "for")
    assert yaml.safe_load(shown) == [{key: rule[key] for key in keys} for rule in group["rules"]]
    named = {
        name for rule in group["rules"] for name in re.findall(r"orders_dask_(\w+)", rule["expr"])
    }
    assert named
    assert {name for name in named if f"`{name}`" not in PAGE} == set()


def test_a_gauge_without_a_value_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "a.prom"
    write_gauges(file, [Gauge("a", "A.", None), Gauge("b", "B.", 0)])
    assert [gauge.name for gauge in former_gauges(file, ("a", "b"))] == ["b"]


def test_gauges_are_read_as_they_were_written(tmp_path: Path) -> None:
    file = tmp_path / "a.prom"
    gauge = Gauge("a_seconds", "A \\ and a\nline.", 1796000000.25)
    write_gauges(file, [gauge, Gauge("b", "B.", label="step", values={"load": 2.0})])
    assert former_gauges(file, ("a_seconds",)) == [gauge]


def test_nothing_is_left_behind_where_a_gauge_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Duplicated"):
        write_gauges(tmp_path / "a.prom", [Gauge("a", "A.", 1), Gauge("a", "A.", 2)])
    assert list(tmp_path.iterdir()) == []
