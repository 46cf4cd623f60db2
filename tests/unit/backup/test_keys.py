import threading
from typing import Any

import pytest

from dunlin.backup import keys
from dunlin.errors import DunlinError, ErrorKind

MASTER = bytes(range(32))
MADE = {
    "format": 1, "id": "ab" * 16, "chunker": {"least": 1, "average": 2, "greatest": 3}, "small": 4, "group": 5,
    "encryption": "aes-256-gcm", "append_only": False,
}  # fmt: skip
PLAIN = MADE | {"encryption": "none"}


def slot(password: bytes | None, key: bytes = MASTER, tenant: str = "", made: dict[str, Any] = MADE) -> keys.Slot:
    return keys.make_slot(made, key, password, tenant)


def opened_by(password: bytes | None, *slots: keys.Slot, **changed: Any) -> keys.Secrets:
    return keys.open_slots(MADE | {"slots": list(slots)} | changed, password)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """scrypt with its least cost: its figures stand in the slot, so nothing else changes."""
    monkeypatch.setattr(keys, "SCRYPT", {"n": 2, "r": 8, "p": 1})


def test_a_password_opens_the_master_key_and_so_every_tenant() -> None:
    opened = opened_by(b"two", slot(b"one"), slot(b"two"))
    assert opened.master == MASTER
    assert opened.sealed
    assert opened.raw("a") != opened.raw("b")


def test_a_wrong_password_is_said_and_no_password_is_asked_for() -> None:
    one = slot(b"one")
    with pytest.raises(DunlinError, match="wrong password") as wrong:
        opened_by(b"two", one)
    assert wrong.value.kind is ErrorKind.AUTH
    with pytest.raises(DunlinError, match="--password-file"):
        opened_by(None, one)


def test_slots_are_tried_while_something_else_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    config, going = MADE | {"slots": [slot(b"one")]}, threading.Event()
    inner = keys._stretch

    def stretch(*given: Any) -> bytes:
        assert going.wait(20)
        return inner(*given)

    monkeypatch.setattr(keys, "_stretch", stretch)
    opened, wrong, none = (keys.begin_slots(config, password) for password in (b"one", b"two", None))
    going.set()  # each of them was begun, and none has waited for the end of another
    assert opened().master == MASTER
    assert opened().master == MASTER
    with pytest.raises(DunlinError, match="wrong password"):
        wrong()
    with pytest.raises(DunlinError, match="--password-file"):
        none()


def test_a_tenants_password_opens_that_tenant_alone() -> None:
    whole = opened_by(b"all", slot(b"all"))
    opened = opened_by(b"only a", slot(b"all"), slot(b"only a", whole.raw("a"), "a"))
    assert opened.master is None
    assert opened.raw("a") == whole.raw("a")
    with pytest.raises(DunlinError, match="another tenant"):
        opened.tenant("b")


def test_a_wrapped_key_cannot_be_moved_into_the_slot_of_another_tenant() -> None:
    with pytest.raises(DunlinError, match="wrong password"):
        opened_by(b"only a", {**slot(b"only a", tenant="a"), "tenant": "b"})


@pytest.mark.parametrize("tenant", ["", "a"])
@pytest.mark.parametrize(
    "change",
    [
        {"id": "cd" * 16}, {"small": 5}, {"group": 6}, {"append_only": True}, {"append_only": 0}, {"format": 1.0},
        {"chunker": {"least": 1, "average": 2, "greatest": 4}},
        {"chunker": {"least": 1, "average": 2, "greatest": 3, "more": 1}},
    ],
)  # fmt: skip
def test_whoever_changes_the_configuration_shuts_every_slot(change: dict[str, Any], tenant: str) -> None:
    one = slot(b"one", tenant=tenant)
    opened_by(b"one", one)
    with pytest.raises(DunlinError, match="or its configuration was changed") as error:
        opened_by(b"one", one, **change)
    assert error.value.kind is ErrorKind.AUTH


OPEN = slot(None, bytes(32))


@pytest.mark.parametrize(
    ("encryption", "slots"),
    [
        ("aes-256-gcm", [slot(b"one"), OPEN]),
        ("aes-256-gcm", [OPEN]),
        ("aes-256-gcm", [slot(b"one"), OPEN | {"tenant": "a"}]),
        ("none", [OPEN, OPEN]),
        ("none", [slot(b"one"), OPEN]),
        ("none", [slot(b"one")]),
        ("none", [OPEN | {"tenant": "a"}]),
        ("none", ["none"]),
        ("aes-256-gcm", [None]),
    ],
)
def test_a_key_in_the_clear_counts_only_alone_and_where_nothing_is_encrypted(encryption: str, slots: Any) -> None:
    """Else who can write to the store puts his own key there, and backups go on with it."""
    for password in (b"one", None):
        with pytest.raises(DunlinError, match="do not fit its encryption") as error:
            opened_by(password, *slots, encryption=encryption)
        assert error.value.kind is ErrorKind.CORRUPT


def test_keys_differ_by_purpose_tenant_and_object() -> None:
    a = keys.TenantKeys("a", keys.derive(MASTER, b"tenant a"), sealed=True)
    b = keys.TenantKeys("b", keys.derive(MASTER, b"tenant b"), sealed=True)
    made = [a.chunk, b.chunk, a.object_key("x"), a.object_key("y"), b.object_key("x")]
    assert len(set(made)) == len(made)
    assert a.seed != b.seed


def test_what_is_not_encrypted_has_its_key_in_the_clear_and_seals_nothing() -> None:
    opened = keys.open_slots(PLAIN | {"slots": [slot(None, made=PLAIN)]}, None)
    assert opened.raw("a") == keys.derive(MASTER, b"tenant a")
    assert opened.tenant("a").object_key("x") is None


@pytest.mark.parametrize(
    "change", [{"n": 1 << 40}, {"salt": "xyz"}, {"nonce": None}, {"wrapped": "00"}, {"p": 10**9}, {"n": "2"}]
)
def test_a_damaged_slot_is_no_reason_to_take_all_memory(change: dict[str, object]) -> None:
    with pytest.raises(DunlinError) as error:
        opened_by(b"one", {**slot(b"one"), **change})
    assert error.value.kind in (ErrorKind.CORRUPT, ErrorKind.AUTH)


def test_a_slot_of_a_kind_that_is_not_known_is_of_a_newer_dunlin() -> None:
    with pytest.raises(DunlinError) as error:
        opened_by(b"one", {**slot(b"one"), "kdf": "argon9"})
    assert error.value.kind is ErrorKind.NEWER


def test_scrypt_is_expensive_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    one = slot(b"one")
    assert 128 * one["n"] * one["r"] >= 32 << 20
    assert opened_by(b"one", one).master == MASTER
