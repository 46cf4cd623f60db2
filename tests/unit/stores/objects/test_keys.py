"""Keys and paths: one path for every key, one key for every path, and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dunlin.errors import DunlinError, ErrorKind
from dunlin.stores.objects.keys import EMPTY, ESCAPE, component_of, key_of, name_of, path_of

ODD = st.text(alphabet=f"a.2e0_{ESCAPE}\0", max_size=8) | st.from_regex(
    rf"(\.|{ESCAPE}2e)dunlin-[0a{ESCAPE}\0\n]{{0,3}}\.(tmp|part|x)", fullmatch=True
)
COMPONENTS = ODD | st.text(st.characters(exclude_characters="/", exclude_categories=["Cs"]), max_size=12)
KEYS = st.lists(COMPONENTS, min_size=1, max_size=5).map("/".join).filter(bool)


@given(COMPONENTS)
def test_a_component_comes_back(component: str) -> None:
    name = name_of(component)
    assert component_of(name) == component
    assert name not in ("", ".", "..")
    assert "\0" not in name


@given(ODD, ODD)
def test_two_components_never_share_a_name(one: str, other: str) -> None:
    assert (name_of(one) == name_of(other)) is (one == other)


@given(KEYS.filter(lambda key: key.split("/") != [""]))
def test_a_key_comes_back_and_its_path_holds_only_names(key: str) -> None:
    path = path_of(key)
    assert key_of(path) == key
    assert all(name not in ("", ".", "..") and "\0" not in name for name in path.split("/"))


@given(st.lists(ODD, min_size=1, max_size=3).map("/".join).filter(bool))
def test_a_path_has_the_one_key_or_none(path: str) -> None:
    try:
        key = key_of(path)
    except DunlinError as error:
        assert error.kind is ErrorKind.NAME  # noqa: PT017 - most have none
    else:
        assert (path_of(key) or EMPTY) == path


@given(st.lists(st.text("abz-_0 %+~", min_size=1, max_size=5), min_size=1, max_size=4).map("/".join))
def test_ordinary_keys_are_their_own_paths(key: str) -> None:
    assert path_of(key) == key == key_of(key)


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("a//b", f"a/{EMPTY}/b"),
        ("/lead", f"{EMPTY}/lead"),
        ("dir/", f"dir/{EMPTY}"),
        ("../x", f"{ESCAPE}2e./x"),
        ("./x", f"{ESCAPE}2e/x"),
        ("...", "..."),
        ("nul\0", f"nul{ESCAPE}00"),
        (EMPTY, f"{ESCAPE}{ESCAPE}_"),
        ("d/.dunlin-1-2.tmp", f"d/{ESCAPE}2edunlin-1-2.tmp"),
        (".dunlin-1-2.part/x", f"{ESCAPE}2edunlin-1-2.part/x"),
        (f"{ESCAPE}2edunlin-1-2.tmp", f"{ESCAPE}{ESCAPE}2edunlin-1-2.tmp"),
        (".dunlin-notes.txt", ".dunlin-notes.txt"),
        (f"it{ESCAPE}s", f"it{ESCAPE}s"),
    ],
)
def test_the_table_of_escapes(key: str, path: str) -> None:
    assert path_of(key) == path
    assert key_of(path) == key


@pytest.mark.parametrize(
    "path", ["..", "a/../b", "/lead", "a/", "nul\0", ".dunlin-1.tmp", "\udcff", f"{ESCAPE}41", f"{ESCAPE}{ESCAPE}"]
)
def test_paths_without_a_key(path: str) -> None:
    with pytest.raises(DunlinError) as error:
        key_of(path)
    assert error.value.kind is ErrorKind.NAME
