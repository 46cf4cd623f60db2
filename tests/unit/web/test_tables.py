"""Tables: cells sort by their value, heads are aligned as their column."""

from __future__ import annotations

from dunlin.web.tables import Cell, number, table


def test_numbers() -> None:
    assert number(1234567) == Cell("1,234,567", 1234567, "num")
    assert number(2.5, lambda value: f"{value} s", "wide") == Cell("2.5 s", 2.5, "num wide")
    assert number(None) == Cell("–", -1, "num")


def test_a_table() -> None:
    markup = table(
        ("name", "size"), [[Cell("a<b", kind="path"), number(7)], [Cell("c"), number(8)]], sort=True, this=1
    ).markup
    assert markup.startswith("<table data-sort><thead><tr>")
    assert '<th scope="col">name</th><th scope="col" class="num">size</th>' in markup
    assert '<td class="path">a&lt;b</td><td data-v="7" class="num">7</td>' in markup
    assert '<tr class="this"><td>c</td>' in markup


def test_what_a_narrow_screen_does_without() -> None:
    markup = table(("a", "b"), [[Cell("x"), number(1, kind="wide")]], wide=(1,)).markup
    assert '<th scope="col" class="num wide">b</th>' in markup
    assert 'class="num wide">1</td>' in markup


def test_no_rows() -> None:
    assert "<tbody></tbody>" in table(("a",), []).markup


def test_a_stacked_table_names_the_values_of_each_row() -> None:
    rows = [[Cell("a"), Cell("1"), Cell("go")]]
    shown = table(["Name", "Size", ""], rows, stack=True).markup
    assert '<table class="stack">' in shown
    assert '<td>a</td><td data-head="Size">1</td><td>go</td>' in shown
    assert "data-head" not in table(["Name", "Size", ""], rows).markup
