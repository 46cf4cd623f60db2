"""The page about a run: what it says, that it needs nothing else, that no name gets out of its place."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from dunlin.model import Stats
from dunlin.web.history import MARK, page
from tests.unit.web.made import HOSTILE, Made, begin, empty, long_run, write
from tests.unit.web.test_markup import Parsed


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Made]:
    found = empty(tmp_path / "state.db")
    yield found
    found.state.close()


@pytest.fixture
def long(made: Made) -> str:
    return page(made.history(long_run(made).id), "1.2.3")


def test_it_says_what_happened(long: str) -> None:
    words = " ".join(Parsed(long).words)
    for expected in (
        "Run 13: Done, but 3 files failed",
        "783 files copied (27.8 GiB), 147,428 already in sync in 10m00s",
        "file:///srv/photos", "s3://archive/photos", "slowed down: cpu 91%", "2023/12/movie.mov",
        "2019/raw/IMG_0002.raw", "Permission denied",
        "12 files are not deleted: a source error", "dunlin 1.2.3",
    ):  # fmt: skip
        assert expected in words


def test_it_needs_nothing_else(long: str) -> None:
    assert long.startswith(MARK)
    tags = Parsed(long).tags
    assert {"link", "img", "iframe", "object", "embed", "base", "form", "use"}.isdisjoint({tag for tag, _ in tags})
    assert not [name for _, attributes in tags for name in attributes if name in ("src", "href", "srcset", "action")]
    assert "url(" not in long
    assert "@import" not in long


def test_its_policy_lets_only_its_own_style_and_script_in(long: str) -> None:
    policy = next(a["content"] for tag, a in Parsed(long).tags if tag == "meta" and "http-equiv" in a)
    for tag in ("style", "script"):
        [content] = re.findall(f"<{tag}>(.*?)</{tag}>", long, re.DOTALL)
        value = base64.b64encode(sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{value}'" in (policy or "")
    assert (policy or "").startswith("default-src 'none';")
    # The policy forbids these; a page that had them would look broken.
    assert not [a for _, a in Parsed(long).tags if "style" in a or any(name.startswith("on") for name in a)]


def test_names_stay_names(made: Made) -> None:
    run = long_run(made, HOSTILE)
    write(made, run, "<i>dir</i>\udcfe", {name.replace("/", "_"): 10**12 for name in HOSTILE})
    text = page(made.history(run.id), "1")
    text.encode("utf-8")
    plain = Parsed(page(made.history(1), "1"))
    found = Parsed(text)
    assert [tag for tag, _ in found.tags].count("script") == 1
    drawn = {"ul", "li", "details", "summary", "path", "line", "rect", "svg", "desc", "h3", "dl", "p"}
    assert {tag for tag, _ in found.tags} - {tag for tag, _ in plain.tags} <= drawn
    assert not [a for _, a in found.tags if any(name.startswith("on") for name in a)]
    words = " ".join(found.words)
    assert "2019/raw/<script>alert(1)</script>" in words
    assert "turned\\u202egnp.exe" in words
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202e]", text)


def test_nothing_of_the_options_but_what_is_meant_for_people(made: Made) -> None:
    run = begin(made, 0, account_key="hunter2", rules="0f0f0f")
    made.state.finish_run(run.id, "completed", Stats(copied_files=1))
    text = page(made.history(run.id), "1")
    assert "blake3" in text
    for hidden in ("hunter2", "0f0f0f", "abcd1234", "4711", "account_key"):
        assert hidden not in text


@pytest.mark.parametrize("status", ["completed", "failed", "interrupted", None])
def test_a_run_of_which_little_is_known(made: Made, status: str | None) -> None:
    run = begin(made, 0)
    if status:
        made.state.finish_run(run.id, status, Stats(), "cannot <write>")
    text = page(made.history(run.id), "1")
    assert "no samples are on record" in text.lower()
    assert "There are none of this pair on record" in text
    assert ("cannot &lt;write&gt;" in text) == bool(status)


def test_a_sample_is_called_one(made: Made) -> None:
    run = begin(made, 0)
    write(made, run, "a", {"f": 1})
    made.state.finish_run(run.id, "completed", Stats(copied_files=1))
    found = made.history(run.id)
    sampled = found._replace(survey=found.survey._replace(looked=1, total=8, whole=False))
    assert "From a sample: 1 of 8 directories" in page(sampled, "1")
    assert "From a sample" not in page(found, "1")


def test_every_chart_has_a_name_and_a_table(long: str) -> None:
    charts = [a for tag, a in Parsed(long).tags if tag == "svg" and a.get("role") == "img"]
    assert [chart["aria-label"].partition(":")[0] for chart in charts if chart["aria-label"]] == [
        "Bytes per second", "Files per second", "Time of each run",
    ]  # fmt: skip
    assert all(a.get("aria-hidden") == "true" for tag, a in Parsed(long).tags if tag == "svg" and "role" not in a)
    assert "The figures as a table" in long
