"""The harness measures what it says: pytest bench/test_harness.py."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from bench import docs, stub
from bench.context import Context, alternate
from bench.measure import Failed, Measured, run
from bench.results import Row, at_least, at_most, load, save
from bench.rows.objects import blob_sizes
from bench.trees import Tree, build, check_copy

BURN = "import time\nwhile time.process_time() < 0.3: pass\n"


def python(tmp_path: Path, code: str, expect: int = 0) -> Measured:
    return run([sys.executable, "-c", code], output=tmp_path / "out", expect=expect)


def test_cpu_of_children_is_counted_also_when_nobody_waited_for_them(tmp_path: Path) -> None:
    waited = python(tmp_path, f"import os\npid = os.fork()\n{BURN}if pid: os.wait()")
    assert waited.cpu >= 0.6
    assert waited.leftover == 0
    left = python(
        tmp_path,
        f"import os\nif os.fork() == 0:\n  os.setsid()\n  if os.fork() == 0:\n    exec({BURN!r})",
    )
    assert left.cpu >= 0.3
    assert left.leftover >= 1


def test_memory_is_the_sum_of_all_processes_with_shared_pages_once(tmp_path: Path) -> None:
    code = "import os, time\nbig = bytearray(b'x') * 50_000_000\npid = os.fork()\ntime.sleep(2)\nif pid: os.wait()"
    shared = python(tmp_path, code)
    assert 50e6 < shared.peak_pss < 90e6
    assert shared.peak_rss > 100e6
    own = python(
        tmp_path,
        "import os, time\npid = os.fork()\nbig = bytearray(b'x') * 50_000_000\ntime.sleep(2)\nif pid: os.wait()",
    )
    assert own.peak_pss > 100e6
    assert own.processes == 2


def test_a_command_that_fails_is_told_with_its_output(tmp_path: Path) -> None:
    with pytest.raises(Failed, match=r"(?s)ended with 5.*what it said"):
        python(tmp_path, "print('what it said'); raise SystemExit(5)")
    assert python(tmp_path, "raise SystemExit(5)", expect=5).code == 5


def test_a_wrong_copy_is_found(tmp_path: Path) -> None:
    tree = Tree("t", 3, 5)
    source = build(tree, tmp_path)
    copy = tmp_path / "copy"
    assert tree.count == 15

    def again() -> None:
        assert os.system(f"rm -rf {copy} && cp -a {source} {copy}") == 0

    again()
    check_copy(source, copy)
    victim = copy / "d000" / "s00001" / "file-0000003.dat"
    victim.unlink()
    with pytest.raises(Failed, match="1 missing"):
        check_copy(source, copy)
    again()
    st = victim.stat()
    victim.write_bytes(bytes(st.st_size))
    os.utime(victim, ns=(st.st_atime_ns, st.st_mtime_ns))
    with pytest.raises(Failed, match="content differs"):
        check_copy(source, copy)
    again()
    os.utime(victim)
    with pytest.raises(Failed, match="size or time"):
        check_copy(source, copy)


def test_trees_are_the_same_every_time(tmp_path: Path) -> None:
    for base in ("one", "two"):
        (tmp_path / base).mkdir()
        build(Tree("t", 2, 20, sizes=(0, 1, 70_000, 5)), tmp_path / base)
    check_copy(tmp_path / "one" / "t", tmp_path / "two" / "t")


def test_programs_take_turns_and_the_order_is_reversed(tmp_path: Path) -> None:
    seen: list[str] = []
    nothing = Measured(1, 1, 1, 1, 1, 1, 0, 0, "")

    def call(name: str) -> Measured:
        seen.append(name)
        return nothing

    row = Row("r", "t")
    context = Context(tmp_path, tmp_path, 3, False, "dunlin")
    alternate(context, row, {name: lambda name=name: call(name) for name in ("a", "b")})  # type: ignore[misc]
    assert seen == ["a", "b", "b", "a", "a", "b"]
    assert [len(runs) for runs in row.runs.values()] == [3, 3]


def test_the_page_keeps_its_free_text_and_shows_the_verdicts(tmp_path: Path) -> None:
    row = Row("small", "title", [at_least("speed", 2.5, 2), at_most("cpu", 40, 36, "µs")], machine={"cores": "2"})
    row.runs["dunlin"] = [{"wall": wall, "cpu": 2.0, "peak_pss": 5_000_000} for wall in (1.0, 3.0, 2.0)]
    assert row.median("dunlin") == 2.0
    assert load(save(row, tmp_path)) == row
    page = tmp_path / "page.md"
    page.write_text(docs.render(tmp_path, page).replace(docs.PLACEHOLDER, "It is slow on Tuesdays."))
    text = docs.render(tmp_path, page)
    assert "It is slow on Tuesdays." in text
    assert "| small | speed | 2.5 × | ≥ 2 × | PASS |" in text
    assert "| small | cpu | 40 µs | ≤ 36 µs | SHORT |" in text
    assert "| dunlin | 3 | 2 (1–3) | 2 | 5 |" in text


def listed(query: str, path: str = "/n1234") -> tuple[list[str], str]:
    """Keys, prefixes and token of one page of the made-up listing."""
    answer = stub.Stub.answer(server, "GET", f"{path}?{query}")
    assert answer.startswith(b"HTTP/1.1 200")
    text = answer.decode("utf-8-sig", "replace")
    token = re.search(r"<(?:NextContinuationToken|NextMarker)>([^<]+)<", text)
    listing = text.partition("</Prefix>")[2]
    return re.findall(r"<(?:Key|Prefix|Name)>([^<]+)<", listing), token[1] if token else ""


server = stub.Stub()


@pytest.mark.parametrize(
    ("path", "most", "token"),
    [("/n1234", "max-keys", "continuation-token"), ("/account/n1234", "maxresults", "marker")],
)
def test_the_made_up_listing_has_every_key_once_and_in_order(path: str, most: str, token: str) -> None:
    keys, next_page = listed(f"{most}=500", path)
    while next_page:
        more, next_page = listed(f"{most}=500&{token}={next_page}", path)
        keys += more
    assert keys == sorted(stub.key(number) for number in range(1234))


def test_the_made_up_listing_knows_prefixes_and_delimiters() -> None:
    assert listed("prefix=d000003/")[0] == [stub.key(number) for number in range(300, 400)]
    assert listed("delimiter=/")[0] == [f"d{number:06d}/" for number in range(13)]
    assert listed("prefix=d00001&max-keys=2")[0] == [stub.key(1000), stub.key(1001)]
    assert listed("start-after=d000012/file-032.dat")[0] == [stub.key(1233)]
    assert listed("prefix=e")[0] == []


def test_the_blobs_are_small_and_of_many_sizes() -> None:
    sizes = blob_sizes(10_000)
    assert 1 <= min(sizes) < 500
    assert 200_000 < max(sizes) < 1_000_000
    assert 18_000 < sum(sizes) / len(sizes) < 22_000
