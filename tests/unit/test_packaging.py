"""Declarations that two tools need twice are the same."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support import REPOSITORY

PYPROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
EXTRAS = PROJECT["optional-dependencies"]

CONDA_NAMES = {"dask[dataframe]": "dask", "psycopg2-binary": "psycopg2", "isal": "python-isal"}
"""Packages that conda-forge has under another name."""


def test_environment_yml_asks_for_what_pyproject_asks_for() -> None:
    asked = {}
    for text in (*PROJECT["dependencies"], *EXTRAS["sandbox"]):
        requirement = Requirement(text)
        extras = f"[{','.join(requirement.extras)}]" if requirement.extras else ""
        name = requirement.name + extras
        asked[CONDA_NAMES.get(name, name)] = requirement.specifier
    asked["python"] = Requirement(f"python{PROJECT['requires-python']}").specifier

    *conda, pip = yaml.safe_load((REPOSITORY / "environment.yml").read_text())["dependencies"]
    listed = [Requirement(text) for text in (*conda, *pip["pip"]) if text != "pip"]
    assert {r.name: r.specifier for r in listed} == asked


@pytest.mark.parametrize("platform", ["linux", "darwin"])
@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
def test_the_lock_has_a_version_in_the_range_of_each_requirement(
    python: str, platform: str
) -> None:
    there = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": platform,
        "platform_python_implementation": "CPython",
    }
    locked: dict[str, list[str]] = {}
    for text in re.findall(r"^([a-z].*) \\$", (REPOSITORY / "requirements.lock").read_text(), re.M):
        pin = Requirement(text)
        if pin.marker is None or pin.marker.evaluate(there):
            locked.setdefault(canonicalize_name(pin.name), []).append(str(pin.specifier)[2:])

    locked_extras = ("sandbox", "notebook", "dev", "docs")
    asked = [*PROJECT["dependencies"], *(text for name in locked_extras for text in EXTRAS[name])]
    wrong = [
        f"{text}: {versions or 'not locked'}"
        for text in (*asked, *PYPROJECT["build-system"]["requires"])
        for requirement in [Requirement(text)]
        for versions in [locked.get(canonicalize_name(requirement.name), [])]
        if not (len(versions) == 1 and requirement.specifier.contains(versions[0]))
    ]
    assert not wrong, "`make lock` has to be run after pyproject.toml was changed"


def test_the_image_is_labelled_with_the_version() -> None:
    [labelled] = re.findall(r"^ARG VERSION=(.*)$", (REPOSITORY / "Dockerfile").read_text(), re.M)
    assert labelled == PROJECT["version"]


def test_the_images_of_the_compose_file_have_stand_ins() -> None:
    compose = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())
    pulled = {service["image"] for service in compose["services"].values()} - {
        compose["x-image"]["image"]
    }
    engine = (REPOSITORY / "tests" / "compose" / "engine.sh").read_text()
    made = set(re.findall(r"has_image (\S+:\S+)", engine))
    assert made == pulled | {"python:3.13-slim"}


@pytest.mark.parametrize("module", ["guard", "history", "memory"])
def test_what_is_measured_without_rivals_needs_none_of_them(module: str) -> None:
    """CI runs the guard with what ``make setup`` installs, which isn't the extra ``bench``."""
    code = (
        "import sys; sys.modules['duckdb'] = sys.modules['dlt'] = None\n"
        f"import tests.benchmarks.{module}"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
