"""discover: the source URL becomes files, and these become splits, the work of one decode task each."""

from __future__ import annotations

from datetime import date
from functools import partial
from itertools import chain

from orders_dask.errors import SettingsError, SourceMissing
from orders_dask.extract.records import Split
from orders_dask.extract.source.listing import list_files, listing_order
from orders_dask.extract.splits import (
    ALIGNMENT,
    MIN_SPLIT_BYTES,
    CutPlan,
    cut_file,
    group_small,
    map_files,
    split_size,
)
from orders_dask.extract.zip_urls import expand_zip, member_matcher
from orders_dask.settings import split_zip_url


def discover(source: str, run_date: date, block_size: int) -> list[Split]:
    """List the files of a run date, straight from the store, and cut them into splits.

    Parameters
    ----------
    source
        The source URL, as ``_AWS_S3_URL_SOURCE``: an fsspec URL of a file, of a folder (all files
        below it) or with globs, that may hold ``{run_date}``; ``zip://PATTERN::URL`` means those
        members of the zips at URL that match PATTERN, which ends at the first ``::`` that a URL
        follows. Any other ``::`` is part of a name, as ``#``, ``%``, ``+`` and blanks are. In it
        ``[[]``, ``[*]`` and ``[?]`` stand for such a character, and ``{{`` and ``}}`` for a brace;
        in the names of what is listed every character stands for itself.
    run_date
        The date that ``{run_date}`` stands for.
    block_size
        Bytes of a split, at most, about. Plain newline-delimited text that is larger is cut into
        byte ranges, a larger zip into its members; smaller files go together. Splits are smaller
        where few workers would else have something to do.

    Returns
    -------
    list of Split
        Sorted by the first file's name (byte order of UTF-8) and the beginning of the range; the
        same for the same listing.

    Raises
    ------
    SettingsError
        The source URL is malformed, or the store refuses.
    SourceMissing
        There is no file.
    ServiceUnavailable
        The store can't be reached.
    SourceChanged
        A file changed since it was listed.
    """
    url = _of_date(source, run_date)
    pattern, place = split_zip_url(url)
    listed = list_files(place)
    if pattern is not None:
        cuts = map_files(partial(expand_zip, matches=member_matcher(pattern)), listed)
    else:
        most = split_size(sum(file.size for file in listed), ALIGNMENT, block_size)
        small = CutPlan(whole=[(file, file.size) for file in listed if file.size <= most])
        large = [file for file in listed if file.size > most]
        cuts = [small, *map_files(partial(cut_file, block_size=most), large)]
    whole = sorted(chain(*(cut.whole for cut in cuts)), key=lambda sized: listing_order(sized[0]))
    splits = [
        *group_small(
            whole,
            split_size(sum(size for _, size in whole), MIN_SPLIT_BYTES, min(ALIGNMENT, block_size)),
        ),
        *chain(*(cut.splits for cut in cuts)),
    ]
    if not splits:
        raise SourceMissing(
            f"There is no file for run date {run_date} at {url}: check _AWS_S3_URL_SOURCE, or "
            "whether the dump is there."
        )
    return sorted(splits, key=lambda split: (listing_order(split.files[0]), split.start or 0))


def _of_date(source: str, run_date: date) -> str:
    try:
        return source.format(run_date=run_date)
    except (LookupError, ValueError, AttributeError) as error:
        raise SettingsError(
            f"_AWS_S3_URL_SOURCE has a malformed field in {source!r}: only {{run_date}}, or {{run_date:%Y/%m/%d}} with "
            "codes of strftime, may stand in braces."
        ) from error
