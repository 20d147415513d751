"""One arena for each test process, and a line for each case at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from tests.chaos.environment import ChaosEnvironment, arena

STORY = "chaos story"


@pytest.fixture(scope="session")
def shared_arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChaosEnvironment]:
    """Services, cluster and the old day."""
    with arena(tmp_path_factory.mktemp("chaos")) as made:
        yield made


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Callable[[object], None]:
    """Tell how a case went, for the summary."""
    return lambda story: request.node.user_properties.append((STORY, str(story)))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print a line for each case."""
    told = [
        (report.nodeid.partition("::")[2], report.outcome, dict(report.user_properties))
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, [])
        if report.when == "call" and "tests/chaos/" in report.nodeid
    ]
    if told:
        terminalreporter.section("chaos")
    for name, outcome, properties in sorted(told, key=lambda each: each[0]):
        terminalreporter.write_line(f"{name}: {properties.get(STORY, outcome)}")
    strikes = Counter(
        name.rpartition("-")[2].rstrip("]") for name, *_ in told if "struck_anywhere" in name
    )
    if strikes:
        each = ", ".join(f"{strike} {times}" for strike, times in sorted(strikes.items()))
        terminalreporter.write_line(f"struck {strikes.total()} times: {each}")
