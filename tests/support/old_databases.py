"""Databases as earlier versions made them, with their dumps and stages: tests/data/README.md."""

from __future__ import annotations

import tarfile
from pathlib import Path

from s3fs import S3FileSystem
from sqlalchemy import Engine

from orders_dask.load.connect import driver_cursor

DATA = Path(__file__).parents[1] / "data"


def restore(name: str, database: Engine, bucket: S3FileSystem) -> None:
    """Restore an earlier version's database, and its objects in S3 under their own names."""
    with tarfile.open(DATA / f"{name}.tar.xz") as archive:
        for member in archive:
            file = archive.extractfile(member)
            assert file, member.name
            content = file.read()
            if member.name.startswith("s3/"):
                bucket.pipe_file(member.name.removeprefix("s3/"), content)
            else:
                with database.begin() as connection:
                    driver_cursor(connection).execute(content.decode())
