from __future__ import annotations

import pickle
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dunlin import model
from dunlin.errors import DunlinError, ErrorKind
from dunlin.filters import Rule, Selection, parse_rules, read_files, read_rules
from dunlin.model import Kind
from dunlin.pace.sizes import parse_age, parse_size

DOCUMENT = Path(__file__).parents[2] / "docs" / "filters.md"


def rules(*lines: str) -> tuple[Rule, ...]:
    return tuple(Rule(line[0] == "+", line[2:]) for line in lines)


def takes_part(selection: Selection, path: str) -> bool:
    """As a crawl sees it: every parent is asked first. A trailing slash marks a directory."""
    directory, parts = "", path.rstrip("/").split("/")
    for depth, name in enumerate(parts, 1):
        kind = depth < len(parts) or path.endswith("/")
        if not selection.depth_ok(depth) or not selection.matcher(directory)(name, kind):
            return False
        directory = model.join(directory, name)
    return True


# ---- a slow matcher that is obviously right ----


def glob(pattern: str, path: str) -> bool:
    if not pattern:
        return not path
    if match := re.match(r"/\*\*+(?=/)", pattern):
        return (
            any(path[i] == "/" and glob(pattern[match.end() :], path[i:]) for i in range(len(path))) and path[0] == "/"
        )
    if pattern.startswith("**"):
        return any(glob(pattern.lstrip("*"), path[i:]) for i in range(len(path) + 1))
    if pattern[0] == "*":
        return any("/" not in path[:i] and glob(pattern[1:], path[i:]) for i in range(len(path) + 1))
    if pattern[0] == "[":
        inside, _, rest = pattern[1:].partition("]")
        if not path or path[0] == "/" or (path[0] in inside.lstrip("!")) == inside.startswith("!"):
            return False
        return glob(rest, path[1:])
    if not path:
        return False
    if pattern[0] == "?":
        return path[0] != "/" and glob(pattern[1:], path[1:])
    if pattern[0] == "\\":
        return path[0] == pattern[1] and glob(pattern[2:], path[1:])
    return path[0] == pattern[0] and glob(pattern[1:], path[1:])


def slow(pattern: str, path: str, is_directory: bool) -> bool:
    body = pattern.rstrip("/")
    if pattern.endswith("/") and not is_directory:
        return False
    if body.endswith("/***"):
        itself = body.removesuffix("/***") + "/"
        return slow(itself, path, is_directory) or slow(pattern.replace("/***", "/**"), path, is_directory)
    if body.startswith("/"):
        return glob(body, f"/{path}")
    if "/" not in body and "**" not in body:
        return glob(body, path.rpartition("/")[2])
    whole = f"/{path}"
    return any(glob(f"/{body}", whole[i:]) for i in range(len(whole)) if whole[i] == "/")


NAMES = st.text("ab*.", min_size=1, max_size=3).filter(lambda name: name not in (".", ".."))
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
PARTS = st.lists(st.sampled_from(["a", "b", ".", "*", "?", "[ab]", "[!a]", r"\*", "**"]), min_size=1, max_size=4).map(
    "".join
)
PATTERNS = st.builds(
    lambda start, parts, end: start + "/".join(parts) + end,
    st.sampled_from(["", "", "/", "**/", "/**/"]),
    st.lists(PARTS | st.sampled_from(["**", "a", "*"]), min_size=1, max_size=3).filter(
        lambda p: not {".", ".."} & {*p}
    ),
    st.sampled_from(["", "", "/", "/**", "/***"]),
).filter(lambda pattern: "***" not in pattern.removesuffix("/***"))


@given(pattern=PATTERNS, path=PATHS, is_directory=st.booleans())
def test_patterns_agree_with_the_slow_matcher(pattern: str, path: str, is_directory: bool) -> None:
    directory, _, name = path.rpartition("/")
    matched = not Selection(rules("- " + pattern)).matcher(directory)(name, is_directory)
    assert matched == slow(pattern, path, is_directory)


STARS = re.compile(r"[*/]*[*]")


