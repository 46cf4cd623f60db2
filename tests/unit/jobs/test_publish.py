"""What may be published, and where it goes: the whole array is checked first."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.jobs.publish import Origin, PublishItem, Rules, validate
from dunlin.jobs.publish_place import look_here, nested

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


def test_roots_are_real_paths(folder: Path, tmp_path: Path) -> None:
    """The configuration has resolved them; one that has become a link since leads nowhere."""
    (tmp_path / "root").symlink_to(folder)
    assert "outside" in reason(folder / "sub", rules=Rules((f"{tmp_path}/root",), ("store/",)))
    assert origin(folder, "store/", Rules((f"{folder}/",), ("store/",))).root == str(folder)
    assert "outside" in reason(f"{folder}-other", rules=Rules((str(folder),)))


def test_roots_that_are_urls_allow_nothing_here(folder: Path) -> None:
    assert "outside" in reason(folder, rules=Rules(("s3://bucket",)))


def test_without_roots_anything_readable(folder: Path) -> None:
    assert Rules().within == ["/"]
    assert origin(folder, "store/", Rules()).root == str(folder)


# ---- a destination on this machine ----


@pytest.mark.parametrize("way", ["the same", "in it", "in it, not there yet", "a link to it", "around it"])
def test_the_destination_and_what_is_published_do_not_lie_in_each_other(
    folder: Path, tmp_path: Path, way: str
) -> None:
    (folder / "pub").mkdir()
    (tmp_path / "link").symlink_to(folder / "pub")
    targets = {
        "the same": folder,
        "in it": folder / "pub",
        "in it, not there yet": folder / "new/pub",
        "a link to it": tmp_path / "link",
        "around it": tmp_path,
    }
    error = refusal(PublishItem(str(folder), "store/"), rules=Rules(target=str(targets[way])))
    fault = "it lies in the destination" if way == "around it" else "the destination lies in it"
    assert error.kind is ErrorKind.DENIED
    assert error.reason == f"'from' cannot be published for item 0: {folder}: {fault}"


def test_a_file_of_the_destination_is_not_published(folder: Path) -> None:
    error = refusal(PublishItem(str(folder / "sub/file.txt"), "store/"), rules=Rules(target=str(folder)))
    assert error.reason.endswith("it lies in the destination")
    # What lies beside the destination may go into it.
    (folder / "beside").write_bytes(b"")
    assert origin(folder / "beside", "store/", Rules(target=str(folder / "sub"))).name == "beside"


def test_a_destination_that_is_mounted_in_two_places_is_known(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bind mount has another path, and device and inode of the directory that it shows."""
    real = os.stat

    def mounted(path: object, *arguments: object, **how: object) -> os.stat_result:
        shown = str(path).replace("/mounted", str(folder), 1) if str(path).startswith("/mounted") else path
        return real(shown, *arguments, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "stat", mounted)
    assert nested(str(folder), look_here("/mounted/sub")) == "the destination lies in it"
    assert nested(str(folder / "sub"), look_here("/mounted")) == "it lies in the destination"
    assert nested(str(folder / "sub"), look_here("/mounted/other")) == ""


@pytest.mark.parametrize("name", [".dunlin-0123abcd-w1x1.tmp", ".dunlin-0123456789abcdef-0.part"])
def test_an_unfinished_file_of_a_run_is_not_published(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"half")
    assert reason(folder / name).startswith("'from' is the unfinished file of a run for item 0")
