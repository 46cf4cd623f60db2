"""Colours can be read: contrast as the Web Content Accessibility Guidelines 2.2 measure it (1.4.3, 1.4.11)."""

from __future__ import annotations

from itertools import product

import pytest

from dunlin.web.palette import DARK, GROUNDS, LIGHT, TEXTS, style


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_the_measure() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize(("colours", "text", "ground"), list(product((LIGHT, DARK), TEXTS, GROUNDS)))
def test_text_on_its_ground(colours: dict[str, str], text: str, ground: str) -> None:
    assert contrast(colours[text], colours[ground]) >= 4.5


MARKS = ("accent", "files", "bad", "dim", "fair")


@pytest.mark.parametrize(("colours", "mark"), list(product((LIGHT, DARK), MARKS)))
def test_marks_on_the_ground_of_charts(colours: dict[str, str], mark: str) -> None:
    assert contrast(colours[mark], colours["pale"]) >= 3


def test_both_sets_have_the_same_colours() -> None:
    assert LIGHT.keys() == DARK.keys()
    assert all(f"--{name}:{colour};" in style() for each in (LIGHT, DARK) for name, colour in each.items())
