"""Which of the files that a run writes lie in one of its trees."""

from __future__ import annotations

from pathlib import Path

from dunlin.jobs.options import Log, SyncOptions
from dunlin.jobs.own import own_below, own_files_of
from dunlin.stores.open import canonical_url


def test_paths_below_a_root_are_told_from_it(tmp_path: Path) -> None:
    (tmp_path / "real" / "sub").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "real" / "state").symlink_to(tmp_path / "other")
    paths = [str(tmp_path / name) for name in ("real/a", "link/sub/b", "real/state", "realm/c", "other", "real")]
    for root in ("real", "link"):
        assert own_below(paths, canonical_url(str(tmp_path / root))) == {"a", "sub/b", "state"}
    assert own_below(paths, canonical_url(str(tmp_path))) >= {"real/a", "real/sub/b", "real/state", "other", "realm/c"}
    assert own_below(paths, "s3://bucket/real") == frozenset()


def test_the_state_counts_where_it_is_and_where_it_is_looked_for(tmp_path: Path) -> None:
    options = SyncOptions("a", "b", state_db=str(tmp_path / "link.db"), log=Log(file=str(tmp_path / "log"), keep=2))
    for mode in ("sync", "plan", "check"):
        found = own_files_of(options._replace(mode=mode), str(tmp_path / "opened.db"))
        assert {str(tmp_path / f"{name}.db{end}") for name in ("link", "opened") for end in ("", "-wal")} <= set(found)
        assert {str(tmp_path / f"log{end}") for end in ("", ".1", ".2")} <= set(found)
    assert str(tmp_path / "log.3") not in found
