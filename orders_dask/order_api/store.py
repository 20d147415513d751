"""Objects of a fetch in the dump: its plan, its pages, and the manifest, which is written last."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from itertools import pairwise
from random import random
from typing import Any, Final

from botocore.exceptions import ClientError
from fsspec import AbstractFileSystem
from s3fs.errors import translate_boto_error

from orders_dask.dump import FETCH_FOLDER, MANIFEST_NAME, FetchedObject, FetchManifest
from orders_dask.errors import DataRefused, ServiceUnavailable, StoredObjectChanged
from orders_dask.filesystem import RawKeyFileSystem, filesystem, translate_storage_errors
from orders_dask.order_api.api import Answer
from orders_dask.order_api.pages import Page, parse_page
from orders_dask.order_api.window import Window, as_parameter
from orders_dask.retry import retry_transient

PLAN_NAME: Final = "begin.json"
"""The first object of a fetch."""

MANIFEST_ATTEMPTS: Final = 10
"""Attempts to write the manifest, each of which another fetch may have preceded."""


@dataclass(frozen=True)
class FetchPlan:
    """What a fetch set out to do. One that goes on after a kill follows it.

    Attributes
    ----------
    host
        The shop.
    bounds
        Bounds of the slices.
    count_before
        Orders in the window by the shop's count, before any page; None for one of one page. A
        count taken later would be too small for the pages from before it.
    """

    host: str
    bounds: tuple[datetime, ...]
    count_before: int | None

    @property
    def slices(self) -> list[Window]:
        """The slices of the window."""
        return [Window(*pair) for pair in pairwise(self.bounds)]


@dataclass(frozen=True)
class Stored:
    """A page that is stored.

    Attributes
    ----------
    slice_number, page_number
        Its numbers.
    page
        The page, without its body.
    entry
        What the manifest says of it; its ETag is known after the last page.
    """

    slice_number: int
    page_number: int
    page: Page
    entry: FetchedObject


class FetchStore:
    """The folder of a run date that is fetched into, and the fetch in it.

    Parameters
    ----------
    url
        URL of the folder, with a slash at its end.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._folder = ""
        # Two fetches may go on with the same one: neither replaces pages of the other.
        self._writer = secrets.token_hex(4)

    def _at(self, name: str) -> tuple[AbstractFileSystem, str]:
        return filesystem(self._url + name)

    def manifest(self) -> tuple[FetchManifest | None, str | None]:
        """Return the manifest and its ETag; None where there is none.

        Raises
        ------
        DataRefused
            It can't be read.
        """
        content, etag = retry_transient(self._read_manifest)()
        if content is None:
            return None, None
        try:
            return FetchManifest.from_json(content), etag
        except ValueError as error:
            raise DataRefused(f"{self._url}{MANIFEST_NAME} is {error}: remove it.") from error

    def _read_manifest(self) -> tuple[bytes | None, str | None]:
        with translate_storage_errors(self._url):
            fs, path = self._at(MANIFEST_NAME)
            try:
                if not isinstance(fs, RawKeyFileSystem):
                    return fs.cat_file(path), None
                return fs.get_with_etag(path)
            except FileNotFoundError:
                return None, None

    def begin(self, plan: FetchPlan) -> None:
        """Begin a new fetch: write its plan into a folder of its own."""
        now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        self._folder = f"{FETCH_FOLDER}{now}-{secrets.token_hex(4)}/"
        content = {
            "host": plan.host,
            "bounds": [as_parameter(bound) for bound in plan.bounds],
            "count_before": plan.count_before,
        }
        self._put(self._folder + PLAN_NAME, json.dumps(content).encode())

    def resume(self, host: str, window: Window) -> FetchPlan | None:
        """Go on with a fetch that did not finish, the latest one; return its plan, or None.

        Only one of several pages counts, of the same shop and window.
        """
        folders = {name.partition("/")[0] for name in self._list(FETCH_FOLDER)}
        for folder in sorted(folders, reverse=True):
            plan = self._read_plan(f"{folder}/")
            if (
                plan
                and plan.count_before is not None
                and plan.host == host
                and (plan.bounds[0], plan.bounds[-1]) == window
            ):
                self._folder = f"{folder}/"
                return plan
        return None

    @retry_transient
    def give_up(self) -> None:
        """Let no later fetch go on with this one, if it has begun."""
        if not self._folder:
            return  # else a begin.json of somebody else's would be removed
        with translate_storage_errors(self._url):
            fs, path = self._at(self._folder + PLAN_NAME)
            with suppress(FileNotFoundError):
                fs.rm_file(path)

    @retry_transient
    def _read_plan(self, folder: str) -> FetchPlan | None:
        with translate_storage_errors(self._url):
            fs, path = self._at(folder + PLAN_NAME)
            try:
                content = json.loads(fs.cat_file(path))
                bounds = tuple(datetime.fromisoformat(text) for text in content["bounds"])
                return (
                    FetchPlan(content["host"], bounds, content["count_before"]) if bounds else None
                )
            except (FileNotFoundError, ValueError, KeyError, TypeError, IndexError):
                return None  # it was killed before it had one

    @retry_transient
    def stored_pages(self, plan: FetchPlan) -> list[Stored]:
        """Return the pages that this fetch has stored before, in their order; damaged ones not."""
        found = []
        for name, details in sorted(self._list(self._folder).items()):
            numbers = re.fullmatch(r"(\d+)-(\d+)-\w+\.json(\.gz)?", name.rpartition("/")[2])
            if not numbers or int(numbers[1]) >= len(plan.slices):
                continue
            with translate_storage_errors(self._url):
                fs, path = self._at(name)
                body: bytes = fs.cat_file(path)
            answer = Answer({}, body, numbers[3] is not None)
            try:
                page = parse_page(answer, plan.slices[int(numbers[1])], plan.host)
            except (ValueError, ServiceUnavailable, DataRefused):
                continue
            if details["size"] == len(body):
                found.append(_stored(int(numbers[1]), int(numbers[2]), name, page))
        return found

    @retry_transient
    def versions(self, manifest: FetchManifest) -> dict[int, int]:
        """Return the orders in the pages that a manifest names, with ``updated_at`` in seconds.

        Raises
        ------
        DataRefused
            A page is damaged.
        StoredObjectChanged
            A page is missing.
        """
        found: dict[int, int] = {}
        for each in manifest.objects:
            with translate_storage_errors(self._url):
                fs, path = self._at(each.name)
                try:
                    body = fs.cat_file(path)
                except FileNotFoundError as error:
                    raise StoredObjectChanged(
                        f"{self._url}{each.name} was removed: give `orders-dask fetch --force` for "
                        "its date."
                    ) from error
            if sha256(body).hexdigest() != each.sha256:
                raise DataRefused(
                    f"{self._url}{each.name} is not what was fetched: give `orders-dask fetch "
                    "--force` for its date."
                )
            answer = Answer({}, body, each.name.endswith(".gz"))
            page = parse_page(answer, _ANY_TIME, manifest.shop)
            for order_id, moment in zip(page.ids, page.times, strict=True):
                found[order_id] = max(moment, found.get(order_id, moment))
        return found

    def put_page(self, slice_number: int, page_number: int, page: Page) -> Stored:
        """Store a page."""
        suffix = ".json.gz" if page.is_gzip else ".json"
        name = f"{self._folder}{slice_number:03}-{page_number:05}-{self._writer}{suffix}"
        self._put(name, page.body)
        return _stored(slice_number, page_number, name, page)

    def finish(
        self,
        pages: Sequence[Stored],
        manifest_of: Callable[[FetchManifest | None, Sequence[FetchedObject]], FetchManifest],
    ) -> FetchManifest:
        """Write the manifest, by one conditional request: what was fetched before stays in it.

        Parameters
        ----------
        pages
            The pages of this fetch.
        manifest_of
            Makes the manifest from the one that is there and the objects of both.

        Raises
        ------
        ServiceUnavailable
            Other fetches of the date are always first, or a page was removed or changed.
        """
        details = self._list(FETCH_FOLDER)
        entries = [_with_etag(stored.entry, details, self._url) for stored in pages]
        names = {each.name for each in entries}
        for attempt in range(MANIFEST_ATTEMPTS):
            before, etag = self.manifest()
            others = [each for each in _entries(before) if each.name not in names]
            objects = [*self._there(others, details), *entries]
            manifest = manifest_of(before, objects)
            if self._put_manifest(manifest.to_json(), etag):
                return manifest
            time.sleep(random() * attempt)
        raise ServiceUnavailable(
            f"Other fetches write {self._url}{MANIFEST_NAME} all the time: run this one later."
        )

    def _there(
        self, entries: Sequence[FetchedObject], details: Mapping[str, Mapping[str, Any]]
    ) -> list[FetchedObject]:
        """Return the entries of pages that are still what was fetched, with the ETags of now."""
        found = []
        for each in entries:
            if (info := details.get(each.name)) and info["size"] == each.size:
                now = replace(each, etag=_etag(info))
                if now.etag == each.etag or self._hash_of(each.name) == each.sha256:
                    found.append(now)
        return found

    @retry_transient
    def _hash_of(self, name: str) -> str:
        with translate_storage_errors(self._url):
            fs, path = self._at(name)
            return sha256(fs.cat_file(path)).hexdigest()

    @retry_transient
    def _put_manifest(self, content: bytes, etag: str | None) -> bool:
        """Write the manifest unless another was written since; return whether it was."""
        with translate_storage_errors(self._url):
            fs, path = self._at(MANIFEST_NAME)
            if not isinstance(fs, RawKeyFileSystem):
                fs.pipe_file(f"{path}.new", content)
                fs.mv(f"{path}.new", path)
                return True
            try:
                fs.put_if(path, content, etag)
            except ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] in (409, 412):
                    return False
                raise translate_boto_error(error) from error
            return True

    @retry_transient
    def _put(self, name: str, content: bytes) -> None:
        with translate_storage_errors(self._url):
            fs, path = self._at(name)
            if not isinstance(fs, RawKeyFileSystem):
                fs.makedirs(path.rpartition("/")[0], exist_ok=True)
            fs.pipe_file(path, content)

    @retry_transient
    def _list(self, prefix: str) -> dict[str, Mapping[str, Any]]:
        """Return the details of objects by their names below the folder."""
        with translate_storage_errors(self._url):
            fs, folder = self._at("")
            fs.invalidate_cache()
            found = fs.find(folder, detail=True)
        begin = len(folder.rstrip("/")) + 1
        names = {path[begin:]: details for path, details in found.items()}
        return {name: details for name, details in names.items() if name.startswith(prefix)}


_ANY_TIME: Final = Window(
    datetime(1, 1, 2, tzinfo=UTC),
    datetime(9999, 12, 30, tzinfo=UTC),
)


def _entries(manifest: FetchManifest | None) -> Sequence[FetchedObject]:
    return manifest.objects if manifest else ()


def _stored(slice_number: int, page_number: int, name: str, page: Page) -> Stored:
    first, last = (
        as_parameter(datetime.fromtimestamp(page.times[number], UTC)) if page.times else None
        for number in (0, -1)
    )
    hashed = sha256(page.body).hexdigest()
    entry = FetchedObject(name, len(page.body), "", hashed, len(page.ids), first, last)
    return Stored(slice_number, page_number, replace(page, body=b""), entry)


def _with_etag(
    entry: FetchedObject, details: Mapping[str, Mapping[str, Any]], url: str
) -> FetchedObject:
    """Return the entry of a stored page with its ETag, after comparing its size."""
    found = details.get(entry.name)
    if found is None or found["size"] != entry.size:
        raise ServiceUnavailable(f"{url}{entry.name} was removed or changed: run it once more.")
    return replace(entry, etag=_etag(found))


def _etag(details: Mapping[str, Any]) -> str:
    return str(details.get("ETag") or "").strip('"')
