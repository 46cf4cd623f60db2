"""Which keys there may be."""

from __future__ import annotations

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.jobs.publish_keys import as_key, check_key, is_allowed, key_fault


@pytest.mark.parametrize("key", ["a", "store/bin/bash", "é", "a b", "...", "a..b", ".hidden", "k" * 1024, "\u00a0"])
def test_good_keys(key: str) -> None:
    assert key_fault(key) == ""


@pytest.mark.parametrize(
    ("key", "fault"),
    [
        ("", "empty"),
        ("k" * 1025, "1025 bytes"),
        ("é" * 513, "1026 bytes"),
        ("store/../etc", "component"),
        ("..", "component"),
        ("./a", "component"),
        ("a/.", "component"),
        ("/lead", "empty name"),
        ("trail/", "empty name"),
        ("a//b", "empty name"),
        ("a\\b", "backslash"),
        ("a\nb", "control"),
        ("a\0b", "control"),
        ("\x7f", "control"),
        ("a\u0085", "control"),
        ("\udc80", "UTF-8"),
    ],
)
def test_bad_keys(key: str, fault: str) -> None:
    assert fault in key_fault(key)
    with pytest.raises(DunlinError) as caught:
        check_key(key, [key[:1]])
    assert caught.value.kind is ErrorKind.USAGE


def test_keys_outside_the_prefixes_are_denied() -> None:
    check_key("nix/a", ("store/", "nix/"))
    with pytest.raises(DunlinError) as caught:
        check_key("storehouse", ("store/", "nix/"))
    assert caught.value.kind is ErrorKind.DENIED
    assert caught.value.where == ""
    assert caught.value.reason == "key not allowed: must start with allowed prefix"
    assert not is_allowed("a", ())


def test_separators_of_windows_become_slashes() -> None:
    assert as_key("store\\bin/a") == "store/bin/a"
