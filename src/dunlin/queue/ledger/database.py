"""Where the ledger lies: one set of statements, two engines.

Statements stand in queries.sql and in the code, in words that SQLite and PostgreSQL share: bindings are ``$1``,
``$2``; ``ON CONFLICT``, ``RETURNING`` and ``LIMIT`` mean the same in both. Where they differ there are two ways out: a
comment that begins with an engine's name is read by that engine alone (``/*postgres FOR UPDATE*/``), and a statement
of queries.sql may have a second text, ``-- name: file_new postgres``. The latter is for rows in bulk: SQLite runs a
statement once for each row, PostgreSQL once for all of them, with columns as arrays (``unnest``).

Text goes through `rules.stored` and comes back through `rules.meant` wherever it may be a name of a file: neither
engine holds lone surrogates, and PostgreSQL no NUL. Lines for people go through `line`, which loses what cannot be
printed.

Promises of both engines:

* What `writing` did is there, all of it, when it is left without an error, and nothing of it otherwise. It survives a
  power cut: the service says "accepted" and forgets tasks of a queue on the strength of it. So SQLite runs with
  ``synchronous=FULL``, unlike the state file, whose loss of a last commit costs a second look at some files. One fsync
  for each commit is little where a commit holds the results of hundreds of files.
* `writing` waits for other writers; readers wait for nobody.
* Both may be used from any number of threads. Neither may be used within itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any, Protocol

from dunlin.errors import printable
from dunlin.sqlite import load_statements

VERSION = 2
"""The schema that this program writes."""

LINE = 1_000
"""Characters that a line for people may have."""

_ENGINES = ("sqlite", "postgres")
_MARKED = re.compile(r"/\*(sqlite|postgres) (.*?)\*/", re.DOTALL)
_COMMENT = re.compile(r"^--.*$", re.MULTILINE)
_BINDING = re.compile(r"\$([0-9]+)")


class Rows(Protocol):
    """What may be done with the rows, until the block that it was got from is left."""

    def execute(self, sql: str, bindings: Sequence[Any] = ()) -> int:
        """Run a statement; how many rows it changed."""
        ...

    def many(self, sql: str, rows: Sequence[Sequence[Any]], fixed: Sequence[Any] = ()) -> int:
        """Run a statement for each of the rows, in PostgreSQL once, where it unnests them; how many rows it changed.

        `fixed` come before the bindings of each row, and are the same for all.
        """
        ...

    def query(self, sql: str, bindings: Sequence[Any] = ()) -> list[Any]:
        """The rows that a statement gives, as tuples."""
        ...

    def load(self, table: str, columns: str, rows: Sequence[Sequence[Any]]) -> bool:
        """Add rows that are all new, where the engine has a faster way for that than `many`.

        False, and nothing is changed: it has none, or one of the rows stands in the way of a unique index. Values are
        numbers, None, and text that went through `stored`.
        """
        ...


class Base(Protocol):
    """A place that holds the ledger's tables.

    Attributes:
        sql: the statements of queries.sql, by name, for this engine.
        shown: where it is, without credentials.
    """

    @property
    def sql(self) -> Mapping[str, str]: ...

    @property
    def shown(self) -> str: ...

    def writing(self) -> AbstractContextManager[Rows]:
        """A transaction that may write: all or nothing."""
        ...

    def reading(self) -> AbstractContextManager[Rows]:
        """For statements that only read, each by itself."""
        ...

    def now(self, rows: Rows) -> float | None:
        """Seconds since 1970 by the clock of the place itself; None where that is this machine's.

        What several machines agree on in time is measured by it: theirs may differ.
        """
        ...

    def close(self) -> None:
        """Let go of connections. Safe to call twice."""
        ...


def statements(path: str, engine: str) -> dict[str, str]:
    """The statements of a file by name, as one of the engines wants them."""
    plain, own = {}, {}
    for title, text in load_statements(path).items():
        name, _, only = title.partition(" ")
        sql = _COMMENT.sub("", text).strip()  # the next headline, and parts are put together
        if not only:
            plain[name] = dialect(sql, engine)
        elif only == engine:
            own[name] = dialect(sql, engine)
        elif only not in _ENGINES:
            raise ValueError(f"{path}: there is no engine {only}")
    return plain | own


@lru_cache(maxsize=512)
def dialect(sql: str, engine: str) -> str:
    """A statement in the words of one engine."""
    sql = _MARKED.sub(lambda found: found[2] if found[1] == engine else "", sql)
    return _BINDING.sub(r"?\1", sql) if engine == "sqlite" else sql


def first(rows: Sequence[Any]) -> Any:
    """The first row, or None."""
    return rows[0] if rows else None


def line(text: str) -> str:
    """`text` as one line of at most `LINE` characters that can be printed."""
    return printable(text[:LINE])


_LIKE = r"lower({}) LIKE lower({{}}) ESCAPE '\'"


def _pattern(text: str) -> str:
    return "%" + re.sub(r"([\\%_])", r"\\\1", text) + "%"


class Where:
    """Conditions of a query that are put together as they are needed, with their bindings."""

    __slots__ = ("_conditions", "bindings")

    def __init__(self) -> None:
        self._conditions: list[str] = []
        self.bindings: list[Any] = []

    def add(self, condition: str, *values: Any) -> None:
        """`condition` has a ``{}`` for each value."""
        begin = len(self.bindings) + 1
        self.bindings += values
        self._conditions.append(condition.format(*(f"${begin + place}" for place in range(len(values)))))

    def among(self, column: str, values: Sequence[Any]) -> None:
        """`column` has one of the values; without values nothing does."""
        if values:
            self.add(f"{column} IN ({', '.join(['{}'] * len(values))})", *values)
        else:
            self.add("1 = 0")

    def contains(self, column: str, text: str) -> None:
        """`column` contains `text`; ASCII letters of either case are the same."""
        self.add(_LIKE.format(column), _pattern(text))

    def found(self, column: str, text: str, number: str, span: tuple[int, int]) -> None:
        """`column` contains `text`, or the column `number` lies in the span."""
        self.add(f"({_LIKE.format(column)} OR {number} BETWEEN {{}} AND {{}})", _pattern(text), *span)

    def limit(self, count: int) -> str:
        """`LIMIT`, with its binding; comes last."""
        self.bindings.append(max(0, count))
        return f"LIMIT ${len(self.bindings)}"

    def __str__(self) -> str:
        return f"WHERE {' AND '.join(self._conditions)}" if self._conditions else ""
