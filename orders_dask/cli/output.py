"""The output of the commands: results on standard output, all else on standard error.

Text from a dump is never parsed as markup, and can't send control codes to the terminal.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final, Literal

from rich.console import Console

from orders_dask.pipeline.results import Outcome, ReplayResult, RunResult

# A caller may have closed them, and then Python has none.
sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115

LOG: Final = logging.getLogger("orders_dask")

MAX_CHANGED: Final = 10
"""Changed run dates that `daily` names one by one: a new decoder changes all of history."""

# Without a terminal tables are never cut.
STDOUT: Final = Console(
    markup=False, emoji=False, highlight=False, width=None if sys.stdout.isatty() else 10_000
)

STDERR: Final = Console(stderr=True, markup=False, emoji=False, highlight=False)


class _JsonFormatter(logging.Formatter):
    """Formats a record as a line of JSON, with the fields that were given as ``extra``."""

    def format(self, record: logging.LogRecord) -> str:
        time_of = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {
            "time": time_of,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return _json(line)


def is_json() -> bool:
    """Return whether standard error is JSON lines."""
    return bool(_JSON_HANDLERS)


def set_log_format(name: Literal["text", "json"]) -> None:
    """Write standard error as text or JSON lines, warnings and logs of libraries included."""
    root = logging.getLogger()
    while _JSON_HANDLERS:
        root.removeHandler(_JSON_HANDLERS.pop())
    if name == "json":
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(_JsonFormatter())
        _JSON_HANDLERS.append(handler)
        root.addHandler(handler)
        distributed = logging.getLogger("distributed")  # it has a handler of its own
        distributed.handlers.clear()
        distributed.propagate = True
    logging.captureWarnings(name == "json")
    LOG.setLevel(logging.INFO if name == "json" else logging.NOTSET)


_JSON_HANDLERS: Final[list[logging.Handler]] = []
"""The handler that writes JSON lines; none where standard error is text."""


def traceback_of(error: Exception) -> None:
    """Print the traceback of an error on standard error."""
    if _JSON_HANDLERS:
        LOG.error("%s", type(error).__name__, exc_info=error)
    else:
        traceback.print_exception(error)


def message(sentence: str, level: int = logging.INFO, **fields: object) -> None:
    """Print a sentence on standard error; as JSON, with some fields."""
    if _JSON_HANDLERS:
        LOG.log(level, _printable(sentence), extra={"fields": fields})
    else:
        STDERR.print(_printable(sentence), soft_wrap=True)


def result(sentence: str) -> None:
    """Print a sentence on standard output."""
    STDOUT.print(_printable(sentence), soft_wrap=True)


def result_json(value: object) -> None:
    """Write a value as JSON on standard output."""
    STDOUT.out(_json(value), highlight=False)


def result_json_rows(rows: Iterable[object]) -> None:
    """Write rows as a JSON array on standard output, one per line, as they come."""
    separator = "["
    for row in rows:
        STDOUT.out(separator + _json(row), highlight=False)
        separator = ","
    STDOUT.out("]" if separator == "," else "[]", highlight=False)


def result_json_with(value: object, name: str, rows: Iterable[object]) -> None:
    """Write an object as JSON on standard output, with rows as one more member.

    Parameters
    ----------
    value
        The object.
    name
        Name of the member.
    rows
        Rows of the member: an array, one per line, written as they come.
    """
    STDOUT.out(f"{_json(value)[:-1]}, {_json(name)}:", highlight=False)
    result_json_rows(rows)
    STDOUT.out("}", highlight=False)


def _json(value: object) -> str:
    return json.dumps(value, default=_json_default, ensure_ascii=False)


def _json_default(value: object) -> object:
    """Convert a dataclass to the fields of its repr, a date to ISO 8601, all else to text."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value) if field.repr}
    return value.isoformat() if isinstance(value, date) else str(value)


def result_table(rows: Sequence[Mapping[str, Any]], title: str | None = None) -> None:
    """Print rows as a table whose columns have the names of the first row's keys."""
    from rich import box  # late: most commands show no table
    from rich.table import Table

    if title:
        STDOUT.print()
    shown = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False)
    for name in rows[0] if rows else ():
        numeric = all(_is_number(row[name]) or row[name] is None for row in rows)
        shown.add_column(name.replace("_", " "), justify="right" if numeric else "left")
    for row in rows:
        shown.add_row(*(_cell(name, value) for name, value in row.items()))
    STDOUT.print(shown)


