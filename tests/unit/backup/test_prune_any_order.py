"""Backups, prunes and forgetting of two tenants in any order and within each other, with crashes, lost leases and lost
answers, damage and what mends it: nothing is lost."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from dunlin.backup import marks, pieces, rebuild
from dunlin.backup.lease import EXPIRES
from dunlin.errors import DunlinError, ErrorKind
from tests.unit.backup.world import CONTENTS, NAMES, SHARES, TENANTS, Client, World, every

OTHER = {"docs": "pictures", "pictures": "docs", "elsewhere": "docs"}
shares = st.sampled_from(list(TENANTS))
steps = st.integers(0, 14)
numbers = st.integers(0, 5)
events = st.sampled_from(
    ["dies", "prune", "prune twice", "sleeps", "sleeps, prune", "sleeps, backup, prune", "backup", "forget",
     "forget, prune", "forget all, prune", "other", "prune dies", "prune loses an answer", "an answer is lost",
     "change"]
)  # fmt: skip


class AnyOrder(RuleBasedStateMachine):
    @initialize(few=st.sampled_from([1, pieces.FEW]))
    def begin(self, few: int) -> None:
        self.world = World()
        self.few, pieces.FEW = pieces.FEW, few  # 1: nearly every backup joins pieces of the index

    def teardown(self) -> None:
        pieces.FEW = self.few

    def _event(self, what: str, share: str, number: int) -> Callable[[Client], None]:
        world = self.world

        def happens(client: Client) -> None:
            for part in what.split(", "):
                if part == "dies":
                    client.dead = True
                elif part == "an answer is lost":
                    client.lost = True
                elif part == "prune loses an answer":
                    world.prune(number, lambda inner: setattr(inner, "lost", True), share=share)
                elif part == "sleeps":
                    world.pass_time(EXPIRES + 60)
                elif part == "prune":
                    world.prune(share=share)
                elif part == "prune twice":
                    world.prune(share=share)
                    world.prune(share=share)
                elif part == "prune dies":
                    world.prune(number, lambda inner: setattr(inner, "dead", True), share=share)
                elif part == "backup":
                    world.back_up(share)
                elif part == "other":
                    world.back_up(OTHER[share])
                elif part == "forget":
                    world.forget(share, number)
                elif part == "forget all":
                    for _ in range(9):
                        world.forget(share, 0)

        return happens

    @rule(share=shares, changed=st.dictionaries(st.sampled_from(NAMES), st.none() | st.sampled_from(CONTENTS)))
    def change(self, share: str, changed: dict[str, bytes | None]) -> None:
        for name, data in changed.items():
            self.world.change(share, name, data)

    @rule(share=shares)
    def back_up(self, share: str) -> None:
        self.world.back_up(share)

    @rule(share=shares, at=steps, what=events, whose=shares, number=numbers)
    def back_up_meanwhile(self, share: str, at: int, what: str, whose: str, number: int) -> None:
        self.world.back_up(share, at, self._event(what, whose, number))

    @rule(share=shares, at=steps, what=events, last=st.sampled_from(["prune", "forget all, prune"]), number=numbers)
    def back_up_within_a_backup(self, share: str, at: int, what: str, last: str, number: int) -> None:
        world, other = self.world, OTHER[share]
        inner = self._event(last, share, number)
        world.back_up(share, at, lambda _: world.back_up(other, number * 2, inner))
        self._event(what, share, number)(Client(world.store))

    @rule(at=steps, what=events, whose=shares, number=numbers)
    def prune_meanwhile(self, at: int, what: str, whose: str, number: int) -> None:
        self.world.prune(at, self._event(what, whose, number), share=whose)

    @rule(unused=st.sampled_from([0.0, 0.5]), share=shares, small=st.sampled_from([0, 1, 8]))
    def prune(self, unused: float, share: str, small: int) -> None:
        self.world.prune(unused=unused, share=share, small=small)

    @rule(share=shares, number=numbers)
    def forget(self, share: str, number: int) -> None:
        self.world.forget(share, number)

    @rule(hours=st.sampled_from([-30, -1, 1, 30, 24 * 9]))
    def the_stores_clock_is_set(self, hours: int) -> None:
        self.world.now += hours * 3600 * 10**9

    @rule(share=shares)
    def the_index_is_made_anew(self, share: str) -> None:
        opened = self.world.area(share).repository
        try:
            rebuild.chunk_index(opened, TENANTS[share], "somebody", clock=lambda: self.world.own)
        except DunlinError as error:
            if error.kind is not ErrorKind.LOCKED:  # by a prune that died
                raise

    @rule(share=shares, number=numbers)
    def a_pack_is_thought_to_be_damaged(self, share: str, number: int) -> None:
        area = self.world.area(share)
        packs = sorted(each.key for small in (True, False) for each in area.packs(small).values())
        if packs:
            marks.put_bad(area, [packs[number % len(packs)]], [])

    @rule(share=shares, number=numbers)
    def a_pack_rots_and_a_verification_tells(self, share: str, number: int) -> None:
        area = self.world.area(share)
        packs = sorted(each.key for small in (True, False) for each in area.packs(small).values())
        if packs:
            self.world.rot([packs[number % len(packs)]])
            self.world.verify(TENANTS[share])

    @invariant()
    def every_snapshot_restores(self) -> None:
        self.world.restores()


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(
    max_examples=20, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
)


def test_what_nothing_needs_is_gone_when_all_is_quiet() -> None:
    world = World()
    for number, data in enumerate(CONTENTS):
        world.change("docs", NAMES[number % 6], data)
        world.change("pictures", NAMES[number % 3], data)
        for share in SHARES:
            world.back_up(share)
    for share in SHARES:
        for _ in range(20):
            world.forget(share, 0)
    world.prune()
    left = [key for key in every(world) if "/marks/" not in key]
    assert left == ["dunlin-repository.copy", "dunlin-repository.json", "dunlin-reserve"]
