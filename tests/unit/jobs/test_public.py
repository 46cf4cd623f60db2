"""public: what is on record of a run's options is enough to do the same again, and holds no secret."""

from __future__ import annotations

import json

from dunlin.jobs.options import Again, SyncOptions
from dunlin.jobs.public import as_before, public_of, rules_of, selection_of
from dunlin.plan import Policy
from dunlin.stores.login import Login
from dunlin.transfer import Options as Transfer

LIKE_ARCHIVE = SyncOptions(
    "az://c/p?sig=SECRET",
    "/there",
    policy=Policy(compare="checksum", window=5, links=True, perms=True, delete=True, clear=True, force=True),
    transfer=Transfer(checksum="sha256", perms=True, xattrs=True, clear=True, fsync="file"),
    login_source=Login({"account_key": "SECRET"}),
    begin="2024/",
    backup_dir="old",
)


def stored(options: SyncOptions) -> dict[str, object]:
    found: dict[str, object] = json.loads(json.dumps(public_of(options)))
    return found


def test_the_same_again_without_what_deletes_and_overwrites() -> None:
    given = SyncOptions("a", "b", bandwidth=None, login_source=Login({"account_key": "new"}))
    again = as_before(given, stored(LIKE_ARCHIVE), (3, 4))
    assert again is not None
    assert again.policy == Policy(compare="checksum", window=5, links=True, perms=True)
    assert again.transfer == Transfer(checksum="sha256", perms=True, xattrs=True, fsync="file")
    assert (again.begin, again.backup_dir, again.source) == ("2024/", "old", "a")
    assert again.login_source == given.login_source
    assert again.again == Again((3, 4), selection_of(LIKE_ARCHIVE), rules_of(LIKE_ARCHIVE))


def test_what_is_on_record_of_the_second_is_that_of_the_first() -> None:
    again = as_before(SyncOptions("a", "b"), stored(LIKE_ARCHIVE), (3,))
    assert again is not None
    first, second = stored(LIKE_ARCHIVE), stored(again)
    assert (second["selection"], second["rules"], second["retry"]) == (first["selection"], first["rules"], [3])
    assert "retry" not in first


def test_no_secret_is_on_record() -> None:
    assert "SECRET" not in json.dumps(public_of(LIKE_ARCHIVE))


def test_a_run_of_an_older_version_cannot_be_repeated() -> None:
    assert as_before(SyncOptions("a", "b"), {"mode": "sync"}, (1,)) is None


def test_usual_options_take_no_room() -> None:
    assert stored(SyncOptions("a", "b"))["how"] == {"policy": {}, "transfer": {}, "others": {}}