@given(lines=st.lists(st.tuples(st.booleans(), PATTERNS), max_size=7), path=PATHS, is_directory=st.booleans())
def test_the_first_match_wins(lines: list[tuple[bool, str]], path: str, is_directory: bool) -> None:
    assume(not any(STARS.fullmatch(pattern) for include, pattern in lines if not include))
    directory, _, name = path.rpartition("/")
    selection = Selection(tuple(Rule(*line) for line in lines))
    expected = next((include for include, pattern in lines if slow(pattern, path, is_directory)), True)
    assert selection.matcher(directory)(name, is_directory) == expected
    assert pickle.loads(pickle.dumps(selection)).matcher(directory)(name, is_directory) == expected


@given(
    includes=st.lists(PATTERNS, min_size=1, max_size=3),
    path=PATHS,
    everything=st.sampled_from(["*", "**", "/**", "**/*"]),
)
def test_stars_never_hide_what_an_include_before_them_names(includes: list[str], path: str, everything: str) -> None:
    selection = Selection((*(Rule(True, pattern) for pattern in includes), Rule(False, everything)))
    included = any(slow(pattern, path, False) for pattern in includes)
    assert takes_part(selection, path) == included
    assert selection.explain(path, False).takes_part == included


@given(
    lines=st.lists(st.tuples(st.booleans(), PATTERNS | st.sampled_from(["*", "/*", "*/"])), max_size=5),
    files=st.none() | st.frozensets(PATHS, max_size=4),
    depth=st.none() | st.integers(1, 3),
    path=PATHS,
    is_directory=st.booleans(),
)
def test_explaining_agrees_with_deciding(
    lines: list[tuple[bool, str]], files: frozenset[str] | None, depth: int | None, path: str, is_directory: bool
) -> None:
    selection = Selection(tuple(Rule(*line) for line in lines), files, max_depth=depth)
    decision = selection.explain(path, is_directory)
    assert decision.takes_part == takes_part(selection, path + "/" * is_directory)
    if decision.rule is not None:
        assert decision.rule.include == decision.takes_part


@pytest.mark.parametrize(
    ("include", "entered", "closed"),
    [
        ("x", "q/ q/r/", ""),
        ("a/x", "q/ q/r/", ""),
        ("**x", "q/ q/r/", ""),
        ("/**/x", "q/ q/r/", ""),
        ("/x", "", "q/ x/q/"),
        ("/a/x", "a/", "b/ a/y/ q/a/"),
        ("/a/x/", "a/ a/x/", "b/ a/y/ a/x/y/"),
        ("/a/b*/c", "a/ a/b/ a/bx/", "b/ a/c/ a/bx/d/"),
        ("/a/**", "a/ a/b/c/", "b/ ab/"),
        ("/a/***", "a/ a/b/c/", "b/ ab/"),
        ("/a/**/x", "a/ a/b/ a/b/c/", "b/ ab/"),
        ("/a**z", "a/ ab/ ab/c/", "b/ b/a/"),
        ("/q/a**z", "q/ q/ab/c/", "a/ q/b/"),
        ("/a?/x", "ab/", "a/ abc/"),
    ],
)
def test_an_exclude_of_stars_keeps_out_what_no_include_can_reach(include: str, entered: str, closed: str) -> None:
    for last in ((), ("+ *.txt",)):  # an include behind the exclude opens nothing
        selection = Selection(rules("+ " + include, "- *", *last))
        assert [path for path in (entered + " " + closed).split() if takes_part(selection, path)] == entered.split()


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("*.o", "a.o x/y/b.o .o d.o/", "a.oo a.o.c"),
        ("/a", "a a/", "x/a"),
        ("a/b", "a/b x/a/b", "xa/b a/x/b"),
        ("/a/b", "a/b", "x/a/b"),
        ("a/", "a/ x/a/", "a x/a"),
        ("a?c", "abc aéc", "ac abbc"),
        ("**/a", "a x/a x/y/a", "xa"),
        ("/**/a", "a x/a x/y/a", "xa"),
        ("a/**/b", "a/b a/x/b a/x/y/b x/a/b", "a/xb ab"),
        ("a/**", "a/b a/b/c x/a/b", "a a/ ab"),
        ("/a/***", "a/ a/b a/b/c", "a x/a/ ab"),
        ("a***b", "ab axb ax/yb", "abx"),
        ("/*/x", "a/x", "x a/b/x"),
        ("/a**z", "az axz a/z ab/cz", "xaz a/zz/y"),
        ("[a-c]x", "ax cx", "dx -x"),
        ("[!a-c]x", "dx -x", "ax"),
        ("[^a-c]x", "dx", "bx"),
        ("[]-]x", "]x -x", "ax"),
        (r"[\]a]x", "]x ax", r"\x"),
        ("[[:digit:]_]x", "0x _x", "ax dx"),
        ("/a[,-0]b", "a.b a,b", "a/b"),
        (r"\*", "*", "a"),
        (r"a\\b", "a\\b", "ab"),
        ("a//b/", "a/b/", "a/b"),
        ("(a|b)+", "(a|b)+", "a b"),
        ("*", "\udcff x\ny", ""),
        ("?x", "\udcffx", "x"),
    ],
)
def test_patterns(pattern: str, yes: str, no: str) -> None:
    selection = Selection(rules("- " + pattern))
    for paths, expected in ((yes, True), (no, False)):
        for path in paths.split(" "):
            directory, _, name = path.rstrip("/").rpartition("/")
            if name:
                assert (not selection.matcher(directory)(name, path.endswith("/"))) is expected, path


