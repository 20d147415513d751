"""Declarations that two tools need twice are the same."""

from __future__ import annotations

import tomllib

import yaml
from packaging.requirements import Requirement

from tests.support import REPOSITORY

CONDA_NAMES = {"dask[dataframe]": "dask", "psycopg2-binary": "psycopg2", "isal": "python-isal"}
"""Packages that conda-forge has under another name."""


def test_environment_yml_asks_for_what_pyproject_asks_for() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    asked = {}
    for text in (*project["dependencies"], *project["optional-dependencies"]["sandbox"]):
        requirement = Requirement(text)
        extras = f"[{','.join(requirement.extras)}]" if requirement.extras else ""
        name = requirement.name + extras
        asked[CONDA_NAMES.get(name, name)] = requirement.specifier
    asked["python"] = Requirement(f"python{project['requires-python']}").specifier

    *conda, pip = yaml.safe_load((REPOSITORY / "environment.yml").read_text())["dependencies"]
    listed = [Requirement(text) for text in (*conda, *pip["pip"]) if text != "pip"]
    assert {r.name: r.specifier for r in listed} == asked
