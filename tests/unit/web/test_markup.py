"""Elements are escaped, whatever their text is."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from dunlin.web.markup import Safe, el, inner, text
from tests.unit.web.made import HOSTILE


class Parsed(HTMLParser):
    """What a browser would make of markup."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.mark.parametrize("name", HOSTILE)
def test_text_and_attributes_hold_no_markup(name: str) -> None:
    markup = el("td", name, title=name).markup
    found = Parsed(markup)
    assert [tag for tag, _ in found.tags] == ["td"]
    assert list(found.tags[0][1]) == ["title"]
    assert "".join(found.words) == found.tags[0][1]["title"]
    markup.encode("utf-8")


def test_what_cannot_be_printed_is_shown() -> None:
    assert text("a\x00b\udcffc\u202ed\ne") == "a\\x00b\\xffc\\u202ed\\ne"


def test_children() -> None:
    made = el("p", "a<", 1, None, 2.5, Safe("<b>x</b>"), ["y", (Safe("<i>"), "z")])
    assert made.markup == "<p>a&lt;12.5<b>x</b>y<i>z</p>"
    assert inner(()) == ""


def test_attributes() -> None:
    made = el("a", class_="c", data_v=3, hidden=True, title=None, tabindex=0, open=False)
    assert made.markup == '<a class="c" data-v="3" hidden tabindex="0"></a>'
    assert el("meta", charset="utf-8").markup == '<meta charset="utf-8">'
