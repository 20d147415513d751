"""Source URLs ``zip://PATTERN::URL``: the members of zips that they mean."""

from __future__ import annotations

import re
from collections.abc import Callable

from fsspec.utils import glob_translate

from orders_dask.errors import DataRefused, SettingsError
from orders_dask.extract.records import SourceFile
from orders_dask.extract.source.compression import is_zip
from orders_dask.extract.source.object_store import open_random_access
from orders_dask.extract.splits import CutPlan, cut_into_members


def member_matcher(pattern: str) -> Callable[[str], bool]:
    """Tell which members of a zip `pattern` means: those that it matches, or all below the folder that it names."""
    pattern = pattern.strip("/")
    try:
        matches = re.compile(glob_translate(pattern)).match
    except ValueError as error:
        raise SettingsError(
            f"_AWS_S3_URL_SOURCE has a malformed pattern zip://{pattern}: {error}."
        ) from error
    return lambda name: not pattern or bool(matches(name)) or name.startswith(f"{pattern}/")


def expand_zip(file: SourceFile, matches: Callable[[str], bool]) -> CutPlan:
    """Take apart what the source URL says is a zip: as anything else it would be loaded whole, for every run date."""
    with open_random_access(file) as stream:
        if not is_zip(stream.read(4)):
            raise DataRefused(
                f"{file.name} is no zip, though _AWS_S3_URL_SOURCE names members of it by zip://: mend one of the two."
            )
    return cut_into_members(file, matches)
