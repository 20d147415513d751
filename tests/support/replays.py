"""What became of rejected records."""

from __future__ import annotations

from tests.support.types import Query


def stories(query: Query) -> dict[tuple[int | None, int, str], str | None]:
    """What became of each record, by load, position and path."""
    told = query(
        "select load_id, position, path, replay_result from orders_ops.rejected_record order by 1, 2, 3"
    )
    return {(load_id, position, path): result for load_id, position, path, result in told}
