"""What a sync or check is asked to do: the rooms' own options, composed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from dunlin import transfer
from dunlin.filters import Selection
from dunlin.model import Stats
from dunlin.pace.schedule import Schedule
from dunlin.plan import Policy
from dunlin.stores.login import Login

if TYPE_CHECKING:
    from dunlin.workers.setup import Opens


class Crew(NamedTuple):
    """Who works. 0 = automatic.

    Attributes:
        workers: files in flight in the whole run (`--workers`).
        movers: processes; threads: the most threads per mover (for experts).
        scan_first: list everything before anything is moved.
        start: "fork", "spawn" or "" (automatic) for the mover processes.
    """

    workers: int = 0
    movers: int = 0
    threads: int = 0
    scan_first: bool = False
    start: str = ""


class Log(NamedTuple):
    """The audit log and the report file.

    Attributes:
        file: path of the audit log; None: none.
        format: "text" or "json".
        max_size: bytes after which it is rotated; keep: rotated files that are kept.
        report_file: path of a file that lists differences and outcomes per file; None: none.
        names: every copied file is an event of the report (``file.copied``), for `--verbose`.
        profile: path of a file that gets a profile of the run (`jobs.profiled`); None: none is made.
        parts: directory where each process leaves its part of that; the run itself sets it.
    """

    file: str | None = None
    format: str = "text"
    max_size: int = 100 << 20
    keep: int = 5
    report_file: str | None = None
    names: bool = False
    profile: str | None = None
    parts: str = ""


class Watch(NamedTuple):
    """The run is repeated until it is stopped.

    Attributes:
        interval: seconds between the end of a full look and the begin of the next.
        cycles: stop after so many (0: never); for trials.
    """

    interval: float = 300.0
    cycles: int = 0


class Limits(NamedTuple):
    """What the run may take of the machine.

    Attributes:
        memory_bytes: most resident memory of all processes together; 0: automatic.
        cpu_percent: most of the whole machine's processors, 1 to 100; 0: by the class of the machine.
        auto_throttle: slow down when the machine is busy; None: by the class of the machine.
        throttle_threshold: load above which that begins, as a share of the whole.
        link_bytes: bytes per second of the network; 0: as the interfaces say.
    """

    memory_bytes: int = 0
    cpu_percent: int = 0
    auto_throttle: bool | None = None
    throttle_threshold: float = 0.8
    link_bytes: int = 0


class Crawling(NamedTuple):
    """What listing may take.

    Attributes:
        parallelism: directories that are listed at a time; 0: automatic.
        max_active_files: names in memory that these may come to; 0: automatic.
        engage, release: shares of the limits on names and threads at which directories begin to wait, and go on.
        consistency, cooldown: samples in one zone, and seconds, between two moves of the limits (`pace.monitor`).
    """

    parallelism: int = 0
    max_active_files: int = 0
    engage: float = 1.0
    release: float = 0.85
    consistency: int = 10
    cooldown: float = 120.0


class Again(NamedTuple):
    """Only what failed in earlier runs of the pair is tried again (`workers.once_more`).

    Attributes:
        runs: their numbers.
        selection, rules: fingerprints of what the last whole run selected and how it decided: they still hold.
    """

    runs: tuple[int, ...]
    selection: str
    rules: str


class Spread(NamedTuple):
    """The run's units go to workers, through a queue (`jobs.spread`).

    Attributes:
        queue: its URL, with the password it may hold.
        work: this machine works, too.
        source, target: the places as the workers are told them: ``loc://NAME/PATH``, or URLs without logins.
        host: the label of the workers that can reach both; "": all can.
        label: this machine's.
        priority: of the units; a step is worth a minute of waiting.
        tenant: for whom it is done; "": for nobody in particular.
        capped: directories with a cap (`jobs.groups`), absolute, without links.
        split_above: bytes of a file from which on several workers bring it in ranges; 0: none is cut.
    """

    queue: str
    work: bool = True
    source: str = ""
    target: str = ""
    host: str = ""
    label: str = ""
    priority: int = 0
    tenant: str = ""
    capped: tuple[str, ...] = ()
    split_above: int = 256 << 20


class Within(NamedTuple):
    """What a run must not leave, whatever is done to paths while it waits and works.

    Attributes:
        roots: directories of this machine, real paths; None: it may go anywhere.
        files: of log_file, report_file, state_db and backup_dir those that must lie within as well.
    """

    roots: tuple[str, ...] | None = None
    files: frozenset[str] = frozenset()

    def has(self, name: str) -> bool:
        """Whether a file of the run must lie within."""
        return self.roots is not None and name in self.files


class SyncOptions(NamedTuple):
    """One sync, dry run or check of a pair.

    Attributes:
        source, destination: URLs or paths.
        mode: "sync" does it, "plan" prints what it would do (`--dry-run`), "check" compares.
        policy, selection, transfer, crew, log: the rooms' options. `policy.owner` and `policy.group`
            are as asked; the job drops what this process may not set.
        bandwidth: limit in bytes per second, by time of day; None: none.
        state_db: path of the state file; None: the default; "none": keep no state.
        user_state, runtime: directories for state and locks when the defaults cannot be used.
        rescan: list everything again even if a run was cut short.
        force_resync: transfer everything again. trust_state: see `workers.context.Rules`.
        ctime_skip, ctime_margin: leave directories alone that changed last so many seconds before the last
            successful run began (`jobs.settled`).
        delete_excluded: filtered names at the destination are extras too.
        max_delete: most files that may be deleted; None: a quarter of the known files, at least 100.
        accept_source: the source may lie on another file system than at the last run.
        backup_dir: what is overwritten or deleted moves there; relative to the destination.
        lock_wait: seconds to wait for another run on the same destination.
        login_source, login_target: what the stores need to be let in; empty for local places.
        begin: only names of the source's store that begin with this plain string, slashes included, take part
            (`--prefix`); "": all. They keep their whole names at the destination.
        batch_size: most names asked of a store in one request; 0: as many as it gives.
        watch: repeat the run; None: one run.
        verify: compare what was moved with the checksum that the store states.
        limits: what the run may take of the machine. crawl: what listing may take.
        timeout, request_timeout: seconds without a byte, and altogether, that a request waits for an object store;
            0: for ever.
        make_parents: directories above the destination are made as well, like the destination itself.
        share_snapshot: the source, a share of Azure Files, is read from a snapshot that is made for the run.
        again: only what failed before, and nothing is deleted; None: everything.
        spread: the work is done by workers, wherever they are; None: by this process and its movers.
        within: what it must not leave.
        home: the label of the machine that alone has the destination; "": others may have the same (`jobs.office`).
        opens: opens the source where it is no place of its own but a tree in a repository (`jobs.restore`).
    """

    source: str
    destination: str
    mode: str = "sync"
    policy: Policy = Policy()
    selection: Selection = Selection()
    transfer: transfer.Options = transfer.Options()
    crew: Crew = Crew()
    log: Log = Log()
    bandwidth: Schedule | None = None
    state_db: str | None = None
    user_state: str = ""
    runtime: str = ""
    rescan: bool = False
    force_resync: bool = False
    trust_state: bool = False
    ctime_skip: bool = False
    ctime_margin: float = 60.0
    delete_excluded: bool = False
    max_delete: int | None = None
    accept_source: bool = False
    backup_dir: str | None = None
    lock_wait: float = 10.0
    login_source: Login = Login()
    login_target: Login = Login()
    begin: str = ""
    batch_size: int = 0
    watch: Watch | None = None
    verify: bool = True
    limits: Limits = Limits()
    timeout: float = 30.0
    request_timeout: float = 300.0
    make_parents: bool = False
    share_snapshot: bool = False
    crawl: Crawling = Crawling()
    again: Again | None = None
    spread: Spread | None = None
    within: Within = Within()
    home: str = ""
    opens: Opens | None = None


SEVERITY = (1, 2, 130, 25, 23, 3, 24, 0)
"""Exit codes, the most severe first."""


class Result(NamedTuple):
    """How a run ended.

    Attributes:
        stats: its counts.
        status: "completed", "failed" or "interrupted".
        message: one line on what ended it, or "".
        exit_code: of the command that asked for it.
        run: its number in the state file; 0 where none is kept.
        continued: it continued an interrupted run.
    """

    stats: Stats
    status: str
    message: str
    exit_code: int
    run: int = 0
    continued: bool = False


def worst(results: Iterable[Result]) -> Result:
    """The result whose exit code is the most severe, the first of several."""
    return min(results, key=lambda result: SEVERITY.index(result.exit_code))