def _cell(name: str, value: object) -> str:
    """Return a value as a table shows it; ids have no thousands separators."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S%z}"
    if isinstance(value, float):
        return f"{value:,.1f}"
    if _is_number(value) and not name.endswith("_id"):
        return f"{value:,}"
    return _printable(str(value))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def _printable(text: str) -> str:
    """Replace characters that would control a terminal by U+FFFD."""
    return "".join(char if char.isprintable() or char == "\n" else "\ufffd" for char in text)


def run_result(ended: RunResult, as_json: bool) -> None:
    """Print how a run date ended; its warnings go to standard error."""
    if as_json:
        result_json(ended)
        return
    message_warnings(ended)
    result(show_outcome(ended))


def run_results(ended: Sequence[RunResult], seconds: float, as_json: bool) -> None:
    """Print how run dates ended, and their number by outcome."""
    if as_json:
        result_json_rows(ended)
        return
    changed = [each.run_date for each in ended if each.outcome == "changed"]
    for each in ended:
        message_warnings(each)
        if each.outcome != "changed" or len(changed) <= MAX_CHANGED:
            result(show_outcome(each))
    if len(changed) > MAX_CHANGED:
        result(f"{changed[0]} to {changed[-1]}  changed: {len(changed):,} run dates left alone")
    result(show_outcomes(ended, seconds))


def message_warnings(ended: RunResult) -> None:
    """Print on standard error what a run date left out, and what checks warn of."""
    if ended.left_out:
        others = f" and {len(ended.left_out) - 1:,} more" if len(ended.left_out) > 1 else ""
        message(f"Left out, as no dump by its name: {ended.left_out[0]}{others}.")
    if ended.unknown_keys and ended.outcome == "published":
        keys = plural(len(ended.unknown_keys), "key")
        message(
            f"Not loaded of {ended.run_date}: {keys} that the contract doesn't know, such as "
            f"{ended.unknown_keys[0]}: see `orders-dask drift --run-date {ended.run_date}`."
        )
    for warning in ended.warnings:
        message(
            f"Warning: {ended.run_date} has {warning}.",
            logging.WARNING,
            run_date=str(ended.run_date),
        )


def show_outcome(ended: RunResult) -> str:
    """Return a line on how a run date ended."""
    text = f"{ended.run_date}  {_outcome_words(ended.outcome)}"
    if ended.outcome in ("published", "up_to_date"):
        text += (
            f": {plural(ended.orders, 'order')}, {plural(ended.lines, 'line')}, "
            f"{ended.superseded:,} superseded, {ended.rejected:,} rejected, "
            f"{plural(ended.files, 'file')}, {ended.seconds:.1f} s"
        )
    return text + (f": {ended.message}" if ended.message else "")


def show_outcomes(ended: Sequence[RunResult], seconds: float) -> str:
    """Return a line on how a range of run dates ended."""
    outcomes = Counter(_outcome_words(each.outcome) for each in ended)
    counted = ", ".join(f"{number} {outcome}" for outcome, number in outcomes.items())
    orders, lines = sum(each.orders for each in ended), sum(each.lines for each in ended)
    total = f"{plural(orders, 'order')}, {plural(lines, 'line')}"
    return f"{plural(len(ended), 'run date')}: {counted}; {total}, {seconds:.1f} s"


def _outcome_words(outcome: Outcome) -> str:
    """Return an outcome as people read it: JSON has ``up_to_date``."""
    return outcome.replace("_", " ")


def show_replay(ended: ReplayResult) -> str:
    """Return a line on the outcomes of a run date's rejected records."""
    text = f"{ended.run_date}  taken in {plural(ended.taken_in, 'record')}"
    if ended.superseded:
        text += f" ({ended.superseded:,} superseded by another version of the order)"
    text += f", still rejected {sum(ended.still_rejected.values()):,}"
    reasons = ", ".join(
        f"{number:,} {reason}" for reason, number in sorted(ended.still_rejected.items())
    )
    return text + (f": {reasons}" if reasons else "")


def plural(number: int, what: str) -> str:
    """Return a number with its noun in the singular or plural."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def dropped_partitions(first_dates: Sequence[date]) -> str:
    """Return a sentence on the partitions that were dropped, by their first dates."""
    return f" Freed the partitions that begin on {_join_dates(first_dates)}." if first_dates else ""


def message_left_over(skipped: Sequence[date], waiting: str | None) -> None:
    """Print which run dates were skipped, and why marked partitions could not be dropped."""
    if skipped:
        message(f"Left to the next time, for somebody works on them: {_join_dates(skipped)}.")
    if waiting:
        message(waiting)


def _join_dates(days: Sequence[date]) -> str:
    return ", ".join(map(str, days))
