"""news: bounded events and metrics, orders taken exactly once."""

from __future__ import annotations

import pytest

from dunlin.errors import ErrorKind
from dunlin.model import Stats
from dunlin.report import NullReport
from dunlin.state import CrawlMetric, Metric, Pair, Run, State, news


def test_events_are_read_newest_or_from_where_one_stopped(state: State, run: Run) -> None:
    for n in range(5):
        state.put_event(run.id, 40, "file.failed", f"no {n}", f"p{n}\udcff", ErrorKind.DENIED, attempt=2)
    last = state.events(limit=2)
    assert [event.message for event in last] == ["no 3", "no 4"]
    assert (last[0].path, last[0].kind, last[0].attempt, last[0].resolved) == ("p3\udcff", ErrorKind.DENIED, 2, False)
    assert [event.message for event in state.events(after=last[0].id - 2, limit=2)] == ["no 2", "no 3"]


def test_errors_of_a_path_are_resolved_once_it_is_synced(state: State, pair: Pair, run: Run) -> None:
    state.put_event(run.id, 40, "file.failed", "x", "p")
    state.put_event(run.id, 40, "file.failed", "x", "q")
    state.put_event(run.id, 20, "file.note", "x", "p")
    state.resolve(pair.id, "p")
    assert [(event.path, event.resolved) for event in state.events()] == [("p", True), ("q", False), ("p", False)]


def test_events_and_metrics_are_bounded(state: State, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(news, "KEEP_EVENTS", 300)
    monkeypatch.setattr(news, "KEEP_MINOR", 100)
    monkeypatch.setattr(news, "KEEP_METRICS", 300)
    monkeypatch.setattr(news, "KEEP_CRAWLS", 300)
    with state.transaction():
        for n in range(2000):
            state.put_event(run.id, 30, "x", str(n))
            state.put_event(run.id, 20, "y", str(n))
            state.put_metric(run.id, Metric(workers=n))
            state.put_crawl(run.id, CrawlMetric(active=n))
    assert 300 <= state.database.value("SELECT count(*) FROM event WHERE level = 30") < 300 + 256
    assert 100 <= state.database.value("SELECT count(*) FROM event WHERE level = 20") < 100 + 256
    assert 300 <= state.database.value("SELECT count(*) FROM metric") < 300 + 256
    assert 300 <= state.database.value("SELECT count(*) FROM crawl") < 300 + 256
    assert state.events()[-1].message == "1999"
    assert state.crawls(run.id, limit=9_999)[-1].crawl.active == 1999


def test_metric_comes_back_as_it_was(state: State, run: Run) -> None:
    metric = Metric(12.5, 1 << 30, 1e6, 2e6, 8, 100.0, 3e6, True)
    state.put_metric(run.id, metric)
    state.put_metric(run.id, Metric())
    found = state.metrics(run.id)
    assert [stored.metric for stored in found] == [metric, Metric()]
    assert [stored.metric for stored in state.metrics(run.id, after=found[0].id)] == [Metric()]


def test_crawl_comes_back_as_it_was_and_people_can_query_it(state: State, run: Run) -> None:
    crawl = CrawlMetric(4, 2, -1, 900, 1000, 8, 5000, 70, 15.5, 2.25, 0.004, 1 << 30, 3 << 30, 5, 72, "files", 1, 9)
    state.put_crawl(run.id, crawl)
    state.put_crawl(run.id, CrawlMetric())
    found = state.crawls(run.id)
    assert [stored.crawl for stored in found] == [crawl, CrawlMetric()]
    assert [stored.crawl for stored in state.crawls(run.id, after=found[0].id)] == [CrawlMetric()]
    view = "active_dirs, files_in_window, max_active_files, total_dirs, memory_mb, throttled_by, ctime_skips"
    rows = state.database.query(f"SELECT sync_run_id, {view} FROM crawl_metrics")
    assert rows[0] == (run.id, 4, 900, 1000, 70, 1024, "files", 9)


def test_order_reaches_a_run_once_from_another_connection(path: str, state: State, run: Run) -> None:
    other = State.open(path, NullReport(), create=False)
    assert state.control_poll(run.id) == []
    assert other.control_put(run.id, "bwlimit", "5M") == 1
    assert other.control_put(run.id, "pause") == 1
    assert [(order.verb, order.argument) for order in state.control_poll(run.id)] == [("bwlimit", "5M"), ("pause", "")]
    assert state.control_poll(run.id) == []
    other.put_event(None, 20, "x", "something else was written")
    assert state.control_poll(run.id) == []
    other.close()


def test_order_to_all_reaches_every_running_run_and_no_other(path: str, state: State, pair: Pair, run: Run) -> None:
    second = state.begin_run(state.pair("a", "b", ""), {}, "boot-1", 1)
    ended = state.begin_run(state.pair("c", "d", ""), {}, "boot-1", 1)
    state.finish_run(ended.id, "completed", Stats())
    other = State.open(path, NullReport(), create=False)
    assert other.control_put(None, "stop") == 2
    assert other.control_put(ended.id, "stop") == 0
    assert other.control_put(999, "stop") == 0
    taken = other.control_poll(run.id), other.control_poll(second.id)
    assert [order.verb for order in taken[0]] == ["stop"]
    other.close()
    assert [order.verb for order in state.control_poll(second.id)] == (["stop"] if not taken[1] else [])


def test_poll_asks_nothing_more_while_nobody_wrote(state: State, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    state.control_poll(run.id)
    asked: list[str] = []
    query = type(state.database).query
    monkeypatch.setattr(
        type(state.database), "query", lambda self, sql, bindings=(): asked.append(sql) or query(self, sql, bindings)
    )
    state.control_poll(run.id)
    assert asked == ["PRAGMA data_version"]


def test_unknown_verb_is_refused(state: State) -> None:
    with pytest.raises(ValueError, match="dance"):
        state.control_put(None, "dance")
