import json
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from dunlin.backup import chunks, keys, repository
from dunlin.backup.fetching import Frames
from dunlin.backup.manifest import Manifest, SegmentRef
from dunlin.backup.objects import Found, Objects
from dunlin.backup.pack import PackWriter
from dunlin.backup.repository import Area, Repository, Settings
from dunlin.backup.words import Location, check_name
from dunlin.errors import DunlinError, ErrorKind
from dunlin.stores.memory import MemoryStore


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "SCRYPT", {"n": 2, "r": 8, "p": 1})


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def made(store: MemoryStore, password: bytes | None = b"word", **how: object) -> Repository:
    return repository.init(Objects(store), password, Settings(**how))  # type: ignore[arg-type]


def opened(store: MemoryStore, password: bytes = b"word", cache: Path | None = None) -> Repository:
    return repository.open_repository(Objects(store), lambda: password, cache)


def snapshot(name: str, time: int) -> Manifest:
    return Manifest(id=name * 16, time=time * 10**9, tenant="t", share="s")


def test_what_was_made_opens_again(store: MemoryStore) -> None:
    first = made(store, small=1000)
    again = opened(store)
    assert again.id == first.id
    assert again.settings == Settings(small=1000)
    assert again.area("t", "s").keys.chunk == first.area("t", "s").keys.chunk


def test_of_two_inits_one_makes_it(store: MemoryStore) -> None:
    made(store)
    with pytest.raises(DunlinError, match="there is one already") as error:
        made(store)
    assert error.value.kind is ErrorKind.EXISTS


def test_a_missing_repository_says_how_one_is_made(store: MemoryStore) -> None:
    with pytest.raises(DunlinError, match="dunlin repo init") as error:
        opened(store)
    assert error.value.exit_code == 1


def test_a_wrong_password_is_refused(store: MemoryStore) -> None:
    made(store)
    with pytest.raises(DunlinError, match="wrong password"):
        opened(store, b"other")


def test_no_password_is_asked_for_where_nothing_is_encrypted(store: MemoryStore) -> None:
    made(store, None)

    def ask() -> bytes:
        raise AssertionError("asked")

    assert not repository.open_repository(Objects(store), ask, known=lambda: None).secrets.sealed


def tampered(store: MemoryStore, **change: object) -> None:
    objects = Objects(store)
    raw = json.dumps({**json.loads(objects.get(repository.CONFIG)), **change}).encode()
    for key in (repository.CONFIG, repository.COPY):
        objects.put(key, raw)


def test_who_can_write_to_the_store_cannot_turn_encryption_off(store: MemoryStore) -> None:
    made(store).add_password(b"only a", "a")
    thief = {"id": "0" * 8, "tenant": "", "kdf": "none", "key": "11" * 32}
    before = json.loads(Objects(store).get(repository.CONFIG))
    tampered(store, slots=[*before["slots"], thief])
    for word in (b"word", b"only a"):
        with pytest.raises(DunlinError, match="do not fit its encryption") as error:
            opened(store, word)
        assert error.value.kind is ErrorKind.CORRUPT
    tampered(store, slots=[thief], encryption="none")
    with pytest.raises(DunlinError, match="says that it is not encrypted") as error:
        opened(store)
    assert error.value.kind is ErrorKind.AUTH
    for change in ({"append_only": True}, {"small": 1 << 30}, {"id": "0" * 32}):
        tampered(store, **(before | change))
        for word in (b"word", b"only a"):
            with pytest.raises(DunlinError, match="or its configuration was changed"):
                opened(store, word)
    tampered(store, **before)
    assert opened(store).secrets.master is not None


def test_a_password_that_is_known_is_refused_where_nothing_is_encrypted(store: MemoryStore) -> None:
    made(store, None)
    repository.open_repository(Objects(store), lambda: None)
    for ask, known in ((lambda: b"word", None), (lambda: None, lambda: b"word")):
        with pytest.raises(DunlinError, match="leave the password out") as error:
            repository.open_repository(Objects(store), ask, None, known)
        assert error.value.kind is ErrorKind.AUTH


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b"{}", b'{"format": 1}', b"\xff", b'{"format": "a"}', b'{"slots": 5}']
)
def test_a_half_made_repository_is_said(store: MemoryStore, raw: bytes) -> None:
    Objects(store).put(repository.CONFIG, raw)
    with pytest.raises(DunlinError, match="cannot be read") as error:
        opened(store)
    assert error.value.kind is ErrorKind.CORRUPT


@pytest.mark.parametrize("wrong", [{"slots": 5}, {"slots": []}, {"slots": {"a": "b"}}, {"encryption": "rot13"}])
def test_a_configuration_that_makes_no_sense_is_said(store: MemoryStore, wrong: dict[str, object]) -> None:
    made(store)
    tampered(store, **wrong)
    with pytest.raises(DunlinError, match="cannot be read") as error:
        opened(store)
    assert error.value.kind is ErrorKind.CORRUPT


