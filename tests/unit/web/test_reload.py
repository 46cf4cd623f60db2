"""Noticing that a file has changed, however it is swapped."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

from dunlin.web.reload import Reloads, changes, digest

PATIENCE = 20.0


def told(path: Path, act: Callable[[], None]) -> bool:
    """Whether a change was noticed."""
    heard = threading.Event()
    reloads = Reloads(str(path), heard.set, look=0.2)
    reloads.start()
    try:
        act()
        return heard.wait(PATIENCE)
    finally:
        reloads.close()


def test_a_file_that_is_written_replaced_or_swapped_by_its_link(tmp_path: Path) -> None:
    file = tmp_path / "dunlin.yaml"
    file.write_text("a: 1")
    assert told(file, lambda: file.write_text("a: 2") and None)

    def replace() -> None:
        (tmp_path / "new").write_text("a: 3")
        os.replace(tmp_path / "new", file)

    assert told(file, replace)
    # As Kubernetes mounts a configuration: name -> ..data/name, ..data -> a directory, which is swapped.
    for number in (1, 2):
        (tmp_path / f"..{number}").mkdir()
        (tmp_path / f"..{number}" / "mounted.yaml").write_text(f"a: {number}")
    (tmp_path / "..data").symlink_to("..1")
    mounted = tmp_path / "mounted.yaml"
    mounted.symlink_to("..data/mounted.yaml")

    def swap() -> None:
        (tmp_path / "..tmp").symlink_to("..2")
        os.replace(tmp_path / "..tmp", tmp_path / "..data")

    assert told(mounted, swap)


def test_a_touch_and_a_file_that_is_gone_are_no_change(tmp_path: Path) -> None:
    file = tmp_path / "dunlin.yaml"
    file.write_text("a: 1")
    stop, found, last = threading.Event(), [], digest(str(file))

    def watch() -> None:
        found.extend(changes(str(file), last, stop, 0.05))

    thread = threading.Thread(target=watch)
    thread.start()
    os.utime(file)
    file.unlink()
    (tmp_path / "new").write_text("a: 1")
    os.replace(tmp_path / "new", file)  # at once: a file that is half written is a change
    stop.wait(0.4)  # several looks
    stop.set()
    thread.join(PATIENCE)
    assert found == []
