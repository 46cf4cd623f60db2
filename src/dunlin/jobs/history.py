"""The history of one run, as a plain value: what happened, when, how fast, what failed, and how it was before.

It is gathered from the state file alone, also while the run goes on, and everything in it is bounded: so many points
of a curve, so many names of a list, each with the count of what is left out. What the state does not hold is in
`History.notes`, in words, so that whoever shows it says so as well.

    points      means of the samples (`state.overview`), so many equal parts of the run; a run of a few seconds has none
    stretches   times in which it was paused, from the moments in which it took the orders (a fifth of a second); where
                those are not on record, and for times in which it was slowed down for the host, what samples say
    phases      the listing, until the run saw its end (a fifth of a second; of a run that an older dunlin made, until
                the sample in which no more directories were found); moving, from the first to the last sample that
                shows it
    slow        its slowest units (`state.slow`)
    survey      sizes, largest files, directories, of what it wrote and no later run wrote again (`state.survey`)
    failed      files that failed in it and were not synced since
    before      the runs of the same pair before it
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

from dunlin.errors import DunlinError, ErrorKind
from dunlin.pace.sizes import format_duration, format_number, format_rate, format_size
from dunlin.state.files import Failed
from dunlin.state.overview import Activity, Overview, Sample
from dunlin.state.runs import Run
from dunlin.state.slow import LEAST, Slow, slow_of
from dunlin.state.store import State
from dunlin.state.survey import Survey, crawl_span, failed_count, failed_directories, orders_of, pauses_of, survey

SECOND = 1_000_000_000
POINTS = 120
SAMPLE = 3.0
"""Seconds of a part of the curves at least: more than lie between two samples, so that none is empty."""
PAGE = 5_000
SAMPLES = 100_000
STRETCHES = 200
FAILED = 200
NEWS = 100
ERRORS = 2_000
BEFORE = 20
COPIED = ("copied", "more")
"""Words of activity that are not news: the counts tell them."""


class Point(NamedTuple):
    """A part of the run: `begin` and `end` in seconds since it began; means of it, None where nothing was sampled.

    `bytes`, `files`: moved per second. `cpu`: percent of the machine. `memory`: bytes. `errors`: on record.
    """

    begin: float
    end: float
    bytes: float | None
    files: float | None
    cpu: float | None
    memory: float | None
    errors: int


class Stretch(NamedTuple):
    """From `begin` to `end`, seconds since the run began, it was "paused" or "throttled", for `cause` (or "")."""

    begin: float
    end: float
    word: str
    cause: str


class Phase(NamedTuple):
    """Something that went on from `begin` to `end`, seconds since the run began."""

    word: str
    begin: float
    end: float


class Verdict(NamedTuple):
    """What to think of the run: `level` "good", "fair", "bad" or "busy" (it goes on); a headline; a sentence."""

    level: str
    title: str
    words: str


class History(NamedTuple):
    """See the module docstring. `word` as in `overview.RunNow.status`; `seconds` it took, or has taken so far.

    `bad`: directories that failed, at most `FAILED`. `failed_files`: how many failed and were not synced since.
    `errors`: those on record by type, as are `points`'.
    `events`: what happened beside copying, the orders it was given ("order") among it, oldest first; `more_events`:
    there are older ones.
    """

    run: Run
    word: str
    source: str
    destination: str
    seconds: float
    made: int
    points: tuple[Point, ...]
    stretches: tuple[Stretch, ...]
    phases: tuple[Phase, ...]
    errors: dict[str, int]
    events: tuple[Activity, ...]
    more_events: bool
    bad: tuple[Failed, ...]
    failed: tuple[Failed, ...]
    failed_files: int
    slow: tuple[Slow, ...]
    survey: Survey
    before: tuple[Run, ...]
    later: bool
    notes: tuple[str, ...]


def choose(overview: Overview, word: str) -> Run:
    """The run that `word` means: its number, or "latest". Raises NOT_FOUND."""
    newest = overview.runs(limit=1)
    if not newest:
        raise DunlinError(
            "show a history", "", ErrorKind.NOT_FOUND, "no run is on record", "`dunlin sync` makes the first one"
        )
    if word == "latest":
        return newest[0]
    number = int(word)
    for run in overview.runs(limit=1, before=number + 1):
        if run.id == number:
            return run
    raise DunlinError(
        f"show run {number}", "", ErrorKind.NOT_FOUND, "it is not on record", "`dunlin history` lists the runs"
    )


def gather(state: State, overview: Overview, run: Run, clock: Callable[[], int]) -> History:
    """The history of `run`.

    Args:
        state: the file that `overview` reads. clock: ns since 1970.
    """
    now = clock()
    word = overview.word(run)
    end = run.ended or (now if word in ("running", "paused", "throttled") else run.updated)
    seconds = max(0.0, (end - run.started) / SECOND)
    source, destination = next(pair[1:] for pair in state.pairs() if pair[0] == run.pair)
    samples = _samples(overview, run)
    errors = overview.errors(limit=ERRORS, run=run.id, resolved=True)
    news = [each for each in overview.activity(limit=ERRORS, run=run.id) if each.word not in COPIED]
    news = sorted(news + _orders(state, run), key=lambda each: each.time)
    bad = failed_directories(state, run.id, FAILED)
    failed = state.failed(run.id, limit=FAILED)
    found = survey(state, run)
    points = _points(overview, run, seconds, errors) if samples else ()
    later = bool(overview.runs(run.pair, limit=1)[0].id != run.id)
    history = History(
        run=run,
        word=word,
        source=source,
        destination=destination,
        seconds=seconds,
        made=now,
        points=points,
        stretches=tuple(_exact(_stretches(samples, run.started), _pauses(state, run, seconds))[:STRETCHES]),
        phases=tuple(_phases(state, run, samples, seconds)),
        errors=dict(Counter(each.category for each in errors)),
        events=tuple(news[-NEWS:]),
        more_events=len(news) > NEWS,
        bad=tuple(bad),
        failed=tuple(failed),
        failed_files=len(failed) if len(failed) < FAILED else failed_count(state, run.id),
        slow=tuple(slow_of(state, run.id)),
        survey=found,
        before=tuple(overview.runs(run.pair, limit=BEFORE, before=run.id)),
        later=later,
        notes=(),
    )
    return history._replace(notes=tuple(_missing(history)))


def verdict(history: History) -> Verdict:
    """What to think of the run."""
    stats, word = history.run.stats, history.word
    failed = stats.failed_files + stats.failed_directories
    words = _sentence(history)
    if word in ("running", "paused", "throttled"):
        title = {"running": "Still going on", "paused": "Paused", "throttled": "Going on, slowed down"}[word]
        return Verdict("busy", title, words)
    if word in ("stale", "interrupted"):
        title = "Cut short" if word == "stale" else "Interrupted"
        return Verdict("fair", title, f"{words} The next run of the pair continues it.")
    if word == "failed":
        return Verdict("bad", "Stopped by an error", words)
    if failed or stats.source_errors:
        what = format_number(stats.failed_files, "file") if stats.failed_files else ""
        directories = stats.failed_directories
        more = format_number(directories, "directory", "directories") if directories else ""
        both = " and ".join(filter(None, (what, more))) or "some of the source"
        verb = "could not be read" if not failed else "failed"
        level = "fair" if failed <= stats.copied_files + stats.equal_files else "bad"
        return Verdict(level, f"Done, but {both} {verb}", words)
    if stats.vanished_files:
        return Verdict("good", "Done; some files vanished meanwhile", words)
    if not stats.copied_files and not stats.deleted_files and stats.equal_files:
        return Verdict("good", "Nothing to do: everything was in sync", words)
    return Verdict("good", "Done, without any failure", words)


def _sentence(history: History) -> str:
    stats = history.run.stats
    parts = [f"{format_number(stats.copied_files, 'file')} copied ({format_size(stats.copied_bytes)})"]
    if stats.equal_files:
        parts.append(f"{stats.equal_files:,} already in sync")
    if deleted := stats.deleted_files + stats.deleted_directories:
        parts.append(f"{deleted:,} deleted")
    if stats.pending_files:
        parts.append(f"{stats.pending_files:,} still waiting")
    rate = ""
    if history.seconds >= 0.01 and stats.copied_bytes:
        rate = f", {format_rate(stats.copied_bytes / history.seconds)} on average"
    return f"{', '.join(parts)} in {format_duration(history.seconds)}{rate}."


# ---- curves ----


def _samples(overview: Overview, run: Run) -> list[Sample]:
    found: list[Sample] = []
    after = 0
    while len(found) < SAMPLES:
        page = overview.samples(run.id, after, PAGE)
        found += page
        if len(page) < PAGE:
            break
        after = page[-1].time
    return found


def _points(overview: Overview, run: Run, seconds: float, errors: Iterable[Activity]) -> tuple[Point, ...]:
    number = max(2, min(POINTS, int(seconds / SAMPLE)))
    step = max(seconds, 1e-3) / number
    begin = run.started
    end = begin + round(step * number * SECOND)
    size, files, cpu, memory = (
        overview.series(field, begin, end, number, run=run.id) for field in ("bytes", "files", "cpu", "memory")
    )
    failures = Counter(min(number - 1, max(0, int((each.time - begin) / SECOND / step))) for each in errors)
    return tuple(
        Point(at * step, (at + 1) * step, size[at], files[at], cpu[at], memory[at], failures[at])
        for at in range(number)
    )


def _stretches(samples: list[Sample], started: int) -> list[Stretch]:
    """Samples that follow each other and say the same, as one; a sample tells of the time since the one before it."""
    found: list[Stretch] = []
    before = 0.0
    for sample in samples:
        metric = sample.metric
        at = max(0.0, (sample.time - started) / SECOND)
        begin, end = (at, at + metric.seconds) if metric.seconds else (before, at)
        before = end
        word = "paused" if metric.paused else "throttled" if metric.throttled else ""
        if not word:
            continue
        cause = "" if word == "paused" else metric.cause
        last = found[-1] if found else None
        if last and last.word == word and begin <= last.end + 0.001:
            found[-1] = last._replace(end=end, cause=last.cause or cause)
        else:
            found.append(Stretch(begin, end, word, cause))
    return found


def _pauses(state: State, run: Run, seconds: float) -> list[Stretch]:
    """Pauses by the orders that the run took; one that it did not take back lasts until its end."""
    found: list[Stretch] = []
    began: float | None = None
    for moment, verb in pauses_of(state, run.id, 2 * STRETCHES):
        at = min(seconds, max(0.0, (moment - run.started) / SECOND))
        if verb == "pause":
            began = at if began is None else began
        elif began is not None:
            found.append(Stretch(began, at, "paused", ""))
            began = None
    if began is not None:
        found.append(Stretch(began, seconds, "paused", ""))
    return found


def _exact(sampled: list[Stretch], ordered: list[Stretch]) -> list[Stretch]:
    """What samples say, but for pauses that orders tell of: these take the place of sampled ones that they meet."""
    kept = [
        each
        for each in sampled
        if each.word != "paused" or not any(each.begin < pause.end and pause.begin < each.end for pause in ordered)
    ]
    return sorted(kept + ordered, key=lambda each: each.begin)


def _orders(state: State, run: Run) -> list[Activity]:
    """What the run was told, as activity."""
    return [
        Activity(
            number, run.id, moment, "order", "", None, 1, 0, f"{verb} {argument}".rstrip(), None, "control", 20, False
        )
        for number, moment, verb, argument in orders_of(state, run.id, NEWS)
    ]


def _phases(state: State, run: Run, samples: list[Sample], seconds: float) -> list[Phase]:
    found = []
    crawls = crawl_span(state, run.id)
    listed = run.life.listed_at or (crawls[1] if crawls is not None else 0)
    if listed:
        found.append(Phase("listing", 0.0, min(seconds, max(0.0, (listed - run.started) / SECOND))))
    moving = [at for at, sample in enumerate(samples) if sample.metric.bytes or sample.metric.files]
    if moving:
        first = samples[moving[0] - 1].time if moving[0] else run.started
        last = samples[moving[-1]]
        end = (last.time - run.started) / SECOND + last.metric.seconds
        found.append(Phase("moving files", max(0.0, (first - run.started) / SECOND), min(seconds, end)))
    return found


# ---- what is missing ----


def _missing(history: History) -> list[str]:
    notes, found, stats = [], history.survey, history.run.stats
    if not history.points:
        notes.append("No curves: samples are taken from the third second of a run on, and it has none on record.")
    if not found.whole:
        notes.append(
            f"Sizes and directories are from a sample: {found.files:,} files in {found.looked:,} of {found.total:,} "
            "directories that were written to."
        )
    if history.later and found.whole and stats.copied_files > found.files:
        notes.append(
            f"{stats.copied_files - found.files:,} files that this run copied are not among sizes and directories: "
            "a later run copied or removed them."
        )
    if stats.copied_files and not history.slow:
        least = f"{LEAST * 1000:.0f} ms"
        notes.append(f"No slowest parts: a run puts those on record when it ends that took {least} or more.")
    if history.slow:
        notes.append(
            "Times of the slowest parts are of units of work, a directory or a large file; no file of a directory is "
            "timed singly. Waiting for a limit, and pauses, are in them."
        )
    if stats.equal_files and found.files > stats.copied_files:
        notes.append("Sizes and directories include files that were found equal and put on record for the first time.")
    lost = stats.failed_files - history.failed_files
    if lost > 0:
        notes.append(f"Of the files that failed {lost:,} {'was' if lost == 1 else 'were'} tried again by a later run.")
    if history.more_events:
        notes.append(f"Of what happened only the last {NEWS} are listed; the log has all.")
    return notes
