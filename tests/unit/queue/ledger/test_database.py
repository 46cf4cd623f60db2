"""database: one text for two engines, conditions, plans."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dunlin.queue.ledger import database
from dunlin.queue.ledger.database import LINE, Where, dialect, line, statements
from dunlin.queue.ledger.lite import Lite

HERE = Path(database.__file__).parent


def test_each_engine_reads_its_own_words() -> None:
    sql = "SELECT $1, $12 FROM t /*sqlite A*/ /*postgres B*/ /* C */"
    assert dialect(sql, "sqlite") == "SELECT ?1, ?12 FROM t A  /* C */"
    assert dialect(sql, "postgres") == "SELECT $1, $12 FROM t  B /* C */"


def test_a_statement_may_have_a_text_for_one_engine(tmp_path: Path) -> None:
    file = tmp_path / "q.sql"
    file.write_text("-- head\n\n-- name: a\nSELECT 1\n\n-- ---- next ----\n\n-- name: a postgres\nSELECT 2\n")
    assert statements(str(file), "sqlite") == {"a": "SELECT 1"}
    assert statements(str(file), "postgres") == {"a": "SELECT 2"}
    file.write_text("\n-- name: a oracle\nSELECT 2\n")
    with pytest.raises(ValueError, match="oracle"):
        statements(str(file), "sqlite")


def test_both_engines_have_the_same_statements_and_all_are_used() -> None:
    names = {engine: set(statements(str(HERE / "queries.sql"), engine)) for engine in ("sqlite", "postgres")}
    # Arrays of outcomes are PostgreSQL's own; `outcome` asks whether the statement is there.
    assert names["postgres"] - names["sqlite"] == {"file_run"}
    assert names["sqlite"] - names["postgres"] == set()
    source = "".join(path.read_text() for path in HERE.glob("*.py"))
    assert names["postgres"] - set(re.findall(r"[\"']([a-z_]+)[\"']", source)) == set()


def test_conditions_number_their_bindings() -> None:
    where = Where()
    assert str(where) == ""
    where.add("a = {}", 1)
    where.among("b", ["x", "y"])
    where.contains("c", r"50%_\Ä")
    where.found("d", "z", "id", (3, 4))
    assert where.limit(7) == "LIMIT $8"
    assert str(where) == (
        r"WHERE a = $1 AND b IN ($2, $3) AND lower(c) LIKE lower($4) ESCAPE '\'"
        r" AND (lower(d) LIKE lower($5) ESCAPE '\' OR id BETWEEN $6 AND $7)"
    )
    assert where.bindings == [1, "x", "y", r"%50\%\_\\Ä%", "%z%", 3, 4, 7]


def test_nothing_is_among_no_values() -> None:
    where = Where()
    where.among("b", [])
    assert str(where) == "WHERE 1 = 0"


def test_a_line_is_one_line() -> None:
    assert line("a\nb\x1b[1m\x00\udcff") == "a\\nb\\x1b[1m\\x00\\xff"
    assert len(line("x" * 9999)) == LINE


HOT = [
    "job_key", "job_lost", "job_held", "job_wishes", "unit_get", "unit_opens", "unit_open", "unit_update",
    "item_counted", "file_result", "file_span", "file_unit", "file_cancel", "failure_page", "failure_drop",
    "schedule_due", "existence_get", "key_get", "session_get", "thin_file", "thin_file_left", "totals",
]  # fmt: skip


@pytest.mark.parametrize("name", HOT)
def test_hot_statements_find_their_rows_by_an_index(name: str) -> None:
    base = Lite(None, print)
    sql = base.sql[name]
    highest = max(int(number) for number in re.findall(r"\?([0-9]+)", sql))
    with base.writing() as rows:
        plan = [row[3] for row in rows.query("EXPLAIN QUERY PLAN " + sql, [None] * highest)]
    base.close()
    assert plan
    assert not [step for step in plan if step.startswith("SCAN")], plan
    assert any("USING" in step for step in plan), plan