def test_ignoring_case() -> None:
    names = ["readme.MD", "README.md", "Ärger.md", "x.txt"]
    for ignore, expected in ((False, [True, False, True, True]), (True, [False, False, False, True])):
        takes = Selection(rules("+ ärgern", "- R*.md", "- ärger.*"), ignore_case=ignore).matcher("")
        assert [takes(name, False) for name in names] == expected


def test_a_pattern_with_many_stars_does_not_take_for_ever() -> None:
    takes = Selection(rules("- " + "*a" * 30 + "*b")).matcher("")
    assert takes("a" * 255, False)
    assert not takes("a" * 254 + "b", False)


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("", "empty"),
        ("/", "the root itself"),
        ("//", "the root itself"),
        ("a[b", "[ without ]"),
        ("[]", "[ without ]"),
        ("[a/b]", "[ without ]"),
        ("[z-a]", "z-a is empty"),
        ("[[:nope:]]", "no class of characters"),
        ("a\\", "backslash at the end"),
        ("[a\\", "[ without ]"),
        ("./a", "no path has a part '.'"),
        ("a/../b", "no path has a part '..'"),
    ],
)
def test_patterns_that_cannot_be_read(pattern: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(DunlinError) as caught:
        parse_rules([("exclude", "*.o"), ("include", pattern)])
    assert caught.value.kind is ErrorKind.USAGE
    assert reason in str(caught.value)
    assert "--include: pattern" in str(caught.value)
    with pytest.raises(DunlinError):
        Selection(rules("- " + pattern))
    file = tmp_path / "rules"
    file.write_text(f"# first\n- {pattern}x\n+ ok\n" if pattern.strip("/") else f"#\n- {pattern or '/'}\n")
    if pattern not in ("a\\", "[]"):  # with an x behind them these are something else
        with pytest.raises(DunlinError, match="line 2") as caught:
            read_rules(str(file), "")
        assert caught.value.kind is ErrorKind.CONFIG
        assert caught.value.where == str(file)


def test_rules_keep_the_order_of_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "more"
    file.write_bytes("\ufeff# comment\r\n\r\n*.log  \r\n+ keep\\ \r\n- two words\r\n\\#odd\n".encode() + b"bad\xff\n")
    found = parse_rules([("include", "a"), ("exclude-from", str(file)), ("exclude", "z")])
    assert [str(rule).partition(" (")[0] for rule in found] == [
        "+ a", "- *.log", "+ keep\\ ", "- two words", "- \\#odd", "- bad\\xff", "- z",
    ]  # fmt: skip
    assert found[1].origin == f"{file} line 3"
    assert found[5].pattern == "bad\udcff"
    assert not Selection(found).matcher("")("bad\udcff", False)
    assert Selection(found).matcher("")("keep ", False)


def test_an_exclamation_mark_forgets_what_came_before(tmp_path: Path) -> None:
    file = tmp_path / "rules"
    file.write_text("- x\n!\n- y\n")
    assert [rule.pattern for rule in parse_rules([("exclude", "a"), ("filter-from", str(file)), ("exclude", "b")])] == [
        "y",
        "b",
    ]


def test_a_filter_file_needs_signs(tmp_path: Path) -> None:
    file = tmp_path / "rules"
    file.write_text("+ a\n*.o\n")
    with pytest.raises(DunlinError) as caught:
        read_rules(str(file), "")
    assert (
        str(caught.value)
        == f"cannot use the rules in {file}: line 2: '*.o' has no sign; begin with '+ ', '- ', '#' or '!'"
    )
    assert [rule.include for rule in read_rules(str(file), "+")] == [True, True]


@pytest.mark.parametrize("read", [lambda path: read_rules(path, ""), read_files])
def test_a_missing_file_is_named(read: Callable[[str], object], tmp_path: Path) -> None:
    with pytest.raises(DunlinError, match="No such file") as caught:
        read(str(tmp_path / "gone"))
    assert caught.value.kind is ErrorKind.CONFIG
    assert caught.value.exit_code == 1


def test_an_unknown_option_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="min-size"):
        parse_rules([("min-size", "3")])


