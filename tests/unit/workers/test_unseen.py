"""Listed paths that a source lacks, as its listings tell."""

from __future__ import annotations

from dunlin.model import Kind, facts
from dunlin.workers.unseen import Unseen, children_of

FILES = frozenset({"a/b/c", "a/b/d", "a/x", "dir", "dir/in", "top", "one/two/three/four"})


def missing(directory: str, **names: Kind) -> list[str]:
    unseen = Unseen(directory, FILES, children_of(FILES))
    for name, kind in names.items():
        unseen.see([(name, facts(kind, 0, 0))])
    return unseen.missing()


def test_what_leads_to_listed_paths_is_looked_for() -> None:
    found = {directory: sorted(names) for directory, names in children_of(FILES).items()}
    assert found == {
        "": ["a", "dir", "one", "top"], "a": ["b", "x"], "a/b": ["c", "d"], "dir": ["in"],
        "one": ["two"], "one/two": ["three"], "one/two/three": ["four"],
    }  # fmt: skip


def test_what_a_listing_shows_is_not_missing() -> None:
    assert missing("", a=Kind.DIRECTORY, dir=Kind.DIRECTORY, one=Kind.DIRECTORY, top=Kind.FILE, more=Kind.FILE) == []
    assert missing("a/b", c=Kind.FILE, d=Kind.DIRECTORY) == []
    assert missing("dir", other=Kind.FILE, **{"in": Kind.LINK}) == []


def test_what_it_does_not_show_is_missing_with_all_below_it() -> None:
    assert missing("") == ["dir", "top", "one/two/three/four", "dir/in", "a/x", "a/b/c", "a/b/d"]
    assert missing("a", x=Kind.FILE) == ["b/c", "b/d"]
    assert missing("elsewhere") == []


def test_a_file_leads_nowhere_unless_a_directory_has_its_name_too() -> None:
    rest = {"one": Kind.DIRECTORY, "top": Kind.FILE, "a": Kind.DIRECTORY}
    assert missing("", dir=Kind.FILE, **rest) == ["dir/in"]
    unseen = Unseen("", FILES, children_of(FILES))
    both = [("dir", Kind.FILE), ("dir", Kind.DIRECTORY)]
    unseen.see([(name, facts(kind, 0, 0)) for name, kind in [*rest.items(), *both]])
    assert unseen.missing() == []
