"""Metrics: every count and gauge becomes one, by Prometheus's conventions, and none tells a path."""

from __future__ import annotations

import ast
import dataclasses
import json
import re
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from dunlin.errors import ErrorKind
from dunlin.model import Stats
from dunlin.report import Event, Level
from dunlin.report.prometheus import COUNTS, GAUGES, METRICS, NO_COUNTERS, Metrics, Usage
from dunlin.web.exposition import SERVICE_METRICS
from dunlin.workers import crawl_news

ROOT = Path(__file__).parents[3]
UNITS = ("files", "bytes", "directories", "seconds", "ratio", "entries", "links", "specials", "threads")


def scrape(metrics: Metrics) -> dict[str, float]:
    """Samples by name with labels, as Prometheus reads them."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(metrics)
    found = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def begins(metrics: Metrics, pair: int = 1) -> None:
    metrics.event(Event(Level.INFO, "run.begins", "", {"pair": pair, "cycle": 0, "source": "/secret/place"}))


def ends(metrics: Metrics, status: str = "completed", code: int = 0, pair: int = 1) -> None:
    level = Level.INFO if code == 0 else Level.ERROR
    metrics.event(Event(level, "run.ended", "", {"pair": pair, "status": status, "exit_code": code, "seconds": 2.5}))


def test_every_count_of_a_run_is_a_counter() -> None:
    assert set(COUNTS) == {field.name for field in dataclasses.fields(Stats)} - set(NO_COUNTERS)
    metrics = Metrics("1")
    for number, name in enumerate(COUNTS, 1):
        metrics.count(name, number)
        metrics.count(name, number)
    found = scrape(metrics)
    for number, name in enumerate(COUNTS, 1):
        assert found[f"dunlin_{name}_total"] == 2 * number


def test_every_gauge_that_is_told_anywhere_is_exported() -> None:
    """A gauge that somebody adds needs a line in the table."""
    told: set[str] = set(crawl_news.GAUGES)
    for path in (ROOT / "src" / "dunlin").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "gauge":
                first = node.args[0] if node.args else None
                if isinstance(first, ast.Constant):
                    told.add(str(first.value))
    assert {"pending_files", "throttled", "paused"} <= told
    assert told - {"bytes_per_second"} <= set(GAUGES)


def test_gauges_of_the_load_are_those_of_the_machine() -> None:
    text = (ROOT / "src" / "dunlin" / "pace" / "load.py").read_text(encoding="utf-8").partition("\n\n")[2]
    named = set(re.findall(r"^    (\w+) {2,}", text.partition("Of each gauge")[0], re.MULTILINE))
    assert {f"load_{name}" for name in named} == {name for name in GAUGES if name.startswith("load_")}


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_names_follow_the_conventions(metric: object) -> None:
    name, kind, help, labels = metric  # type: ignore[misc]
    assert re.fullmatch(r"dunlin_[a-z][a-z0-9_]*[a-z0-9]", name)
    assert kind in ("counter", "gauge")
    # What promtool refuses: suffixes that belong to other kinds, names of kinds, units that are no base units.
    assert not name.endswith(("_total", "_count", "_sum", "_bucket"))
    assert not re.search(r"(gauge|counter|milli|minutes|hours|_mb|_kb|percent)", name)
    assert help[0].isupper() or help[0].isdigit()
    assert help.endswith(".")
    assert set(labels) <= {"kind", "resource", "level", "pair", "status", "version", "python"}


def test_names_are_unique() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)


def test_what_is_scraped_has_help_and_type_and_nothing_else() -> None:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Metrics("1", usage=lambda: Usage(1.0, 2, 3)))
    text = generate_latest(registry).decode()
    for metric in METRICS:
        if metric.labels and metric.labels[0] in ("resource", "level"):
            continue  # there is none before something is told
        if metric.labels == ("pair",) and metric.exposed != "dunlin_run_last_success_time_seconds":
            continue  # likewise
        assert f"# HELP {metric.exposed} {metric.help}\n# TYPE {metric.exposed} {metric.kind}\n" in text
    families = list(text_string_to_metric_families(text))
    assert {family.name for family in families} <= {metric.name for metric in METRICS}


def test_a_run_from_its_begin_to_its_end() -> None:
    now = [1000.0]
    metrics = Metrics("1", pairs=2, clock=lambda: now[0])
    assert scrape(metrics)['dunlin_run_last_success_time_seconds{pair="2"}'] == 0
    begins(metrics, 2)
    metrics.gauge("pending_files", 7)
    metrics.gauge("movers", 2)
    metrics.gauge("load_cpu", 0.5)
    metrics.gauge("nothing_that_is_known", 1)
    found = scrape(metrics)
    assert (found["dunlin_running"], found["dunlin_pending_files"], found["dunlin_movers"]) == (1, 7, 2)
    assert found['dunlin_load_ratio{resource="cpu"}'] == 0.5
    assert found['dunlin_run_start_time_seconds{pair="2"}'] == 1000
    now[0] = 1060.0
    ends(metrics, pair=2)
    found = scrape(metrics)
    assert (found["dunlin_running"], found["dunlin_pending_files"], found["dunlin_movers"]) == (0, 7, 0)
    assert found['dunlin_runs_total{pair="2",status="completed"}'] == 1
    assert found['dunlin_runs_total{pair="1",status="completed"}'] == 0
    assert found['dunlin_run_last_success_time_seconds{pair="2"}'] == 1060
    assert found['dunlin_run_duration_seconds{pair="2"}'] == 2.5
    now[0] = 2000.0
    begins(metrics, 2)
    ends(metrics, "failed", 2, pair=2)
    found = scrape(metrics)
    assert found['dunlin_run_last_success_time_seconds{pair="2"}'] == 1060
    assert found['dunlin_run_end_time_seconds{pair="2"}'] == 2000
    assert found['dunlin_run_exit_code{pair="2"}'] == 2


def test_errors_by_kind_and_nothing_unbounded() -> None:
    metrics = Metrics("1")
    before = set(scrape(metrics))
    for kind in ("denied", ErrorKind.DENIED, "made up by nobody knows whom"):
        metrics.event(Event(Level.ERROR, "file.failed", "/secret/path", {"path": "/secret/path", "kind": kind}))
    metrics.event(Event(Level.WARN, "throttle.engaged", "", {"gauge": "cpu", "workers": 5}))
    metrics.event(Event(Level.WARN, "throttle.engaged", "", {"gauge": "made up", "workers": 3}))
    metrics.event(Event(Level.WARN, "file.retry", "", {"path": "p"}))
    metrics.event(Event(Level.WARN, "mover.lost", "", {}))
    found = scrape(metrics)
    assert found['dunlin_errors_total{kind="denied"}'] == 2
    assert found['dunlin_errors_total{kind="internal"}'] == 1
    assert found['dunlin_throttle_steps_total{resource="cpu"}'] == 1
    assert (found["dunlin_workers"], found["dunlin_retries_total"], found["dunlin_movers_lost_total"]) == (3, 1, 1)
    assert found['dunlin_warning_events_total{level="warn"}'] == 4
    assert set(found) - before == {
        'dunlin_throttle_steps_total{resource="cpu"}', 'dunlin_warning_events_total{level="error"}',
        'dunlin_warning_events_total{level="warn"}',
    }  # fmt: skip


def test_bytes_of_small_files_count_while_they_are_under_way() -> None:
    """Under a limit a unit of small files may take minutes, and is counted when it is through."""
    metrics = Metrics("1")
    metrics.gauge("flying_bytes", 60)
    found = scrape(metrics)
    assert (found["dunlin_moved_bytes_total"], found["dunlin_moving_bytes"]) == (60, 60)
    metrics.count("copied_bytes", 60)
    assert scrape(metrics)["dunlin_moved_bytes_total"] == 60
    metrics.gauge("flying_bytes", 5)
    assert scrape(metrics)["dunlin_moved_bytes_total"] == 65


def test_bytes_of_a_large_file_count_while_it_moves_and_never_go_back() -> None:
    metrics = Metrics("1")
    task = metrics.task("/secret/large", 100)
    task.advance(60)
    found = scrape(metrics)
    assert (found["dunlin_moved_bytes_total"], found["dunlin_moving_files"]) == (60, 1)
    task.advance(40)
    task.end()
    found = scrape(metrics)
    assert (found["dunlin_moved_bytes_total"], found["dunlin_moving_files"]) == (100, 0)
    metrics.count("copied_bytes", 100)
    assert scrape(metrics)["dunlin_moved_bytes_total"] == 100
    metrics.count("copied_bytes", 5)
    assert scrape(metrics)["dunlin_moved_bytes_total"] == 105


def test_a_counter_never_goes_back() -> None:
    metrics = Metrics("1", usage=iter([Usage(5.0, 10, 3), Usage(4.0, 8, 1)]).__next__)
    metrics.count("copied_files", 3)
    metrics.count("copied_files", -2)
    first, second = scrape(metrics), scrape(metrics)
    assert first["dunlin_copied_files_total"] == 3
    assert (first["dunlin_process_cpu_seconds_total"], second["dunlin_process_cpu_seconds_total"]) == (5, 5)
    assert (second["dunlin_process_resident_bytes"], second["dunlin_processes"]) == (8, 1)
    assert second["dunlin_scrapes_total"] == 2


# ---- the page and the dashboard ----


def test_every_metric_is_documented_and_nothing_else() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(dunlin_[a-z0-9_]+)` \| (counter|gauge) \| (.*?) \|", page, re.MULTILINE)
    written = {name: (kind, labels) for name, kind, labels in rows}
    assert len(written) == len(rows)
    expected = {
        metric.exposed: (metric.kind, ", ".join(f"`{label}`" for label in metric.labels)) for metric in METRICS
    }
    assert written == expected


def dashboard() -> dict[str, object]:
    found: dict[str, object] = json.loads((ROOT / "deploy" / "grafana" / "dunlin.json").read_text(encoding="utf-8"))
    return found


def panels() -> list[dict[str, object]]:
    found = dashboard()["panels"]
    assert isinstance(found, list)
    return [panel for panel in found if panel["type"] != "row"]


def test_the_dashboard_asks_only_for_what_is_exported() -> None:
    exported = {metric.exposed: (metric.kind, metric.labels) for metric in METRICS}
    endings = {"counter": "_total", "gauge": "", "histogram": "_bucket"}
    exported |= {f"{each.name}{endings[each.kind]}": (each.kind, each.labels) for each in SERVICE_METRICS}
    asked = set()
    for panel in panels():
        for target in panel["targets"]:  # type: ignore[attr-defined]
            names = re.findall(r"dunlin_[a-z0-9_]+", target["expr"])
            assert names, target
            asked |= set(names)
            for name, selector in re.findall(r"(dunlin_[a-z0-9_]+)(\{[^}]*\})?", target["expr"]):
                assert selector == '{instance=~"$instance"}', (name, panel["title"])
            for name in re.findall(r"(?:rate|increase)\((dunlin_[a-z0-9_]+)", target["expr"]):
                assert exported[name][0] in ("counter", "histogram"), name
            for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
                assert label == "instance" or any(label in exported[name][1] for name in names), target
    assert asked <= set(exported)
    assert len(asked) >= 45


def test_the_dashboard_can_be_imported_anywhere() -> None:
    text = json.dumps(dashboard())
    found = dashboard()
    variables = {each["name"]: each for each in found["templating"]["list"]}  # type: ignore[index]
    assert variables["datasource"]["type"] == "datasource"
    assert variables["datasource"]["query"] == "prometheus"
    assert set(re.findall(r"\$\{(\w+)\}", text)) <= set(variables)
    ids = [panel["id"] for panel in found["panels"]]  # type: ignore[attr-defined]
    assert len(set(ids)) == len(ids)
    cells: set[tuple[int, int]] = set()
    for panel in found["panels"]:  # type: ignore[attr-defined]
        at = panel["gridPos"]
        own = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not own & cells, panel["title"]
        assert at["x"] + at["w"] <= 24
        cells |= own
    for panel in panels():
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


@pytest.mark.parametrize("what", ["bytes per second", "files per second", "errors by kind", "pending", "eta",
                                  "throttle", "memory", "processor", "names in memory", "last exit code", "dead tasks",
                                  "waiting tasks by queue", "workers alive"])  # fmt: skip
def test_the_dashboard_shows_what_people_look_for(what: str) -> None:
    assert what in {str(panel["title"]).lower() for panel in panels()}