def test_a_list_of_files(tmp_path: Path) -> None:
    file = tmp_path / "list"
    file.write_bytes(b"# comment\n\n./a/b.txt\n/c/\r\nd//e\n./#odd\nraw\xff\n")
    assert read_files(str(file)) == {"a/b.txt", "c", "d/e", "#odd", "raw\udcff"}
    file.write_bytes(b"a\nb\0#c\0")
    assert read_files(str(file)) == {"a\nb", "#c"}
    file.write_bytes(b"a\nb/../../c\n")
    with pytest.raises(DunlinError, match=r"line 2.*leads out"):
        read_files(str(file))


def test_listed_files_their_parents_and_what_lies_below_listed_directories() -> None:
    selection = Selection(rules("- *.o"), frozenset({"a/b/f", "c", "x.o"}))
    asked = ["a/", "a/b/", "a/b/f", "a/b/g", "a/h", "c", "c/", "c/d/e", "c/d/e.o", "x.o", "y", "b/"]
    assert [path for path in asked if takes_part(selection, path)] == ["a/", "a/b/", "a/b/f", "c", "c/", "c/d/e"]
    assert "not in the list" in selection.explain("a/h", False).reason
    assert takes_part(Selection(files=frozenset({""})), "any/thing")
    assert not takes_part(Selection(files=frozenset()), "any")
    assert not Selection(files=frozenset({"a/b"})).matcher("")("a", False)  # a file where the list has a directory


FILE = model.facts(Kind.FILE, 100, 5000)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [({}, True),
     ({"min_size": 100}, True), ({"min_size": 101}, False), ({"max_size": 100}, True), ({"max_size": 99}, False),
     ({"newer_than": 5000}, True), ({"newer_than": 5001}, False),
     ({"older_than": 5000}, True), ({"older_than": 4999}, False)],
)  # fmt: skip
def test_sizes_and_ages_concern_regular_files(limits: dict[str, int], expected: bool) -> None:
    selection = Selection(**limits)  # type: ignore[arg-type]
    assert selection.takes(FILE) is expected
    assert selection.sized is bool(limits)
    assert all(selection.takes(model.facts(kind, 100, 5000)) for kind in Kind if kind is not Kind.FILE)
    unknown = (FILE[model.MODE], None, None, *FILE[3:])
    assert selection.takes(unknown)


def test_depth_counts_from_one_in_the_root() -> None:
    selection = Selection(max_depth=2)
    assert [selection.depth_ok(depth) for depth in (1, 2, 3)] == [True, True, False]
    assert Selection().depth_ok(10**6)
    assert selection.explain("a/b/c", False).reason == "deeper than 2 levels"
    assert selection.explain("a/b/c/d", False).reason == "its parent a/b/c: deeper than 2 levels"


def test_everything_means_nothing_is_configured() -> None:
    assert Selection().everything
    assert Selection(ignore_case=True).everything
    for other in (Selection(rules("+ a")), Selection(files=frozenset()), Selection(min_size=0), Selection(max_depth=1)):
        assert not other.everything


