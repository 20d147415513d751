"""A version constant is raised whenever what it stands for changes."""

from __future__ import annotations

import pytest

from tests.support.golden import VERSIONS, current, recorded


@pytest.mark.parametrize("constant", VERSIONS)
def test_a_change_raises_its_version(constant: str) -> None:
    before, now = recorded(constant), current(constant)
    record = "record it with `python -m tests.support.golden`"
    if now["version"] == before["version"]:
        assert now == before, (
            f"what {constant} stands for has changed: raise it in contract/versions.py, "
            f"say so in CHANGELOG.md, and {record}"
        )
    else:
        assert now["version"] > before["version"], f"{constant} never goes back"
        assert now == before, f"{constant} was raised: {record}"
