"""The pieces of the chunk index do not pile up, and nothing that they say is lost on the way."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from dunlin.backup import chunks, marks, pieces, rebuild
from dunlin.backup.chunks import ChunkIndex, Segment
from dunlin.backup.packing import Shelf
from dunlin.backup.repository import Area, Repository
from dunlin.backup.verified import Subset
from dunlin.backup.verify import verify
from dunlin.backup.words import Location
from dunlin.errors import DunlinError, ErrorKind
from tests.unit.backup.tenant import Tenant
from tests.unit.backup.world import World, every

MANY = 100


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two pieces of like size are joined, so that a test needs few backups."""
    monkeypatch.setattr(pieces, "FEW", 1)


def segment(*numbers: int, pack: bytes = b"p" * 16) -> Segment:
    rows = [(hashlib.sha256(b"%d" % number).digest(), Location(pack, number, 1, 512)) for number in numbers]
    return chunks.build(rows)


def asked(index: ChunkIndex, chunk: bytes, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many segments are asked for a chunk that is nowhere."""
    count, real = [0], Segment.places

    def counted(self: Segment, high: int, low: int) -> Iterator[Location]:
        count[0] += 1
        return real(self, high, low)

    with monkeypatch.context() as patch:
        patch.setattr(Segment, "places", counted)
        assert index.find(chunk) is None
    return count[0]


@pytest.mark.parametrize("append_only", [False, True])
def test_after_many_little_backups_few_pieces_are_fetched_and_one_is_asked(
    append_only: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = Tenant(append_only=append_only)
    for _ in range(MANY):
        tenant.back_up()
    tenant.fetched.clear()
    index = ChunkIndex(marks.segments(tenant.area, True, frozenset()))
    assert len(tenant.fetched) <= 2 * pieces.FEW  # pieces, and the joins that made them
    assert asked(index, hashlib.sha256(b"nowhere").digest(), monkeypatch) <= 1
    assert all(tenant.found())
    left = tenant.listed()
    if append_only:
        assert len(left.pieces) > MANY
    else:
        assert len(left.pieces) + len(left.joins) <= 4 * pieces.FEW


def test_without_joins_each_backup_would_leave_a_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the test above looks for is there to be found."""
    tenant = Tenant()
    monkeypatch.setattr(marks, "tidy", lambda area: None)
    for _ in range(20):
        tenant.back_up()
    tenant.fetched.clear()
    marks.segments(tenant.area, True, frozenset())
    assert len(tenant.fetched) == 20


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize(
    ("sizes", "joined"),
    [([], 0), ([5], 0), ([5, 5], 2), ([5, 11], 0), ([5, 10], 2), ([1, 100, 100, 100], 4), ([1, 3, 9, 27, 81], 0),
     ([1, 3, 9, 27, 80], 5), ([81, 1, 27, 3, 1, 9], 6)],
)  # fmt: skip
def test_the_smallest_groups_are_joined_as_long_as_they_are_of_like_size(sizes: list[int], joined: int) -> None:
    groups = [(size, frozenset({f"{at}"})) for at, size in enumerate(sizes)]
    found = pieces.alike(groups)
    assert len(found) == joined
    assert found == [names for _, names in sorted(groups, key=lambda group: group[0])][:joined]


def test_what_stays_apart_grows_with_the_logarithm() -> None:
    groups: list[tuple[int, frozenset[str]]] = []
    most = 0
    for number in range(1000):
        assert len(pieces.alike(groups)) != 1
        groups.append((1 + number % 7, frozenset({f"{number}"})))
        joined = pieces.alike(groups)
        gone = frozenset().union(*joined)
        size = sum(size for size, names in groups if names <= gone)
        groups = [group for group in groups if not group[1] <= gone] + ([(size, gone)] if gone else [])
        most = max(most, len(groups))
    assert most <= pieces.FEW


def test_what_is_merged_is_disjoint_and_keeps_every_place() -> None:
    parts = [segment(*range(600), pack=b"p" * 16), segment(*range(300, 900), pack=b"q" * 16)]
    found = list(pieces.merged(parts, 100))
    assert len(found) == 12
    assert sum(map(len, found)) == 1200
    assert len(chunks.in_order(found)) == 1
    assert len(chunks.in_order(parts)) == 2
    index, before = ChunkIndex(found), ChunkIndex(parts)
    for number in range(900):
        chunk = hashlib.sha256(b"%d" % number).digest()
        assert set(index.places(chunk)) == set(before.places(chunk)) != set()


def test_one_range_of_many_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    index = ChunkIndex(list(pieces.merged([segment(*range(2000))], 50)))
    assert asked(index, hashlib.sha256(b"nowhere").digest(), monkeypatch) == 1
    half = [hashlib.sha256(b"%d" % number).digest() for number in (5, 3000, 1999)]
    assert (index.find_many(b"".join(half)).pack >= 0).tolist() == [True, False, True]


def test_small_segments_become_few_and_lie_in_files_when_they_are_many(tmp_path: Path) -> None:
    parts = [segment(number, number + 1000) for number in range(100)] + [segment(*range(5000, 5200))]
    found = pieces.fewer(parts, tmp_path, least=100, most=150)
    assert sorted(len(each) for each in found) == [50, 150, 200]
    assert not list(tmp_path.iterdir())
    index = ChunkIndex(found)
    for number in (*range(100), 1050, 5199):
        assert index.find(hashlib.sha256(b"%d" % number).digest()) == Location(b"p" * 16, number, 1, 512)


@pytest.mark.usefixtures("eager")
def test_what_was_joined_goes_when_nobody_is_at_work_who_began_before() -> None:
    tenant = Tenant()
    tenant.back_up()
    other = tenant.lease("another")
    other.pin("")
    before = set(tenant.listed().pieces)
    for _ in range(5):
        tenant.back_up()
    assert before <= set(tenant.listed().pieces)
    other.release()
    tenant.back_up()
    assert not before & set(tenant.listed().pieces)
    assert all(tenant.found())


@pytest.mark.usefixtures("eager")
def test_where_a_joined_piece_is_damaged_those_that_it_holds_count_again() -> None:
    tenant = Tenant(append_only=True)
    for _ in range(8):
        tenant.back_up()
    there = tenant.listed()
    made = {name for join in pieces._known(tenant.area, there).joins for name in join.made}
    assert made
    for name in made:
        raw = bytearray(tenant.objects.get(there.pieces[name].key))
        raw[len(raw) // 2] ^= 1
        tenant.objects.put(there.pieces[name].key, raw)
    damaged: list[DunlinError] = []
    found = tenant.area.chunk_segments(True, damaged)
    assert {error.where for error in damaged} <= {there.pieces[name].key for name in made}
    assert damaged
    assert sum(len(each) for _, each in found) >= 8
    assert all(tenant.found())


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("how", ["cut short", "missing", "unknown", "its piece is missing"])
def test_where_a_join_cannot_be_believed_every_piece_counts(how: str) -> None:
    tenant = Tenant(append_only=True)
    for _ in range(2):
        tenant.back_up()
    there = tenant.listed()
    ((name, join),) = there.joins.items()
    if how in ("cut short", "unknown"):
        text = b"".join(tenant.area.stored(join.key))
        changed = text.rpartition(b"\n")[0] if how == "cut short" else text.replace(b"joins 1", b"joins 2")
        tenant.store.delete([join.key])
        tenant.area.put_container(join.key, changed)
    elif how == "missing":
        tenant.store.delete([join.key])
    else:
        (known,) = pieces._known(tenant.area, there).joins
        tenant.store.delete([there.pieces[made].key for made in known.made])
    tenant.fetched.clear()
    assert all(tenant.found())
    count = {key.rpartition("/")[2] for key in tenant.fetched} - {name + pieces.SUFFIX}
    assert count == tenant.listed().pieces.keys()


@pytest.mark.usefixtures("eager")
def test_a_join_that_fails_spoils_no_backup_and_is_made_by_the_next() -> None:
    world = World()

    def fails(*_: object, **__: object) -> None:
        raise DunlinError("write", "", ErrorKind.NETWORK, "the connection broke")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Area, "put_container", fails)
        patch.setattr(marks, "put", fails)
        world.change("docs", "a", b"a" * 150)
        world.back_up("docs")
    for name in ("b", "d/a"):
        world.change("docs", name, name.encode() * 100)
        world.back_up("docs")
    world.restores()
    assert [key for key in every(world) if key.endswith(pieces.SUFFIX)]


@pytest.mark.usefixtures("eager")
def test_a_prune_takes_joins_and_what_they_hold_with_it() -> None:
    world = World()
    for number in range(3):  # with a fourth it would depend on a byte whether two are of like size
        world.change("docs", f"n{number}", bytes([number]) * 150)
        world.back_up("docs")
    area = world.area("docs")
    there = pieces.listed(area, False)
    assert there.joins
    assert len(there.pieces) > len(pieces.read(area, False))
    world.change("docs", "n1", None)
    world.back_up("docs")
    for _ in range(3):
        world.forget("docs", 0)
    world.prune()
    world.restores()
    left = pieces.listed(area, False)
    assert not left.joins
    assert len(left.pieces) == len(pieces.read(area, False)) == 1


@pytest.mark.usefixtures("eager")
def test_what_a_prune_is_about_to_remove_is_not_joined() -> None:
    tenant = Tenant(append_only=True)
    tenant.back_up()
    (name,) = tenant.listed().pieces
    marks.put(tenant.area, [tenant.listed().key(name)])
    tenant.back_up()
    assert not tenant.listed().joins
    tenant.back_up()
    ((_, join),) = tenant.listed().joins.items()
    assert name.encode() not in b"".join(tenant.area.stored(join.key))


@pytest.mark.usefixtures("eager")
def test_the_index_can_be_made_anew_where_there_are_joins() -> None:
    tenant = Tenant()
    for _ in range(6):
        tenant.back_up()
    assert tenant.listed().joins
    rebuild.chunk_index(tenant.area.repository, "t", "somebody")
    left = tenant.listed()
    assert (len(left.pieces), len(left.joins)) == (1, 0)
    assert all(tenant.found())


@pytest.mark.usefixtures("eager")
def test_a_place_in_a_pack_that_is_gone_hides_no_other() -> None:
    """Two packs hold a chunk, a join is made, and one of them goes."""
    tenant = Tenant()
    chunk = tenant.area.identify(b"twice")
    for _ in range(2):
        shelf = Shelf(tenant.area, True, ChunkIndex())
        shelf.put(b"twice")
        shelf.finish()
    tenant.back_up()
    assert tenant.listed().joins
    one, two = tenant.area.packs(True).keys() - {
        ChunkIndex(marks.for_reading(tenant.area, True)).find(tenant.area.identify(tenant.contents[0])).pack  # type: ignore[union-attr]
    }
    for gone, left in ((one, two), (two, one)):
        index = ChunkIndex(marks.segments(tenant.area, True, frozenset({gone})))
        assert [place.pack for place in index.places(chunk)] == [left]


@pytest.mark.usefixtures("eager")
def test_a_damaged_join_is_told_by_a_verification_and_taken_away_by_a_prune() -> None:
    world = World()
    for name in ("a", "b"):
        world.change("docs", name, name.encode() * 150)
        world.back_up("docs")
    area = world.area("docs")
    ((_, join),) = pieces.listed(area, False).joins.items()
    area.objects.put(join.key, b"no join at all")
    found = verify([area], data=Subset())
    assert [(each.what, each.key) for each in found.damages] == [("index", join.key)]
    assert not found.lost
    world.prune()
    world.restores()
    assert not pieces.listed(area, False).joins
    assert verify([area], data=Subset()).whole


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("kind", [ErrorKind.DENIED, ErrorKind.READ_ONLY])
def test_who_may_only_add_joins_and_removes_nothing(kind: ErrorKind, monkeypatch: pytest.MonkeyPatch) -> None:
    tenant = Tenant()
    remove = tenant.objects.remove

    def refused(keys: Sequence[str]) -> None:
        if any("/chunks/" in key for key in keys):
            raise DunlinError("remove", keys[0], kind, "not allowed")
        remove(keys)

    monkeypatch.setattr(tenant.objects, "remove", refused)
    for _ in range(6):
        tenant.back_up()
    assert len(tenant.listed().pieces) > 6
    assert len(tenant.listed().joins) > 1
    assert all(tenant.found())


def test_copies_of_what_is_contained_do_not_stay(tmp_path: Path) -> None:
    tenant = Tenant(append_only=True)
    config, secrets, _ = tenant.area.repository.told("t")
    tenant.area = Repository(tenant.objects, config, secrets, tmp_path).area("t", "s")
    for _ in range(30):
        tenant.back_up()
    assert all(tenant.found())
    kept = {path.name for path in tmp_path.rglob("chunks/*") if not path.name.endswith(pieces.SUFFIX)}
    assert len(kept) <= pieces.FEW
    tenant.fetched.clear()
    assert all(tenant.found())
    assert tenant.fetched == []


@pytest.mark.usefixtures("eager")
def test_a_join_that_finds_no_room_takes_none(monkeypatch: pytest.MonkeyPatch) -> None:
    tenant = Tenant()
    tenant.back_up()
    put = Area.put_container

    def full(self: Area, key: str, data: bytes | memoryview) -> int:
        if key.endswith(pieces.SUFFIX):
            raise DunlinError("write", key, ErrorKind.NO_SPACE, "no space")
        return put(self, key, data)

    monkeypatch.setattr(Area, "put_container", full)
    for count in (2, 3):
        with pytest.raises(DunlinError, match="no space"):
            tenant.back_up()
        assert len(tenant.listed().pieces) == count
        tenant.store.delete(tenant.leases())
    assert all(tenant.found())


def test_only_pieces_that_have_something_of_a_range_are_merged(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = list(pieces.merged([segment(*range(2000))], 100))
    assert len(parts) == 20
    counts: list[int] = []
    real = chunks.merge

    def counted(segments: Sequence[Segment], *, every: bool = False) -> Segment:
        counts.append(len(segments))
        return real(segments, every=every)

    monkeypatch.setattr(chunks, "merge", counted)
    assert len(list(pieces.merged(parts, 100))) == 20
    assert counts == [1] * 20
