"""What may be published, and where it goes: the whole array is checked first."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.jobs.publish import Origin, PublishItem, Rules, validate

STORE = Rules((), ("store/", "nix/"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "data"
    (place / "sub").mkdir(parents=True)
    (place / "sub/file.txt").write_bytes(b"")
    return place


def origin(source: Path | str, to: str, rules: Rules = STORE) -> Origin:
    return validate([PublishItem(str(source), to)], rules)[0].origin


def refusal(*items: PublishItem, rules: Rules = STORE) -> DunlinError:
    with pytest.raises(DunlinError) as caught:
        validate(items, rules)
    return caught.value


def reason(source: Path | str, to: str = "store/", rules: Rules = STORE) -> str:
    return refusal(PublishItem(str(source), to), rules=rules).reason


# ---- where things go ----


def test_the_mapping(folder: Path) -> None:
    file = folder / "sub/file.txt"
    assert origin(folder, "store/") == Origin(str(folder), "", "store/")
    assert origin(folder, "store") == Origin(str(folder), "", "store/")
    assert origin(folder, "nix/a/b") == Origin(str(folder), "", "nix/a/b/")
    assert origin(f"{folder}/", "store\\x\\") == Origin(str(folder), "", "store/x/")
    assert origin(file, "store/new.txt") == Origin(str(folder / "sub"), "file.txt", "store/new.txt")
    assert origin(file, "store/") == Origin(str(folder / "sub"), "file.txt", "store/file.txt")


def test_flags_are_kept(folder: Path) -> None:
    [checked] = validate([PublishItem(str(folder), "store/", True, True)], STORE)
    assert (checked.origin.delete, checked.origin.overwrite) == (True, True)


def test_links_are_resolved(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    (tmp_path / "name").symlink_to(folder / "sub/file.txt")
    assert origin(tmp_path / "link", "store/").root == str(folder)
    # It keeps the name that it was asked for by.
    assert origin(tmp_path / "name", "store/") == Origin(str(folder / "sub"), "file.txt", "store/name")


# ---- what is refused ----


def test_the_first_bad_item_is_named(folder: Path) -> None:
    good = PublishItem(str(folder), "store/")
    assert refusal(PublishItem("", "store/")).reason == "'from' field is required for item 0"
    assert refusal(good, PublishItem(str(folder), "")).reason == "'to' field is required for item 1"
    assert refusal().reason == "at least one item is required"
    assert refusal(good, PublishItem("", ""), PublishItem("", "")).reason == "'from' field is required for item 1"


def test_paths_that_cannot_be_published(folder: Path, tmp_path: Path) -> None:
    assert reason(tmp_path / "absent") == f"'from' path does not exist for item 0: {tmp_path}/absent"
    assert "does not exist" in reason(folder / "sub/file.txt/x")
    assert "absolute path" in reason("data")
    assert "no valid path" in reason("/a\0b")
    assert "no valid path" in reason("/a\udc80")
    os.mkfifo(tmp_path / "fifo")
    assert "no regular file or folder" in reason(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    assert "for item 0" in reason(tmp_path / "loop")


def test_an_empty_folder_is_refused_and_an_empty_file_is_not(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "empty/a/b/c").mkdir(parents=True)
    error = refusal(PublishItem(str(tmp_path / "empty"), "store/"))
    assert (error.kind, error.reason) == (
        ErrorKind.NOT_FOUND,
        f"'from' folder holds no files for item 0: {tmp_path}/empty",
    )
    (tmp_path / "empty/a/b/c/file").write_bytes(b"")
    origin(tmp_path / "empty", "store/")
    assert validate([PublishItem(str(folder / "sub/file.txt"), "store/")], STORE)[0].size == 0


BAD = ["store/../etc", "store//x", "/store/", "/", "store/a\nb", "store/" + "x" * 1100, "..\\x"]


@pytest.mark.parametrize("to", BAD)
def test_keys_that_are_none(folder: Path, to: str) -> None:
    error = refusal(PublishItem(str(folder), to), rules=Rules())
    assert error.kind is ErrorKind.USAGE
    assert error.reason.startswith("'to' is no valid key for item 0: ")


@pytest.mark.parametrize("to", ["storehouse", "other/", "stor"])
def test_keys_outside_the_prefixes(folder: Path, to: str) -> None:
    error = refusal(PublishItem(str(folder), to))
    assert (error.kind, error.reason) == (
        ErrorKind.DENIED,
        "'to' must start with an allowed prefix for item 0: store/, nix/",
    )


def test_a_file_must_not_take_the_name_of_a_prefix(folder: Path) -> None:
    assert "allowed prefix" in reason(folder / "sub/file.txt", "store")


# ---- roots ----


@pytest.mark.parametrize("way", ["plain", "dots", "link", "link in the middle", "absent"])
def test_nothing_outside_the_roots(folder: Path, tmp_path: Path, way: str) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "shadow").write_bytes(b"x")
    (folder / "link").symlink_to(secret / "shadow")
    (folder / "middle").symlink_to(secret)
    paths = {
        "plain": f"{secret}/shadow",
        "dots": f"{folder}/../secret/shadow",
        "link": f"{folder}/link",
        "link in the middle": f"{folder}/middle/shadow",
        "absent": f"{secret}/nothing",
    }
    error = refusal(PublishItem(paths[way], "store/"), rules=Rules((str(folder),), ("store/",)))
    assert error.kind is ErrorKind.DENIED
    assert error.reason == f"'from' is outside the allowed roots for item 0: {paths[way]}"


def test_roots_are_resolved_too(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "root").symlink_to(folder)
    assert origin(folder / "sub", "store/", Rules((f"{tmp_path}/root",), ("store/",))).root == str(folder / "sub")
    assert origin(folder, "store/", Rules((f"{folder}/",), ("store/",))).root == str(folder)
    assert "outside" in reason(f"{folder}-other", rules=Rules((str(folder),)))


def test_roots_that_are_urls_allow_nothing_here(folder: Path) -> None:
    assert "outside" in reason(folder, rules=Rules(("s3://bucket",)))


def test_without_roots_anything_readable(folder: Path) -> None:
    assert Rules().within == ["/"]
    assert origin(folder, "store/", Rules()).root == str(folder)
