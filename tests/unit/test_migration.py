"""The SQL of a migration's changes."""

from __future__ import annotations

from sqlalchemy import Column, MetaData, Table, Text

from orders_dask.migration import changes


def test_a_comment_is_set_as_it_is_declared() -> None:
    column = Column("note", Text, comment="two  blanks,\na 'line' and \\ 5 % :of it")
    table = Table("t", MetaData(), column, schema="s")
    [statement] = changes.set_comments(table, [column], of_table=False).statements
    assert statement == (
        "COMMENT ON COLUMN s.t.note IS 'two  blanks,\na ''line'' and \\ 5 % :of it'"
    )


def test_a_new_table_has_sql_that_people_can_read() -> None:
    table = Table("t", MetaData(), Column("note", Text), schema="s")
    assert changes.add_table(table).statements == ("CREATE TABLE s.t (\n  note TEXT\n)",)