@pytest.mark.parametrize("lost", [True, False])
def test_the_copy_opens_what_lost_its_first_object(store: MemoryStore, lost: bool) -> None:
    made(store)
    objects = Objects(store)
    if lost:
        objects.remove([repository.CONFIG])
    else:
        objects.put(repository.CONFIG, b"")  # a power cut while it was written
    opened(store).add_password(b"second")
    assert opened(store, b"second").secrets.master == opened(store).secrets.master
    assert objects.get(repository.CONFIG) == objects.get(repository.COPY)


def test_one_of_the_two_objects_with_the_passwords_is_whole_at_every_moment(store: MemoryStore) -> None:
    calls: list[str] = []

    class Told(Objects):
        def put(self, key: str, data: bytes | bytearray | memoryview, *, if_absent: bool = False) -> Found:
            calls.append(key)
            return super().put(key, data, if_absent=if_absent)

        def sync(self) -> None:
            calls.append("sync")

    made(store)
    repository.open_repository(Told(store), lambda: b"word").add_password(b"second")
    assert calls == [repository.CONFIG, "sync", repository.COPY, "sync"]


def test_two_who_add_a_password_at_once_both_do(store: MemoryStore) -> None:
    made(store)
    one, other = opened(store), opened(store)
    one.add_password(b"one")
    other.add_password(b"other")
    for word in (b"word", b"one", b"other"):
        assert opened(store, word).secrets.master == one.secrets.master


def test_no_password_is_added_to_a_configuration_that_is_another_now(store: MemoryStore) -> None:
    """A slot for what was opened would open nothing; one for what stands there now would bless it."""
    first = made(store)
    tampered(store, append_only=True)
    with pytest.raises(DunlinError, match="was changed since it was opened") as error:
        first.add_password(b"second")
    assert error.value.kind is ErrorKind.CORRUPT


def test_a_newer_format_is_refused(store: MemoryStore) -> None:
    made(store)
    objects = Objects(store)
    objects.put(repository.CONFIG, json.dumps({**json.loads(objects.get(repository.CONFIG)), "format": 2}).encode())
    with pytest.raises(DunlinError, match="newer dunlin") as error:
        opened(store)
    assert error.value.kind is ErrorKind.NEWER


def test_passwords_come_and_go_and_the_last_one_stays(store: MemoryStore) -> None:
    first = made(store)
    second = first.add_password(b"second")
    assert opened(store, b"second").secrets.master == first.secrets.master
    first.remove_password(str(first.slots[0]["id"]))
    with pytest.raises(DunlinError, match="wrong password"):
        opened(store)
    with pytest.raises(DunlinError, match="the last that opens"):
        opened(store, b"second").remove_password(second)
    with pytest.raises(DunlinError, match="no key slot"):
        first.remove_password("nothing")


def test_a_tenants_password_reaches_its_tenant_only(store: MemoryStore) -> None:
    made(store).add_password(b"only a", "a")
    limited = opened(store, b"only a")
    limited.area("a", "s")
    with pytest.raises(DunlinError, match="another tenant"):
        limited.area("b", "s")
    with pytest.raises(DunlinError, match="that of a tenant"):
        limited.add_password(b"more")


def test_a_tenants_password_takes_away_its_own_alone(store: MemoryStore) -> None:
    whole = made(store)
    master, other = str(whole.slots[0]["id"]), whole.add_password(b"only b", "b")
    one = whole.add_password(b"only a", "a")
    limited = opened(store, b"only a")
    for slot in (master, other):
        with pytest.raises(DunlinError) as error:
            limited.remove_password(slot)
        assert error.value.kind is ErrorKind.AUTH
    with pytest.raises(DunlinError, match="the last that opens the tenant a"):
        limited.remove_password(one)
    limited.add_password(b"newer", "a")
    limited.remove_password(one)
    assert opened(store, b"newer").secrets.master is None
    with pytest.raises(DunlinError, match="wrong password"):
        opened(store, b"only a")
    opened(store).remove_password(other)


def test_snapshots_are_sorted_by_time_and_found_by_what_people_write(store: MemoryStore) -> None:
    area = made(store).area("t", "s")
    for name, time in (("aa", 300), ("bb", 100), ("ab", 200)):
        area.put_manifest(snapshot(name, time))
    assert [each.id[:2] for each in area.snapshots()] == ["bb", "ab", "aa"]
    assert area.resolve("latest").id == "aa" * 16
    assert area.resolve("bb").id == "bb" * 16
    assert area.resolve("19700101T000320").id == "ab" * 16
    assert area.manifest(area.resolve("ab")) == snapshot("ab", 200)
    with pytest.raises(DunlinError, match="could be 2 snapshots"):
        area.resolve("a")
    with pytest.raises(DunlinError, match="there is none") as error:
        area.resolve("cc")
    with pytest.raises(DunlinError, match="there is none"):
        area.resolve("")
    assert error.value.kind is ErrorKind.NOT_FOUND


