"""What a dashboard has to say for itself."""

from __future__ import annotations

import pytest

from dunlin.tui.app import Dashboard
from dunlin.tui.base import Live
from dunlin.tui.service import ServiceDashboard

OWN = ("_lines", "action_move", "_back", "_searched", "_typed")


def a_dashboard(*lacks: str) -> type[Live]:
    """A dashboard that has all that is asked of one but for some methods."""
    return type("Lacking", (Live,), {name: lambda self, *_: None for name in OWN if name not in lacks})


def made(kind: type[Live]) -> Live:
    return kind(None, None, None, None, 1.0, "dark", "", False)


@pytest.mark.parametrize("lacks", OWN)
def test_a_dashboard_that_lacks_a_method_is_not_made(lacks):
    with pytest.raises(TypeError, match=rf"abstract method '?{lacks}'?"):
        made(a_dashboard(lacks))


def test_one_that_has_them_all_is_made():
    assert made(a_dashboard()).TITLE == "dunlin"


def test_what_is_asked_of_a_dashboard_is_what_both_say_for_themselves():
    assert Live.__abstractmethods__ == set(OWN)
    assert not Dashboard.__abstractmethods__ | ServiceDashboard.__abstractmethods__
