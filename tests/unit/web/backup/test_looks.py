"""Figures of shares: what they are, and how little of a repository is kept for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from dunlin.backup.objects import Found
from dunlin.backup.repository import Area
from dunlin.web import vaults
from dunlin.web.backup import looks
from dunlin.web.backup.looks import Checked, Usage
from dunlin.web.vaults import Vault, Vaults
from tests.unit.web.vaulted import HOME, Home

SHARES = ("a", "b", "c")


@contextmanager
def looking(place: Path) -> Iterator[Vault]:
    home = Home(place)
    for share in SHARES:
        home.back_up(HOME, share)
    with Vaults(lambda: {"vault": home.known()}).use("vault", "default") as vault:
        yield vault


@pytest.mark.parametrize("seed", range(20))
def test_what_was_checked_of_parts_is_that_of_all_of_them(seed: int) -> None:
    random = Random(seed)
    packs = {bytes([n] * 16): Found(str(n), random.randrange(100), 0) for n in range(random.randrange(6))}
    times = {pack: random.randrange(-5, 5) for pack in packs if random.random() < 0.8}
    parts: list[list[tuple[bytes, Found]]] = [[], [], []]
    for each in packs.items():
        random.choice(parts).append(each)
    whole = [(times[pack], found.size) for pack, found in packs.items() if pack in times]
    expected = Checked(
        len(packs), sum(found.size for found in packs.values()), len(whole), sum(size for _, size in whole),
        min((at for at, _ in whole), default=None) if len(whole) == len(packs) else None,
        max((at for at, _ in whole), default=None),
    )  # fmt: skip
    assert looks._checked(iter(packs.items()), times) == expected
    assert looks._together([looks._checked(iter(part), times) for part in parts]) == expected


def test_of_packs_only_sums_are_kept(tmp_path: Path) -> None:
    with looking(tmp_path) as vault:
        looks.shares(vault)
        looks.total(vault)
        kept = [slot.value for slot in vault.answers._slots.values()]
        assert Counter(map(type, kept)) == {list: 1, Checked: len(SHARES) + 1, Usage: len(SHARES)}


def test_a_second_look_at_all_shares_lists_nothing_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vaults, "ANSWERS", 2)
    listed: list[str] = []
    each_pack = Area.each_pack

    def counted(area: Area, small: bool) -> Iterator[tuple[bytes, Found]]:
        listed.append(area.share if small else "")
        return each_pack(area, small)

    monkeypatch.setattr(Area, "each_pack", counted)
    with looking(tmp_path) as vault:
        listed.clear()
        first = looks.shares(vault), looks.total(vault)
        assert sorted(listed) == ["", *SHARES]
        assert (looks.shares(vault), looks.total(vault)) == first
        assert sorted(listed) == ["", *SHARES]