def test_a_share_without_snapshots_says_so(store: MemoryStore) -> None:
    with pytest.raises(DunlinError, match="there is none yet"):
        made(store).area("t", "s").resolve("latest")


def test_a_manifest_under_another_key_is_damage(store: MemoryStore) -> None:
    area = made(store, None).area("t", "s")
    area.put_manifest(snapshot("aa", 100))
    [name] = area.snapshots()
    moved = name._replace(key=replace(snapshot("aa", 200)).key)
    area.objects.put(moved.key, area.objects.get(name.key))
    with pytest.raises(DunlinError, match="another one"):
        area.manifest(moved)


def test_other_things_among_the_snapshots_are_none(store: MemoryStore) -> None:
    area = made(store).area("t", "s")
    area.put_manifest(snapshot("aa", 100))
    area.objects.put("t/s/snapshots/README", b"hello")
    assert len(area.snapshots()) == 1


def test_tenants_and_shares_are_told(store: MemoryStore) -> None:
    repo = made(store)
    for tenant, share in (("a", "x"), ("a", "y"), ("b", "x")):
        repo.area(tenant, share).put_manifest(replace(snapshot("aa", 1), tenant=tenant, share=share))
    repo.objects.put("a/packs/00/pack", b"")
    repo.objects.put("a/leases/x.1", b"")
    for odd in ("@eaDir", "lost+found", ".snapshot", ".Trash-1000", "#recycle", "packs"):
        for folder in (odd, f"a/{odd}", f"b/{odd}"):
            repo.objects.put(f"{folder}/thing", b"")
    assert repo.tenants() == ["a", "b"]
    assert repo.shares("a") == ["x", "y"]


@pytest.mark.parametrize("small", [True, False])
def test_a_chunk_is_read_by_its_place(store: MemoryStore, small: bool) -> None:
    area = made(store).area("t", "s")
    pack = "ab" * 16
    key = area.pack_key(pack, small)
    assert key == (f"t/s/{pack}" if small else f"t/packs/ab/{pack}")
    writer = PackWriter(area.codec(key))
    writer.add(area.identify(b"content"), b"content")
    data, [place] = writer.finish()
    area.objects.put(key, data)
    where = Location(bytes.fromhex(pack), *place[1:4])
    assert Frames(area).chunk(place.chunk, (where, small)) == b"content"
    area.put_chunk_segment(chunks.build([(place.chunk, where)]), small)
    [(_, segment)] = area.chunk_segments(small)
    assert chunks.ChunkIndex([segment]).find(place.chunk) == where
    area.objects.remove([key])
    with pytest.raises(DunlinError) as error:
        Frames(area).chunk(place.chunk, (where, small))
    assert error.value.kind is ErrorKind.NOT_FOUND


def test_one_tenants_objects_do_not_open_with_the_keys_of_another(store: MemoryStore) -> None:
    repo = made(store)
    repo.area("a", "s").put_container("a/s/tree/x", b"secret")
    stolen = repo.objects.get("a/s/tree/x")
    repo.objects.put("b/s/tree/x", stolen)
    with pytest.raises(DunlinError) as error:
        repo.unpacked("b/s/tree/x", repo.area("b", "s").codec("b/s/tree/x"))
    assert error.value.kind is ErrorKind.CORRUPT
    assert b"secret" not in stolen


def test_what_is_unpacked_is_kept_for_the_user_alone(store: MemoryStore, tmp_path: Path) -> None:
    made(store).area("t", "s").put_container("t/s/tree/x", b"columns")
    repo = opened(store, cache=tmp_path / "cache")
    codec = repo.area("t", "s").codec("t/s/tree/x")
    assert bytes(repo.unpacked("t/s/tree/x", codec)) == b"columns"
    path = tmp_path / "cache" / repo.id / "t/s/tree/x"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    repo.objects.remove(["t/s/tree/x"])
    assert bytes(repo.unpacked("t/s/tree/x", codec, 7)) == b"columns"


def test_a_cached_file_of_another_size_is_fetched_again(store: MemoryStore, tmp_path: Path) -> None:
    made(store).area("t", "s").put_container("t/s/tree/x", b"columns")
    repo = opened(store, cache=tmp_path)
    codec = repo.area("t", "s").codec("t/s/tree/x")
    repo.unpacked("t/s/tree/x", codec)
    (tmp_path / repo.id / "t/s/tree/x").write_bytes(b"col")
    assert bytes(repo.unpacked("t/s/tree/x", codec, 7)) == b"columns"
    with pytest.raises(DunlinError, match="holds 7 bytes where the snapshot names 8"):
        repo.unpacked("t/s/tree/x", codec, 8)


