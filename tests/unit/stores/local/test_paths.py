"""Descriptors of directories: links never followed, any depth, nothing leaked, nothing stale."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dunlin.errors import DunlinError, ErrorKind
from dunlin.stores.local.paths import DirFds, check_path, file_url


def descriptors() -> set[str]:
    gc.collect()  # trees that others let go give theirs back whenever that happens
    return set(os.listdir("/proc/self/fd"))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "a" / "b" / "c").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    return root


@pytest.fixture
def memory() -> Iterator[Path]:
    """A directory in memory where there is such a file system: on a disk 10,000 directories take ten seconds."""
    shm = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="dunlin-paths-", dir=shm if shm.is_dir() else None) as root:
        yield Path(root)


def same(fd: int, path: Path) -> bool:
    return os.path.samestat(os.fstat(fd), os.stat(path))


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_descriptor_is_that_of_the_directory(tree: Path) -> None:
    dirs = DirFds(str(tree))
    for path in ("a/b/c", "", "a", "a/b", "a/b/c"):
        with dirs.open(path) as fd:
            assert same(fd, tree / path)
            assert os.get_inheritable(fd) is False
    dirs.close()


def test_descriptors_are_shared_and_all_given_back(tree: Path) -> None:
    before = descriptors()
    dirs = DirFds(str(tree))
    with dirs.open("a/b") as first, dirs.open("a/b") as second:
        assert first == second
    dirs.close()
    assert descriptors() == before


def test_no_more_than_keep_stay_open(tree: Path) -> None:
    before = len(descriptors())
    dirs = DirFds(str(tree), keep=8)
    for number in range(50):
        (tree / f"d{number}").mkdir()
        with dirs.open(f"d{number}"):
            pass
    assert len(descriptors()) - before <= 8
    dirs.close()
    assert len(descriptors()) == before


def test_an_evicted_descriptor_stays_open_while_it_is_used(tree: Path) -> None:
    dirs = DirFds(str(tree), keep=1)
    with dirs.open("a") as fd:
        with dirs.open("a/b"), dirs.open("a/b/c"):
            pass
        dirs.close()
        assert same(fd, tree / "a")
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


@pytest.mark.parametrize("planted", ["a", "a/b", "a/b/c"])
def test_a_planted_link_is_never_followed(tree: Path, planted: str) -> None:
    shutil.rmtree(tree / planted)
    (tree.parent / "outside" / "b" / "c").mkdir(parents=True)
    (tree.parent / "outside" / "c").mkdir()
    (tree / planted).symlink_to(tree.parent / "outside")
    dirs = DirFds(str(tree))
    with pytest.raises(DunlinError) as error:
        dirs.open("a/b/c")
    assert error.value.kind is ErrorKind.CHANGED
    assert "symbolic link" in str(error.value)
    with pytest.raises(DunlinError):
        dirs.fresh(planted)
    dirs.close()


def test_the_root_may_be_reached_through_a_link(tree: Path) -> None:
    (tree.parent / "alias").symlink_to(tree)
    dirs = DirFds(str(tree.parent / "alias"))
    with dirs.open("a/b") as fd:
        assert same(fd, tree / "a" / "b")
    dirs.close()


def test_errors_name_the_path_and_leak_nothing(tree: Path) -> None:
    (tree / "file").write_text("x")
    before = descriptors()
    dirs = DirFds(str(tree))
    for path in ("absent", "a/absent/x", "file", "file/x"):
        with pytest.raises(DunlinError) as error:
            dirs.open(path)
        assert error.value.kind is ErrorKind.NOT_FOUND
        assert str(tree) in error.value.where
    dirs.close()
    assert descriptors() == before


def test_kept_descriptors_grow_old(tree: Path) -> None:
    clock = Clock()
    dirs = DirFds(str(tree), clock=clock)
    with dirs.open("a/b"):
        pass
    (tree / "a").rename(tree / "elsewhere")
    (tree / "a" / "b").mkdir(parents=True)
    clock.now = 0.9
    with dirs.open("a/b") as fd:
        assert same(fd, tree / "elsewhere" / "b")
    clock.now = 1.1
    with dirs.open("a/b") as fd:
        assert same(fd, tree / "a" / "b")
    dirs.close()


def test_forget_covers_what_lies_below_and_nothing_beside(tree: Path) -> None:
    (tree / "ab").mkdir()
    dirs = DirFds(str(tree))
    for path in ("a", "a/b", "ab"):
        with dirs.open(path):
            pass
    kept = len(descriptors())
    dirs.forget("a")
    assert len(descriptors()) == kept - 2
    dirs.close()


def test_fresh_sees_a_directory_made_again(tree: Path) -> None:
    dirs = DirFds(str(tree), clock=Clock())
    with dirs.open("a/b/c"):
        pass
    (tree / "a" / "b" / "c").rmdir()
    (tree / "a" / "b" / "other").mkdir()
    (tree / "a" / "b" / "c").mkdir()
    with dirs.fresh("a/b/c") as fd:
        assert same(fd, tree / "a" / "b" / "c")
    with dirs.open("a/b/c") as fd:
        assert same(fd, tree / "a" / "b" / "c")
    dirs.close()


def test_another_root_is_an_error_not_an_empty_tree(tree: Path) -> None:
    clock = Clock()
    dirs = DirFds(str(tree), clock=clock)
    with dirs.open("a"):
        pass
    tree.rename(tree.parent / "unmounted")
    tree.mkdir()
    clock.now = 5.0
    for attempt in (dirs.open, dirs.fresh):
        with pytest.raises(DunlinError) as error:
            attempt("")
        assert error.value.kind is ErrorKind.CHANGED
    dirs.close()


def test_ten_thousand_levels(memory: Path) -> None:
    depth = 10_000
    dirs = DirFds(str(memory), clock=Clock())
    path = ""
    opened = 0
    real = dirs._open_component

    def counting(*args: object, **kwargs: object) -> object:
        nonlocal opened
        opened += 1
        return real(*args, **kwargs)  # type: ignore[arg-type]

    dirs._open_component = counting  # type: ignore[method-assign,assignment]
    for _ in range(depth):
        with dirs.open(path) as fd:
            os.mkdir("d", dir_fd=fd)
        path = f"{path}/d" if path else "d"
    assert opened < depth + 100
    opened = 0
    while path:
        parent, _, name = path.rpartition("/")
        with dirs.open(parent) as fd:
            os.rmdir(name, dir_fd=fd)
        dirs.forget(path)
        path = parent
    assert opened < depth * 12
    assert os.listdir(memory) == []
    dirs.close()


def test_many_threads(tree: Path) -> None:
    before = descriptors()
    dirs = DirFds(str(tree), keep=3, max_age=0.0)
    paths = ["", "a", "a/b", "a/b/c", "x", "x/y"]
    (tree / "x" / "y").mkdir(parents=True)
    wanted = {path: os.stat(tree / path).st_ino for path in paths}
    wrong: list[object] = []

    def work(seed: int) -> None:
        for number in range(300):
            path = paths[(seed + number) % len(paths)]
            try:
                with dirs.fresh(path) if number % 7 == 0 else dirs.open(path) as fd:
                    if os.fstat(fd).st_ino != wanted[path]:
                        wrong.append(path)
                if number % 11 == 0:
                    dirs.forget("a")
            except Exception as error:  # a thread must not die silently
                wrong.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    dirs.close()
    assert wrong == []
    assert descriptors() == before


@given(st.text(st.sampled_from("./ab\0 "), max_size=12))
def test_check_path_accepts_exactly_the_paths_that_stay_below(path: str) -> None:
    fit = path == "" or ("\0" not in path and not {"", ".", ".."} & set(path.split("/")))
    if fit:
        assert check_path(path) == path
    else:
        with pytest.raises(DunlinError) as error:
            check_path(path)
        assert error.value.kind is ErrorKind.NAME


def test_lone_surrogates_are_no_name() -> None:
    assert check_path("\udcff") == "\udcff"
    with pytest.raises(DunlinError) as error:
        check_path("a/\ud800")
    assert error.value.kind is ErrorKind.NAME


def test_urls_escape_every_odd_byte(tmp_path: Path) -> None:
    assert file_url(str(tmp_path) + "/a b\udcff?#%") == f"file://{tmp_path}/a%20b%FF%3F%23%25"


def test_a_tree_that_is_let_go_without_an_end_uses_up_no_descriptors(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    before = descriptors()
    dirs = DirFds(str(tmp_path))
    for name in ("a", "b", "c"):
        with dirs.open(name):
            pass
    assert descriptors() > before
    del dirs
    assert descriptors() == before
