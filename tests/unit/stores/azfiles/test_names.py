"""Every name has one spelling in a share, and comes back from it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dunlin.errors import DunlinError, ErrorKind
from dunlin.stores.azfiles.names import ESCAPE as E
from dunlin.stores.azfiles.names import name_of, stored, stored_path

NAME = st.text(
    st.one_of(
        st.sampled_from([E, E, *"0123456789abcdefx.:*CONnul1"]),
        st.characters(exclude_characters="/\0", exclude_categories=["Cs"]),
        st.sampled_from([chr(code) for code in range(0xDC80, 0xDD00)]),
    ),
    min_size=1,
    max_size=12,
).filter(lambda name: name not in (".", ".."))
TAKEN = re.compile(r'[^"\\/:|<>*?\x00-\x1f\x81\ud800-\udfff]+')
DEVICES = {"CON", "PRN", "AUX", "NUL", "CLOCK$", *(f"{name}{n}" for name in ("LPT", "COM") for n in range(1, 10))}


@given(NAME)
def test_there_and_back(name: str) -> None:
    made = stored(name)
    assert name_of(made) == name
    assert TAKEN.fullmatch(made)
    assert made.strip(".")
    assert made.upper() not in DEVICES


@given(NAME.filter(lambda name: TAKEN.fullmatch(name) is not None))
def test_what_somebody_else_has_named_is_found_under_that_name(there: str) -> None:
    try:
        shown = name_of(there)
        assert stored(shown) == there
    except DunlinError:
        raise AssertionError(there) from None
    except AssertionError:
        # What the service itself does not take stands in no share.
        assert there.upper() in DEVICES or not there.strip(".")


@given(NAME, NAME)
def test_two_names_never_meet(one: str, other: str) -> None:
    assert (stored(one) == stored(other)) is (one == other)


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("plain", "plain"),
        ("trailing.", "trailing."),
        ("a:b", f"a{E}3ab"),
        ("...", f"{E}2e.."),
        ("NUL", f"{E}4eUL"),
        ("nul.txt", "nul.txt"),
        ("com1", f"{E}63om1"),
        ("\udcff", f"{E}xff"),
        ("new\nline", f"new{E}0aline"),
        (f"{E}41", f"{E}41"),
        (f"{E}3a", f"{E}{E}3a"),
        (f"{E}:", f"{E}{E}{E}3a"),
    ],
)
def test_by_example(name: str, there: str) -> None:
    assert stored(name) == there
    assert name_of(there) == name


@pytest.mark.parametrize(
    "path", ["..", "a/../b", "a//b", "/a", "a/", ".", "a\0", "x" * 256, ":" * 90, "\ud800", "/".join(["x" * 200] * 11)]
)
def test_what_no_share_can_hold_is_refused(path: str) -> None:
    with pytest.raises(DunlinError) as error:
        stored_path(path)
    assert error.value.kind is ErrorKind.NAME


def test_a_path_is_stored_name_by_name() -> None:
    assert stored_path("a:/CON/plain") == f"a{E}3a/{E}43ON/plain"
    assert stored_path("") == ""
