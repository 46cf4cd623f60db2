"""passwords: kept so that nobody reads them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from dunlin.queue.ledger.passwords import N, P, R, fits_password, kept_password, kept_token, token


def test_a_password_fits_what_was_kept_of_it_with_the_real_settings() -> None:
    kept = kept_password("correct horse é")
    assert kept.startswith(f"scrypt${N}${R}${P}$")
    assert 128 * N * R == 32 << 20
    assert fits_password("correct horse é", kept)
    assert not fits_password("correct horse", kept)


def test_two_users_with_one_password_share_nothing() -> None:
    one, two = kept_password("x", n=16), kept_password("x", n=16)
    assert one != two
    assert fits_password("x", one)
    assert fits_password("x", two)


def test_older_settings_are_still_understood() -> None:
    assert fits_password("x", kept_password("x", n=4, r=1, p=1))


def test_what_was_not_kept_by_us_fits_nothing() -> None:
    good = kept_password("x", n=16)
    other = [good.replace("$16$", f"${n}$") for n in ("15", "0", "-1", "x", "1073741824")]
    for kept in ("", "x", "bcrypt" + good[6:], good[:-2], good + "$", *other):
        assert not fits_password("x", kept), kept


def test_a_crowd_at_the_login_takes_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    here, most, lock = 0, 0, threading.Lock()
    third = threading.Event()

    def scrypt(*_: object, **__: object) -> bytes:
        nonlocal here, most
        with lock:
            here += 1
            most = max(most, here)
            if here > 2:
                third.set()
        third.wait(0.02)  # a third one would come in meanwhile
        with lock:
            here -= 1
        return b"x" * 32

    monkeypatch.setattr("hashlib.scrypt", scrypt)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(kept_password, "abcdefgh"))
    assert most <= 2


def test_tokens_are_long_and_different() -> None:
    made = {token() for _ in range(50)}
    assert len(made) == 50
    assert all(len(one) == 43 for one in made)
    assert kept_token("a") != kept_token("b")
    assert len(kept_token("\udcff")) == 32
