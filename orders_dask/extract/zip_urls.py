"""Source URLs of the form ``zip://PATTERN::URL``, which name members of zips."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache, partial

from fsspec.utils import glob_translate

from orders_dask.errors import DataRefused, SettingsError
from orders_dask.extract.records import SourceFile
from orders_dask.extract.source.compression import is_zip
from orders_dask.extract.source.object_store import open_random_access
from orders_dask.extract.splits import CutPlan, cut_into_members, map_files


def expand_zips(files: list[SourceFile], pattern: str) -> list[CutPlan]:
    """Plan to read the members of zips that match a pattern.

    Parameters
    ----------
    files
        The objects at URL.
    pattern
        PATTERN: a glob of members, or a folder in the zip.

    Raises
    ------
    SettingsError
        The pattern is malformed.
    DataRefused
        An object is not a zip.
    """
    return map_files(partial(_expand_zip, matches=_member_filter(pattern)), files)


def _member_filter(pattern: str) -> Callable[[str], bool]:
    """Return a test for member names: they match `pattern`, or are below the folder it names."""
    pattern = pattern.strip("/")
    try:
        matches = re.compile(glob_translate(pattern)).match
    except ValueError as error:
        raise SettingsError(
            f"_AWS_S3_URL_SOURCE has a malformed pattern zip://{pattern}: {error}."
        ) from error

    def is_wanted(name: str) -> bool:
        name = name.removeprefix("./")
        return not pattern or bool(matches(name)) or name.startswith(f"{pattern}/")

    return is_wanted


def _expand_zip(file: SourceFile, matches: Callable[[str], bool]) -> CutPlan:
    """Plan to read the members of a zip, and refuse any other object.

    Otherwise a plain file would be loaded whole for every run date.
    """
    if not _is_zip(file):
        raise DataRefused(
            f"{file.name} is no zip, though _AWS_S3_URL_SOURCE names members of it by zip://: "
            "correct one of the two."
        )
    return cut_into_members(file, matches)


@lru_cache(maxsize=1024)
def _is_zip(file: SourceFile) -> bool:
    with open_random_access(file) as stream:
        return is_zip(stream.read(4))
