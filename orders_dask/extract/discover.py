"""The step discover: list the files of a run date and cut them into splits."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import date
from functools import cache
from typing import NamedTuple

from orders_dask.errors import SettingsError, SourceMissing
from orders_dask.extract.fetched import without_unfinished
from orders_dask.extract.records import Split
from orders_dask.extract.source.listing import Listing, list_files, list_together
from orders_dask.extract.splits import make_splits, plan_cuts
from orders_dask.extract.zip_urls import expand_zips
from orders_dask.urls import split_zip_url


class Dump(NamedTuple):
    """The dump of a run date.

    Attributes
    ----------
    splits
        Its files, cut into splits.
    left_out
        Names of the objects that are no dump by convention.
    """

    splits: list[Split]
    left_out: list[str]


def discover(source: str, run_date: date, block_size: int) -> list[Split]:
    """Return the splits of :func:`discover_dump`."""
    return discover_dump(source, run_date, block_size).splits


def discover_dump(
    source: str,
    run_date: date,
    block_size: int,
    list_url: Callable[[str], Listing] = list_files,
) -> Dump:
    """List the files of a run date, straight from the store, and cut them into splits.

    Parameters
    ----------
    source
        The source URL, as in ``_AWS_S3_URL_SOURCE``. It is an fsspec URL of a file, of a folder
        (all files below it), or with globs. It may contain ``{run_date}``. ``zip://PATTERN::URL``
        means the members that match PATTERN of the zips at URL. PATTERN ends at the first ``::``
        that a URL follows. Any other ``::`` is part of a name, as ``#``, ``%``, ``+`` and blanks
        are. To escape a character write ``[[]``, ``[*]``, ``[?]``, ``{{`` or ``}}``. See
        docs/contract.md#source-url.
    run_date
        The date that replaces ``{run_date}``.
    block_size
        Maximum bytes of a split, roughly. Plain newline-delimited text that is larger is cut into
        byte ranges, and a larger zip into its members. Smaller files are grouped. A small dump is
        cut finer, so that several workers have something to do.
    list_url
        Lists the files at a URL (:func:`list_once`).

    Returns
    -------
    Dump
        Its splits are sorted by the first file's name (byte order of UTF-8) and the beginning of
        the range. The same listing gives the same splits.

    Raises
    ------
    SettingsError
        The source URL is malformed, or the store denies access.
    DataRefused
        The source URL names members of a zip, and the object is not a zip.
    SourceMissing
        There is no file, or the fetch of its pages did not finish.
    ServiceUnavailable
        The store can't be reached.
    StoredObjectChanged
        A file changed since it was listed, or since it was fetched.
    """
    url = _format_run_date(source, run_date)
    pattern, stored_url = split_zip_url(url)
    files, left_out = without_unfinished(list_url(stored_url))
    plans = plan_cuts(files, block_size) if pattern is None else expand_zips(files, pattern)
    splits = make_splits(plans, block_size)
    if not splits:
        others = f" but {left_out[0]}, which is no dump by its name" if left_out else ""
        raise SourceMissing(
            f"There is no file for run date {run_date} at {url} yet{others}: if the dump should be "
            "there, check _AWS_S3_URL_SOURCE."
        )
    return Dump(splits, left_out)


def list_once(source: str, run_dates: Iterable[date]) -> Callable[[str], Listing]:
    """Return what lists the files of several run dates, for :func:`discover_dump`.

    Nothing is listed twice, and folders of S3 are listed together.

    Raises
    ------
    SettingsError
        The source URL is malformed.
    """
    urls = (split_zip_url(_format_run_date(source, day))[1] for day in run_dates)
    together = list_together(urls)
    return cache(lambda url: together.get(url) or list_files(url))


def _format_run_date(source: str, run_date: date) -> str:
    try:
        return source.format(run_date=run_date)
    except (LookupError, ValueError, AttributeError) as error:
        raise SettingsError(
            f"_AWS_S3_URL_SOURCE has a malformed field in {source!r}: only {{run_date}}, or "
            "{run_date:%Y/%m/%d} with codes of strftime, may stand in braces."
        ) from error
