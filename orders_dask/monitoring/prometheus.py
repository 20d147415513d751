"""Write gauges into a text file for the textfile collector of Prometheus's node exporter.

The names follow https://prometheus.io/docs/practices/naming/. A text file of a command that has
ended has gauges alone: nothing in it counts on.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client import Gauge as Collector
from prometheus_client.parser import text_string_to_metric_families

from orders_dask.replace_file import replace_file

PREFIX: Final = "orders_dask_"
"""Beginning of the name of every metric."""

MODE: Final = 0o644
"""Mode of the file: the node exporter runs as a user of its own."""


@dataclass(frozen=True)
class Gauge:
    """A gauge with its values.

    Attributes
    ----------
    name
        Name without :data:`PREFIX`.
    help
        The meaning, for people.
    value
        The value; None if there is none, and then the gauge is left out.
    label
        Name of the label; None for a gauge without one.
    values
        Values by the label's value, where there is a label. There are few of these: no run dates
        and no names of files.
    """

    name: str
    help: str
    value: float | None = None
    label: str | None = None
    values: Mapping[str, float] = field(default_factory=dict)


def write_gauges(file: Path, gauges: Sequence[Gauge]) -> None:
    """Replace the file by one with these gauges, so that no reader ever sees a half of it.

    Raises
    ------
    OSError
        The file can't be written. What stood there stands.
    """
    registry = CollectorRegistry()
    for gauge in gauges:
        _collect(gauge, registry)
    replace_file(file, generate_latest(registry), MODE)


def _collect(gauge: Gauge, registry: CollectorRegistry) -> None:
    name = PREFIX + gauge.name
    if gauge.label is not None:
        collector = Collector(name, gauge.help, [gauge.label], registry=registry)
        for value_of_label, value in gauge.values.items():
            collector.labels(value_of_label).set(value)
    elif gauge.value is not None:
        Collector(name, gauge.help, registry=registry).set(gauge.value)


def former_gauges(file: Path, names: Collection[str]) -> list[Gauge]:
    """Return gauges without a label as the file has them; none if there is no such file.

    Parameters
    ----------
    file
        What an earlier command wrote.
    names
        Names of the gauges, without :data:`PREFIX`.
    """
    try:
        families = list(text_string_to_metric_families(file.read_text(encoding="utf-8")))
    except (OSError, ValueError):  # it is not there yet, or somebody else's
        return []
    return [
        Gauge(family.name.removeprefix(PREFIX), family.documentation, family.samples[0].value)
        for family in families
        if family.samples and family.name.removeprefix(PREFIX) in names
    ]
