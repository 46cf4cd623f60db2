"""The one error type: its line, its exit code, its table; and `OSError` translated."""

from __future__ import annotations

import errno
import os
import pickle
import re

import pytest

from dunlin import errors
from dunlin.errors import (
    FATAL,
    RETRYABLE,
    DunlinError,
    ErrorClass,
    ErrorKind,
    Place,
    class_of,
    printable,
    translate,
    usage,
)


def documented() -> dict[str, tuple[str, str, str, str]]:
    """The table in the module docstring: kind to its four columns."""
    table = {}
    for line in (errors.__doc__ or "").splitlines():
        cells = re.split(r"\s{2,}", line.strip())
        if len(cells) >= 5 and cells[0] in ErrorKind.__members__:
            table[cells[0]] = (cells[1], cells[2], cells[3], cells[4])
    return table


def test_the_table_in_the_docstring_is_complete() -> None:
    assert documented().keys() == set(ErrorKind.__members__)


@pytest.mark.parametrize("kind", ErrorKind)
def test_the_table_in_the_docstring_is_true(kind: ErrorKind) -> None:
    severity, one_file, whole_run, retry = documented()[kind.name]
    error = DunlinError("do", "x", kind)
    assert class_of(kind) is ErrorClass(severity)
    assert error.retryable is (kind in RETRYABLE) is (retry == "yes")
    assert error.fatal is (kind in FATAL)
    if whole_run != "-":
        code = int(re.findall(r"\d+", whole_run)[0])
        assert error.exit_code == code
    if error.fatal:
        assert one_file == "-"


@pytest.mark.parametrize("kind", ErrorKind)
@pytest.mark.parametrize("place", Place)
def test_every_error_has_a_class_in_every_place(kind: ErrorKind, place: Place) -> None:
    """Fatal is what ends the run at once; expected what is passed over; all else makes one name fail."""
    expected = {ErrorKind.VANISHED} | ({ErrorKind.NOT_FOUND} if place is Place.DIRECTORY else set())
    if place in (Place.ROOT, Place.STATE) or kind in FATAL:
        wanted = ErrorClass.FATAL
    else:
        wanted = ErrorClass.EXPECTED if kind in expected else ErrorClass.RECOVERABLE
    assert class_of(kind, place) is wanted


def test_what_is_worth_a_retry_ends_no_run() -> None:
    assert {class_of(kind) for kind in RETRYABLE} == {ErrorClass.RECOVERABLE}


def test_the_line_says_what_where_why_and_what_to_do() -> None:
    assert str(DunlinError("read", "a/b", ErrorKind.DENIED)) == "cannot read a/b: denied"
    error = DunlinError("read", "a\nb", ErrorKind.DENIED, "Permission denied", "run as root")
    assert str(error) == r"cannot read a\nb: Permission denied; run as root"
    assert str(usage("no such option", "see --help")) == "cannot start: no such option; see --help"
    assert usage("no").exit_code == 1


def test_an_error_survives_pickling() -> None:
    error = DunlinError("read", "a", ErrorKind.IO, "bad", "hint")
    again = pickle.loads(pickle.dumps(error))
    assert (again.operation, again.where, again.kind, again.reason, again.hint) == (
        "read",
        "a",
        ErrorKind.IO,
        "bad",
        "hint",
    )


@pytest.mark.parametrize(
    ("kind", "category"),
    [
        (ErrorKind.TIMEOUT, "network"),
        (ErrorKind.CHECKSUM, "checksum"),
        (ErrorKind.NO_SPACE, "disk"),
        (ErrorKind.DENIED, "auth"),
        (ErrorKind.CLASH, "unknown"),
    ],
)
def test_categories_are_those_of_the_state(kind: ErrorKind, category: str) -> None:
    assert DunlinError("do", "", kind).category == category


def test_every_kind_has_one_of_five_categories() -> None:
    found = {DunlinError("do", "", kind).category for kind in ErrorKind}
    assert found == {"network", "checksum", "disk", "auth", "unknown"}


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOENT, ErrorKind.NOT_FOUND),
        (errno.ENOTDIR, ErrorKind.NOT_FOUND),
        (errno.EACCES, ErrorKind.DENIED),
        (errno.EPERM, ErrorKind.DENIED),
        (errno.ENOSPC, ErrorKind.NO_SPACE),
        (errno.EDQUOT, ErrorKind.NO_SPACE),
        (errno.EROFS, ErrorKind.READ_ONLY),
        (errno.ENAMETOOLONG, ErrorKind.NAME),
        (errno.ELOOP, ErrorKind.CHANGED),
        (errno.ESTALE, ErrorKind.IO),
        (errno.EIO, ErrorKind.IO),
        (123456, ErrorKind.IO),
    ],
)
def test_numbers_are_translated(number: int, kind: ErrorKind) -> None:
    error = translate(OSError(number, "whatever"), "read", "x")
    assert error.kind is kind
    assert error.reason == os.strerror(number)


def test_an_error_without_a_number_keeps_its_words() -> None:
    error = translate(OSError("timed out"), "read", "x")
    assert (error.kind, error.reason) == (ErrorKind.IO, "timed out")


def test_no_number_makes_translate_fail() -> None:
    for number in errno.errorcode:
        assert str(translate(OSError(number, ""), "read", "x")).startswith("cannot read x: ")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é", "plain é"),
        ("a\nb\tc\x1b[31m", r"a\nb\tc\x1b[31m"),
        ("bad\udcff", r"bad\xff"),
        ("\udc80\n", r"\x80\n"),
        ("\u202e", r"\u202e"),
    ],
)
def test_printable_is_one_line_without_control_characters(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(text).isprintable()