def chunk_segment(area: Area) -> str:
    where = Location(bytes(16), 0, 9, 512)
    return area.put_chunk_segment(chunks.build([(bytes([len(area.chunk_segments(True))]) * 32, where)]), True)


@pytest.mark.parametrize("damage", ["empty", "cut", "zeros", "flipped"])
@pytest.mark.parametrize("kind", ["manifest", "index"])
@pytest.mark.parametrize("password", [b"word", None])
def test_a_bad_copy_is_thrown_away_and_read_once_more(
    store: MemoryStore, tmp_path: Path, damage: str, kind: str, password: bytes | None
) -> None:
    """A power cut leaves them so: what enters the cache is not flushed."""
    repo = made(store, password)
    repo = repository.open_repository(Objects(store), lambda: password, tmp_path)
    area = repo.area("t", "s")
    area.put_manifest(snapshot("aa", 1))
    key = chunk_segment(area) if kind == "index" else snapshot("aa", 1).key
    [name] = area.snapshots()

    def look() -> object:
        return area.manifest(name) if kind == "manifest" else [len(each) for _, each in area.chunk_segments(True)]

    before, path = look(), tmp_path / repo.id / key
    whole = path.read_bytes()
    bad = {
        "empty": b"", "cut": whole[: len(whole) // 2], "zeros": bytes(len(whole)),
        "flipped": whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:],
    }  # fmt: skip
    path.write_bytes(bad[damage])
    assert look() == before
    assert path.read_bytes() == whole
    store.delete([key])
    if kind == "manifest":
        assert look() == before, "what is whole is read from the cache"


def test_what_is_damaged_in_the_store_is_damaged_with_a_cache_too(store: MemoryStore, tmp_path: Path) -> None:
    made(store).area("t", "s").put_manifest(snapshot("aa", 1))
    Objects(store).put(snapshot("aa", 1).key, b"nothing")
    area = opened(store, cache=tmp_path).area("t", "s")
    for _ in range(2):
        with pytest.raises(DunlinError) as error:
            area.manifest(area.snapshots()[0])
        assert error.value.kind is ErrorKind.CORRUPT


def test_the_cache_holds_what_the_repository_holds_and_no_more(store: MemoryStore, tmp_path: Path) -> None:
    repo = repository.init(Objects(store), b"word", Settings(), tmp_path)
    area = repo.area("t", "s")
    for number in (1, 2):
        ref = SegmentRef(f"{number}" * 32, 1, 7, b"")
        area.put_container(f"t/s/tree/{ref.id}", b"columns")
        repo.unpacked(f"t/s/tree/{ref.id}", area.codec(f"t/s/tree/{ref.id}"))
        area.put_manifest(replace(snapshot(f"a{number}", number), segments=(ref,)))
    repo.unpacked("t/s/tree/" + "1" * 32, area.codec("t/s/tree/" + "1" * 32))
    first, second = chunk_segment(area), chunk_segment(area)
    area.chunk_segments(True)
    for name, age in (("old", 2 * 86400), ("new", 60)):
        temp = tmp_path / repo.id / f"t/s/snapshots/.{name}.1.1.tmp"
        temp.touch()
        os.utime(temp, (temp.stat().st_mtime - age,) * 2)

    def held() -> list[str]:
        root = tmp_path / repo.id
        return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())

    names = area.snapshots()
    every = [first, second, *(name.key for name in names), *("t/s/tree/" + n * 32 for n in "12")]
    assert [key for key in held() if not key.endswith(".tmp")] == sorted(every)
    area.objects.remove([names[0].key, first])
    area.snapshots()
    area.chunk_segments(True)
    assert held() == sorted(["t/s/snapshots/.new.1.1.tmp", second, names[1].key, "t/s/tree/" + "2" * 32])
    assert area.manifest(names[1]).id == names[1].id


def test_an_append_only_repository_removes_nothing(store: MemoryStore) -> None:
    made(store, append_only=True).objects.put("t/s/x", b"")
    with pytest.raises(DunlinError, match="append-only") as error:
        opened(store).objects.remove(["t/s/x"])
    assert error.value.kind is ErrorKind.DENIED


@pytest.mark.parametrize(
    "name", ["", "A", "a/b", "..", "a..b", "-a", "a-", ".a", "packs", "tree", "a" * 64, "é", "a b", "a\n"]
)
def test_odd_names_are_refused(name: str) -> None:
    with pytest.raises(DunlinError) as error:
        check_name("share", name)
    assert error.value.kind is ErrorKind.USAGE


@pytest.mark.parametrize("name", ["a", "0", "my-share", "v1.2_x", "a" * 63])
def test_plain_names_are_taken(name: str) -> None:
    assert check_name("share", name) == name
