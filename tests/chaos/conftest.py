"""Start one chaos environment a test process, and print a line for each case at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from tests.chaos.environment import ChaosEnvironment, chaos_environment

RESULT_PROPERTY = "chaos result"


@pytest.fixture(scope="session")
def chaos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChaosEnvironment]:
    """Yield services and a cluster, with the old day published."""
    with chaos_environment(tmp_path_factory.mktemp("chaos")) as environment:
        yield environment


@pytest.fixture
def record_result(request: pytest.FixtureRequest) -> Callable[[object], None]:
    """Return a function that records how a case went, for the summary."""
    properties = request.node.user_properties
    return lambda result: properties.append((RESULT_PROPERTY, str(result)))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print a line for each case."""
    cases = [
        (report.nodeid.partition("::")[2], report.outcome, dict(report.user_properties))
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, [])
        if report.when == "call" and "tests/chaos/" in report.nodeid
    ]
    if cases:
        terminalreporter.section("chaos")
    for name, outcome, properties in sorted(cases, key=lambda case: case[0]):
        terminalreporter.write_line(f"{name}: {properties.get(RESULT_PROPERTY, outcome)}")
    faults = Counter(
        name.rpartition("-")[2].rstrip("]") for name, *_ in cases if "fault_at_any_point" in name
    )
    if faults:
        counts = ", ".join(f"{fault} {times}" for fault, times in sorted(faults.items()))
        terminalreporter.write_line(f"{faults.total()} faults: {counts}")