def test_explaining_in_words() -> None:
    selection = Selection(parse_rules([("include", "keep.o"), ("exclude", "*.o"), ("exclude", "tmp/")]))
    assert selection.explain("a/keep.o", False).reason == "included by + keep.o (--include)"
    assert selection.explain("a/x.o", False).reason == "excluded by - *.o (--exclude)"
    assert selection.explain("a/tmp/x", False).reason == "its parent a/tmp: excluded by - tmp/ (--exclude)"
    assert selection.explain("a/x", False).reason == "no rule matches"


def test_the_fingerprint_follows_what_selects() -> None:
    different = [
        Selection(),
        Selection(rules("- a")),
        Selection(rules("+ a")),
        Selection(rules("- a", "- b")),
        Selection(rules("- b", "- a")),
        Selection(rules("- a"), ignore_case=True),
        Selection(files=frozenset()),
        Selection(files=frozenset({"a"})),
        Selection(files=frozenset({"a", "\udcff"})),
        Selection(min_size=1),
        Selection(max_size=1),
        Selection(newer_than=1),
        Selection(older_than=1),
        Selection(newer_than=1, ages=("7d", "")),
        Selection(newer_than=1, ages=("", "7d")),
        Selection(max_depth=1),
    ]
    prints = [selection.fingerprint() for selection in different]
    assert len(set(prints)) == len(prints)
    assert Selection().fingerprint() == "2713684d86aa1ddb20acaa17c86b183e"  # kept in state files: must never change
    assert Selection()._digest() == Selection().fingerprint()  # written out and computed
    assert (
        Selection(newer_than=1, ages=("7d", "")).fingerprint() == Selection(newer_than=2, ages=("7d", "")).fingerprint()
    )
    assert Selection((Rule(False, "a", "here"),)).fingerprint() == Selection((Rule(False, "a", "there"),)).fingerprint()


def test_many_kinds_of_directories_do_not_pile_up() -> None:
    selection = Selection(tuple(Rule(False, f"/{n}/x") for n in range(300)))
    for n in range(300):
        assert not selection.matcher(str(n))("x", False)
        assert selection.matcher(str(n))("y", False)
    assert len(selection._compiled._cache) <= 256


# ---- the examples of the document ----

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NOW = 1_800_000_000 * 10**9


def selection_of(command: str, folder: Path) -> Selection:
    words, listed, settings = shlex.split(command), [], {}
    pairs = list(zip(words[::2], words[1::2], strict=True))
    for option, value in pairs:
        name = option.removeprefix("--")
        if name.endswith("-from") and name != "files-from":
            listed.append((name, str(folder / value)))
        elif name in ("include", "exclude"):
            listed.append((name, value))
        elif name == "files-from":
            settings["files"] = read_files(str(folder / value))
        elif name == "max-age":
            settings["newer_than"] = parse_age(value, NOW)
        elif name == "min-age":
            settings["older_than"] = parse_age(value, NOW)
        elif name == "max-depth":
            settings["max_depth"] = int(value)
        else:
            settings[name.replace("-", "_")] = parse_size(value)
    return Selection(parse_rules(listed), **settings)  # type: ignore[arg-type]


def test_the_examples_of_the_document(tmp_path: Path) -> None:
    checked = 0
    for kind, body in BLOCK.findall(DOCUMENT.read_text()):
        if kind == "rules":
            (tmp_path / "rules.txt").write_text(body)
        elif kind == "list":
            (tmp_path / "list.txt").write_text(body)
        elif kind == "filter":
            command, *lines = body.splitlines()
            selection = selection_of(command.removeprefix("$ "), tmp_path)
            for line in lines:
                match = re.fullmatch(r"([+-]) (\S+)(?: +(?:(\d+[KM])|(\d+[dh]) old))?(?: +#.*)?", line)
                assert match, line
                sign, path, size, age = match.groups()
                facts = model.facts(Kind.FILE, parse_size(size or "1"), parse_age(age or "0", NOW))
                takes = takes_part(selection, path) and (path.endswith("/") or selection.takes(facts))
                assert takes == (sign == "+"), f"{command}: {line}"
                checked += 1
    assert checked >= 40
