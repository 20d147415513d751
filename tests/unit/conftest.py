"""An environment without settings."""

from __future__ import annotations

import os

import pytest

from orders_dask.contract.table_groups import ACTIVE_GROUPS, GROUPS
from orders_dask.settings import Settings, without_service_variables

# Their tables are there where all groups are on: `make test` runs the tests marked `groups` so.
collect_ignore = [] if ACTIVE_GROUPS == GROUPS else ["test_detail_tables.py"]


@pytest.fixture
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove all settings, and variables that choose a service, from the environment."""
    for name in set(os.environ) - set(without_service_variables(os.environ)):
        monkeypatch.delenv(name)
    for field in Settings.model_fields.values():
        monkeypatch.delenv(str(field.validation_alias), raising=False)
