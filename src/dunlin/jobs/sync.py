"""The sync job: one run of one pair, from the options to the result. `check` and dry runs are the same."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from dunlin.errors import DunlinError, ErrorKind
from dunlin.jobs import told
from dunlin.jobs.budget import FAR_FILES, budget, crew_size, far_most
from dunlin.jobs.codes import exit_code
from dunlin.jobs.crawl_told import CrawlTold
from dunlin.jobs.crawling import crawl_plan
from dunlin.jobs.limits import capped, enforced, too_little
from dunlin.jobs.options import Result, SyncOptions
from dunlin.jobs.others import claimed
from dunlin.jobs.own import own_below, own_files_of
from dunlin.jobs.pair import (
    PairOfStores,
    forget_dead_snapshots,
    forget_snapshot,
    is_empty,
    open_pair,
    probe_target,
    resolve_attributes,
    resolve_policy,
    root_identity,
)
from dunlin.jobs.public import public_of, rules_of, selection_of
from dunlin.jobs.record import FileRecord
from dunlin.jobs.remembered import remembered
from dunlin.jobs.settled import settled_before
from dunlin.jobs.within import stay_with_lock
from dunlin.pace.bucket import Bucket
from dunlin.pace.concurrency import Concurrency
from dunlin.pace.machine import boot_id, this_machine
from dunlin.pace.schedule import parse_schedule
from dunlin.pace.sizes import format_size
from dunlin.pace.stop import Stop
from dunlin.report import Event, Level, Report
from dunlin.state.codec import Target
from dunlin.state.location import locate
from dunlin.state.runs import Pair, Run
from dunlin.state.slow import put_slow
from dunlin.state.store import State
from dunlin.stores.base import HasSpace, power
from dunlin.stores.open import shown_place
from dunlin.transfer.outcome import Outcome
from dunlin.workers import endgame, leftover
from dunlin.workers.checkpoint import Checkpointer
from dunlin.workers.context import Rules
from dunlin.workers.coordinator import Coordinator
from dunlin.workers.doers import Doers
from dunlin.workers.frontier import Queued
from dunlin.workers.lock import RunLock
from dunlin.workers.once_more import once_more
from dunlin.workers.pool import Pool
from dunlin.workers.sampling import Sampler
from dunlin.workers.setup import Setup, build
from dunlin.workers.unseen import lacking

if TYPE_CHECKING:
    from dunlin.jobs.office import Office
    from dunlin.workers.governor import Governor
    from dunlin.workers.requests import Requests


def run(options: SyncOptions, stop: Stop, report: Report, *, office: Office | None = None) -> Result:
    """Sync, plan or check a pair.

    Raises `DunlinError` for what makes the run impossible from the start; once it has begun, what ends
    it stands in the result. `stop` may be requested at any time, also from a signal handler. `office`: taken before the
    run writes anything, and kept by whoever gave it.
    """
    token = os.urandom(4).hex()
    pair = open_pair(options, token, report, stop)
    lock = RunLock(pair.target, options.runtime) if options.mode == "sync" else None
    try:
        if lock is not None:
            lock.take(
                options.lock_wait, token, sleep=lambda seconds: _nap(seconds, stop),
                waits=lambda holder: report.event(told.waiting(options.lock_wait, holder)),
            )  # fmt: skip
            stay_with_lock(options, pair)
            probe_target(pair, shown_place(options.destination), token, lock.dead)
        state = _open_state(options, report)
        try:
            return _Run(options, pair, state, lock, token, stop, report).run(office)
        finally:
            state.close()
    finally:
        if lock is not None:
            lock.release()
        pair.source_store.close()
        pair.target_store.close()
        forget_snapshot(pair.source_place, pair.source_far, report)


def _nap(seconds: float, stop: Stop) -> None:
    """Wait for the lock. Raises INTERRUPTED when the run is to stop meanwhile."""
    if stop.requested:
        raise DunlinError("start", "", ErrorKind.INTERRUPTED, stop.reason)
    time.sleep(seconds)


def _open_state(options: SyncOptions, report: Report) -> State:
    if options.mode != "sync":
        return State.open(None, report)
    location = locate(options.state_db, os.getcwd(), options.user_state)
    if location.note:
        report.event(Event(Level.WARN, "state.location", location.note, {"path": location.path}))
        os.makedirs(options.user_state, exist_ok=True)
    return State.open(location.path, report)


class _Run:
    """One run: what is needed from its begin to its end."""

    def __init__(
        self,
        options: SyncOptions,
        pair: PairOfStores,
        state: State,
        lock: RunLock | None,
        token: str,
        stop: Stop,
        report: Report,
    ) -> None:
        self.machine = machine = this_machine()
        self.limits = enforced(options, machine)
        self.asked = options.crew.workers
        self.options = options = capped(options, machine)
        self.pair = pair
        self.state = state
        self.lock = lock
        self.stop = stop
        self.report = report
        self.begun = time.monotonic()
        self.next_order = 0.0
        self.token = token
        self.schedule = options.bandwidth
        self.bucket = Bucket.create(self._rate())
        stop.tell(self.bucket.stop)
        self.row: Pair = state.pair(pair.source, pair.target, selection_of(options))
        self.words = told.words_of(options)
        self.told: set[str] = set()
        self.crew: Coordinator
        self.governor: Governor | None = None
        self.requests: Requests | None = None
        self.sampler = Sampler(lambda: self.governor, self.begun)

    def run(self, office: Office | None) -> Result:
        options = self.options
        left = self.state.unfinished(self.row.id)
        self._refuse_empty(left.pending_files if left is not None else 0)
        self.anew = self._why_anew()
        continues = left is not None and left.any and not self.anew and options.mode == "sync"
        self.dead = self.state.tokens(self.row.id) | (self.lock.dead if self.lock else frozenset())
        if office is not None:
            target, dead, wait = self.pair.target, self.dead, options.lock_wait
            office.take(target, shown_place(target), self.token, dead, wait, self.stop, self.report, options.home)
            stay_with_lock(options, self.pair)
        if options.share_snapshot and options.mode == "sync":
            forget_dead_snapshots(self.pair, self.dead - {self.token}, self.report)
        public = {**public_of(options), "token": self.token}
        origin = left.run if continues and left else None
        before = self.state.last_run(self.row.id)
        run = self.state.begin_run(self.row, public, boot_id(), os.getpid(), origin)
        self._say_how(run, continues, told.went_badly(before))
        for warning in too_little(options):
            self.report.event(warning)
        self.checkpointer = Checkpointer(
            self.pair.target_store,
            lambda moment: self.state.set_durable(self.row.id, moment),
            lambda reason: self.report.event(Event(Level.WARN, "flush.failed", reason, {})),
        )
        self.record = FileRecord(options, self.pair, run.id, self.report)
        self.crew = self._crew(run)
        self.crew.alone = any(url.startswith("memory:") for url in (self.pair.source, self.pair.target))
        try:
            return self._work(run, continues)
        except DunlinError as error:
            self.crew.abandon(error)
            return self._result(run, "failed", continues)
        finally:
            self.checkpointer.close()
            self.crew.pool.close()
            if self.governor is not None:
                self.governor.close()
            if self.crew.context.known is not None:
                self.crew.context.known.close()
            if self.crew.context.profiles is not None:
                self.crew.context.profiles.leave()
            site = self.crew.context.site
            for store in (site.source, site.target, site.backup):
                if store is not None:
                    store.close()
            self.record.close()
            self.bucket.close()

    def _work(self, run: Run, continues: bool) -> Result:
        crew = self.crew
        # The probe for the treatment of names wrote into the root; a continued run may not visit it again.
        crew.touched.add("")
        if self.options.again is not None:
            once_more(crew, self.options.again.runs)
            return self._result(run, "interrupted" if self.stop.requested else "completed", False)
        self._look_for_listed()
        if continues:
            # Stages lie in the root, which this run may not list.
            for error in leftover.sweep(self.pair.target_store, "", lambda run, _: run in self.dead):
                self.report.event(Event(Level.WARN, "temporary.kept", str(error), {}))
            crew.begin(None)
        else:
            self.state.clear_bookmarks(self.row.id)
            number = self.state.start_frontier(run.id)
            known = self.state.digests(self.row.id, [""]).get("")
            crew.begin(
                Queued(number, "", int(Target.UNKNOWN), known.digest if known else None, bool(known and known.doubtful))
            )
        if self.options.mode == "sync":
            self.report.event(told.discovering(self.words))
        crew.crawl()
        self.crawl_told.end()
        self._stages(crew.fatal is None and not self.stop.requested)
        refused = ""
        if self.options.mode == "sync" and not crew.stopping:
            # Names that a directory blocks are there only after the deletes, and must be there to be joined.
            early = crew.rules.policy.hard_links and bool(self.state.blocked(self.row.id, 1))
            refused = self._delete(run) if early else ""
            if not crew.stopping:
                endgame.join_links(crew)
            if self.options.policy.delete and not (early or crew.stopping):
                refused = self._delete(run)
            endgame.dress_touched(crew)
        elif self.options.mode == "check" and not crew.stopping:
            endgame.join_links(crew)
        elif self.options.mode == "plan" and self.options.policy.delete and not crew.stopping:
            refused, _ = self._refusal(run, crew.stats.extra_files, crew.stats.extra_directories)
        status = "completed"
        if crew.fatal is not None:
            status = "failed"
        elif self.stop.requested:
            status = "interrupted"
        return self._result(run, status, continues, refused)

    def _look_for_listed(self) -> None:
        """A path that --files-from lists and the source lacks is a failure; no listing would ever miss it.

        Far away, where a look at each would take a request, the listings tell all the same (`workers.unseen`).
        """
        outcome = Outcome()
        for path in sorted(self.options.selection.files or ()) if self.pair.source_far is None else ():
            if self.stop.requested:
                break
            try:
                self.pair.source_store.stat(path)
            except DunlinError as error:
                # Anything else is met again, and told, where its directory is listed.
                if error.kind is ErrorKind.NOT_FOUND:
                    outcome.fail(path, lacking(path))
        self.crew.add(outcome)

    def _delete(self, run: Run) -> str:
        """Delete the extras unless something speaks against it; returns the word of `_refusal`."""
        crew, state = self.crew, self.state
        refused, reason = self._refusal(run, *state.count_extras(self.row.id))
        if refused:
            endgame.leave_blocked(crew, f"nothing is deleted in this run: {reason}")
            return refused
        identity = root_identity(self.pair.source)
        if identity:
            state.set_root(self.row.id, identity)
        endgame.delete_extras(crew)
        endgame.place_blocked(crew)
        if not crew.stopping:
            state.clear_extras(self.row.id)
        return ""

    def _refusal(self, run: Run, files: int, directories: int) -> tuple[str, str]:
        """Tell why so many extras are not deleted: "limit" when they are too many, "unsafe", or "" if they may go.

        Also in words.
        """
        crew = self.crew
        identity = root_identity(self.pair.source)
        changed = bool(self.row.root and identity and self.row.root != identity and not self.options.accept_source)
        known = max(self.row.known_files, crew.stats.scanned_files, self.state.run(run.id).stats.scanned_files)
        stats = replace(crew.stats, extra_files=files, extra_directories=directories)
        stats.source_errors += self._errors_of_chain(run)
        empty = crew.stats.scanned_files == 0 and crew.stats.scanned_directories <= 1 and run.continued_from is None
        empty = empty and not self.options.accept_source
        reason = endgame.delete_refusal(stats, empty, changed, known)
        limit = endgame.delete_limit(self.options.max_delete, known)
        too_many = not reason and files + directories > limit
        if too_many:
            reason = f"more than --max-delete {limit}"
        if files + directories and not reason and (reason := claimed(self.options, self.pair, self.state, self.row.id)):
            reason += "; keep it out with --exclude, or give this pair another destination"
        if reason and files + directories:
            message = f"{files} files and {directories} directories are not deleted: {reason}"
            fields = {"files": files, "directories": directories}
            self.report.event(Event(Level.WARN, "delete.disabled", message, fields))
        return ("limit" if too_many else "unsafe" if reason else ""), reason

    def _errors_of_chain(self, run: Run) -> int:
        """Errors at the source in the interrupted runs that this one continues."""
        errors = 0
        before = run.continued_from
        while before is not None:
            old = self.state.run(before)
            # The counts of a killed run are some seconds old; what failed in it is on record.
            errors += old.stats.source_errors
            errors += len(self.state.failed_directories(before, limit=1)) + len(self.state.failed(before, limit=1))
            before = old.continued_from
        return errors

    # ---- the end ----

    def _result(self, run: Run, status: str, continued: bool, refused: str = "") -> Result:
        crew = self.crew
        crew.stats.seconds = time.monotonic() - self.begun
        crew.telling.end()
        message = str(crew.fatal) if crew.fatal else self.stop.reason
        code = exit_code(crew.stats, crew.fatal, status, refused, self.options.mode)
        if self.options.mode == "sync":
            try:
                if self.options.transfer.fsync != "none" and crew.stats.copied_files:
                    self.checkpointer.finish(self.state.now)
                if status == "completed" and not self.row.root and (identity := root_identity(self.pair.source)):
                    self.state.set_root(self.row.id, identity)
                whole = status == "completed" and self.options.again is None
                if whole and not crew.stats.source_errors:
                    self.state.forget_gone(self.row.id, run.origin)
                # Samples are looked for from the beginning of a run to its end, so the last one comes before that.
                self.sampler.end(crew)
                self.state.finish_run(run.id, status, crew.stats, message)
                put_slow(self.state, run.id, self.record.slowest.rows())
                if whole and self.pair.source_far is not None:
                    row = self.state.pair(self.row.source, self.row.destination, self.row.selection)
                    self.state.checked(row.id, row.known_files)
            except DunlinError as error:
                self.report.event(Event(Level.ERROR, "state.lost", str(error), {}))
            if self.lock is not None and status == "completed" and not crew.stats.failed_directories:
                self.lock.ended()
        number = run.id if self.options.mode == "sync" and self.options.state_db != "none" else 0
        return Result(crew.stats, status, message, code, number, continued)

    # ---- making ready ----

    def _crew(self, run: Run) -> Coordinator:
        options, pair = self.options, self.pair
        policy = resolve_policy(options.policy, pair.source_store.caps, pair.caps)
        attributes, line = resolve_attributes(options.transfer, pair.source_store.caps, pair.caps)
        if line:
            self.report.event(Event(Level.WARN, "metadata.refused", line, {"what": "extended attributes"}))
        policy = policy._replace(
            force=policy.force or options.force_resync,
            hard_links=policy.hard_links and options.mode != "plan",
            attributes=attributes.xattrs or attributes.acls,
        )
        moving = attributes._replace(
            perms=policy.perms,
            owner=policy.owner,
            group=policy.group,
            groups=policy.groups,
            hard_links=policy.hard_links,
            clear=policy.delete,
            window=policy.window,
            protected=None if options.delete_excluded or options.selection.everything else options.selection,
        )
        own = own_files_of(options, self.state.database.path)
        rules = Rules(
            policy=policy,
            selection=options.selection,
            mode=options.mode,
            delete_excluded=options.delete_excluded,
            begin=options.begin,
            trust_state=options.trust_state and not self.anew,
            settled=self._settled_before(),
            record=options.mode == "sync", rows=options.opens is None or options.state_db != "none",
            own=own,
            own_source=own_below(own, pair.source),
            own_target=own_below(own, pair.target),
            skip_source=pair.skip_source,
            skip_target=pair.skip_target,
            roots=pair.roots,
            run=self.token,
            dead=self.dead,
        )
        movers, most = crew_size(options)
        shares = budget(options, movers, options.crew.workers or FAR_FILES)
        self.hands = shares.hands
        follows = (pair.source_far is not None or pair.target_far is not None) and not (self.asked or options.spread)
        far = far_most(options, self.asked, movers, self.hands) if follows else self.hands
        carried = most if pair.local else far
        lists = most if pair.local else self.hands
        plan = crawl_plan(options, self.machine, movers, lists, (pair.source, pair.target), carried)
        known, number = self.state.database.path, self.row.id
        if options.mode != "sync":
            known, number = remembered(options, pair)
        setup = Setup(
            pair.source_place,
            pair.target_place,
            moving,
            rules,
            backup=pair.backup,
            backup_prefix=pair.backup_prefix,
            budget=shares.buffers,
            target_caps=pair.caps,
            source_far=pair.source_far,
            target_far=pair.target_far,
            hands=far,
            begin=self.hands,
            known=known,
            pair=number,
            profile=options.log.parts,
            window=plan.limits,
            opens=options.opens,
        )
        start = options.crew.start or ("fork" if pair.local else "spawn")
        quota = self._govern(carried)
        pool = Pool(setup, self.bucket, movers, start, (self.lock.fd,) if self.lock else (), most, quota)
        doers: Doers = pool
        if options.spread is not None and options.mode == "sync":
            from dunlin.jobs.spread import spread

            doers = spread(options, pair, setup, self.bucket, self.state, self.report)
        elif follows:
            self.requests = self._follow(pool, far)
        context = build(setup, self.bucket, 0xFF, self.report)
        self.crawl_told = CrawlTold(lambda: self.crew, self.machine.cores, options.mode == "sync")
        return Coordinator(
            context,
            doers,
            self.state,
            self.row.id,
            run.id,
            self.bucket,
            self.stop,
            Concurrency(-(-most // movers)),
            options.crew.scan_first,
            self._orders,
            self._put,
            self.report,
            plan,
            self.crawl_told.look,
        )

    def _settled_before(self) -> int | None:
        far = self.pair.source_far is not None
        before = settled_before(self.options, self.state, self.row.id, far, self.report, time.time_ns())
        return None if self.anew else before

    def _govern(self, most: int) -> Bucket | None:
        """Have the run hold to its limits, if there are any; what its movers share for that."""
        if self.limits is None:
            return None
        from dunlin.workers.governor import Governor

        self.governor = Governor(self.limits, most, self.sampler.note)
        self.stop.tell(self.governor.stop)
        return self.governor.quota

    def _follow(self, pool: Pool, most: int) -> Requests | None:
        from dunlin.workers.requests import follow

        return follow(pool, self.hands, most)

    def _put(self, directory: str, outcome: Outcome) -> None:
        self.record.put(directory, outcome)
        self.sampler.outcome(directory, outcome)

    def _say_how(self, run: Run, continues: bool, failed_before: bool) -> None:
        left = self.state.unfinished(self.row.id) if continues else None
        if continues and left is not None:
            message = (
                f"continuing run {run.continued_from}: {left.pending_files} files pending, "
                f"{left.queued} directories not yet scanned"
            )
            mode = "continued"
        else:
            message, mode = self.anew or "scanning source and destination", "rescan" if self.options.rescan else "fresh"
            if self.options.again is not None:
                message, mode = told.AGAIN, "retry"
        fields = {"mode": mode, "run": run.id, "failed_before": failed_before}
        self.report.event(Event(Level.INFO, "run.started", message, fields))
        if self.pair.source_empty:
            self.report.event(Event(Level.WARN, "source.empty", "the source is empty", {}))

    def _refuse_empty(self, pending: int) -> None:
        """An empty source of which files are known is an unmounted one until somebody says otherwise."""
        known = max(self.row.known_files, pending)
        if not known or self.options.mode != "sync" or self.options.accept_source:
            return
        far = self.pair.source_far is not None
        if self.pair.source_empty if far else is_empty(self.pair.source_store):
            raise DunlinError(
                "sync",
                shown_place(self.options.source),
                ErrorKind.NOT_FOUND,
                f"it is empty, although {known} files are known of it",
                "is it mounted? --accept-source says that this is right",
            )

    def _why_anew(self) -> str:
        """Why a run that was cut short would not be continued; "" when nothing speaks against it."""
        if self.options.rescan:
            return "scanning everything again (--rescan)"
        if self.options.force_resync:
            return "transferring everything again (--force-resync)"
        last = self.state.last_run(self.row.id)
        if last is None:
            return ""
        if self.row.changed:
            return "scanning anew: other files are selected than in the last run"
        if last.options.get("rules") != rules_of(self.options):
            return "scanning anew: files are compared or kept in another way than in the last run"
        if not self.pair.target_exists or is_empty(self.pair.target_store):
            # Another file system than the last time, perhaps, or all was deleted: nothing is finished here.
            return "scanning anew: the destination is empty"
        return ""

    # ---- while it runs ----

    def _rate(self) -> int:
        return self.schedule.rate_at(datetime.now()) if self.schedule is not None else 0

    def _orders(self) -> None:
        """A few times a second: `dunlin control`, the timetable, the background flush."""
        if self.governor is not None:
            self.governor.poll(self.crew)
        if self.requests is not None:
            self.requests.poll(self.crew)
        now = time.monotonic()
        if now < self.next_order or self.options.mode != "sync":
            return
        self.next_order = now + 0.2
        crew = self.crew
        self._stages(not crew.frontier and not crew.scanning)
        for order in self.state.control_poll(crew.run):
            self._obey(order.verb, order.argument)
        rate = self._rate()
        if rate != self.bucket.rate:
            self.bucket.set_rate(rate)
        self.sampler.poll(crew)
        self.report.gauge("limit", rate)
        self.report.gauge("paused", float(self.bucket.paused))
        self.report.gauge("flying_bytes", self.sampler.flying.bytes(crew))
        if self.options.transfer.fsync == "checkpoint":
            self.checkpointer.poll(self.state.now)

    def _stages(self, listed: bool) -> None:
        """Tell once that files begin to be moved, and once that the listing is over (`listed`)."""
        stats = self.crew.stats
        if self.options.mode != "sync":
            return
        if "moving" not in self.told and (stats.copied_files or stats.pending_files):
            self.told.add("moving")
            self.report.event(told.starting(self.words, self._under_way()))
        if listed and "listed" not in self.told:
            self.told.add("listed")
            self.report.event(told.found(self.words, stats))
            self._look_at_space()

    def _under_way(self) -> int:
        """Files in flight at most; where nobody said how many, and threads come as they pay, those at this moment."""
        pool = self.crew.pool
        if self.pair.source_far or self.pair.target_far:
            return self.hands
        return self.options.crew.workers or (pool.size * pool.threads if pool.started else 1)

    def _look_at_space(self) -> None:
        """What is to come is known now: say it if it will not fit. What is under way counts as still to come, so
        it may fit all the same; the first file that does not ends the run."""
        space = power(self.pair.target_store, HasSpace)
        if self.pair.source_far is None or space is None or self.options.transfer.sparse:
            return
        left, free = self.crew.stats.pending_bytes, space.free_space()
        if left > free:
            message = f"{format_size(left)} are still to be copied, and {format_size(free)} are free at the destination"
            self.report.event(Event(Level.WARN, "space.short", message, {"pending_bytes": left, "free_bytes": free}))

    def _obey(self, verb: str, argument: str) -> None:
        self.report.event(told.ordered(verb, argument))
        if verb == "bwlimit":
            try:
                self.schedule = parse_schedule(argument)
            except DunlinError as error:
                self.report.event(Event(Level.WARN, "control", str(error), {"verb": verb}))
        elif verb == "pause":
            self.bucket.pause()
        elif verb == "resume":
            self.bucket.resume()
        elif verb == "stop":
            self.stop.request("stopped by `dunlin control stop`")
