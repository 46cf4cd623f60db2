"""What `POST /publish` asks for: files and folders of this machine, and where they go; checked before anything is done.

    from                      to              becomes
    /data/folder              store/          store/... for every file below the folder
    /data/folder              store           the same: a folder's `to` gets a slash
    /data/file.txt            store/          store/file.txt: it keeps its name
    /data/file.txt            store/new.txt   store/new.txt

Theory. The whole array is checked before anything is queued: one bad item, and nothing happens (400). What is checked
is what can be known at once: the fields, the path with all links and ``..`` resolved (so that no spelling of
``/etc/shadow`` passes), whether it can be read, whether a folder holds a file at all, the key. A folder is only looked
into until the first file is found; its files are found by the walk, in the background, while the first of them are
already being uploaded (`publish_walk`).

The check is made again when the walk begins, by the same function: between the two somebody may have put a link where
a folder was. From then on no link is followed in any path (`workers.publishing`).

The texts of refused requests are those of the service's specification, as far as it gives any.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from dunlin.errors import DunlinError, ErrorKind, printable
from dunlin.jobs.publish_keys import as_key, is_allowed, key_fault
from dunlin.jobs.publish_place import Here, look_here, nested
from dunlin.model import TYPE_BITS, Kind, is_unfinished, is_within, join
from dunlin.queue.ledger.words import Job
from dunlin.stores.local import LocalStore

LOOKS = 1_000
"""Directories that are looked into for the first file; a folder that holds none so far is left to the walk."""


class PublishItem(NamedTuple):
    """One element of the request; the names of the fields are `from`, `to`, `delete_after_sync`, `overwrite`."""

    source: str
    to: str
    delete_after_sync: bool = False
    overwrite: bool = False


class Rules(NamedTuple):
    """What may be published.

    Attributes:
        roots: directories below which `from` must lie, real paths; empty: anywhere. URLs are roots of other jobs.
        prefixes: what keys must begin with; empty: anything.
        target: the destination's path, where that is a directory of this machine; else "".
    """

    roots: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    target: str = ""

    @property
    def within(self) -> list[str]:
        """The roots on this machine; the whole file system where there are no roots. Looks at none of them."""
        return [root for root in self.roots if "://" not in root] if self.roots else ["/"]


class Checked(NamedTuple):
    """An item that may be published.

    Attributes:
        item: as it was asked for.
        root: the directory that its files lie below, absolute, without links.
        name: the only file, below `root`; "": all of them.
        prefix: what the keys begin with, up to and with the slash; of a single file, its key.
        size: of a single file, bytes.
    """

    item: PublishItem
    root: str
    name: str
    prefix: str
    size: int

    @property
    def origin(self) -> Origin:
        """What the job keeps of it."""
        return Origin(self.root, self.name, self.prefix, self.item.delete_after_sync, self.item.overwrite)


class Origin(msgspec.Struct, frozen=True):
    """Where the files of an item lie and go, as it was accepted (`Checked`), and what becomes of them."""

    root: str
    name: str
    prefix: str
    delete: bool = False
    overwrite: bool = False


class PublishOptions(msgspec.Struct, frozen=True):
    """The options of a publish job, as the ledger keeps them (JSON).

    Attributes:
        destination: a location by name, or a URL without credentials.
        bucket: how the existence cache calls the destination.
        within: directories below which links may lead.
        sources: one for each item.
    """

    destination: str
    bucket: str
    within: list[str]
    sources: list[Origin]


_options = msgspec.json.Decoder(PublishOptions).decode


def options_of(job: Job) -> PublishOptions:
    """The options of a publish job. Raises CORRUPT for what are none."""
    try:
        return _options(job.options)
    except msgspec.MsgspecError as error:
        raise DunlinError("read the options of the job", job.id, ErrorKind.CORRUPT, str(error)) from error


def narrowed(job: Job, rules: Rules | None) -> PublishOptions:
    """The options of a job under the rules of today, which may be narrower than those under which it was accepted.

    `rules`: of the job's tenant; None: there is no such tenant any more.

    Raises DENIED where something of the job may not be published any more, CORRUPT as `options_of`.
    """
    asked = options_of(job)
    if rules is None:
        raise _denied_now(f"there is no tenant {printable(job.tenant)} any more")
    within = rules.within
    for origin in asked.sources:
        place = join(origin.root, origin.name) if origin.name else origin.root
        if not is_within(place, within):
            raise _denied_now(f"{printable(place)} is outside the allowed roots by now")
        if rules.prefixes and not is_allowed(origin.prefix, rules.prefixes):
            raise _denied_now(f"{printable(origin.prefix)} does not start with an allowed prefix any more")
    both = [root for root in asked.within if is_within(root, within)]
    both += [root for root in within if root not in both and is_within(root, asked.within)]
    return msgspec.structs.replace(asked, within=both)


def _denied_now(reason: str) -> DunlinError:
    return DunlinError("go on with the job", "", ErrorKind.DENIED, reason)


def validate(items: Sequence[PublishItem], rules: Rules) -> list[Checked]:
    """All items, checked in their order.

    Raises a `DunlinError` for the first that is bad, whose `reason` is the text of the answer: USAGE, NOT_FOUND,
    DENIED, NAME. Nothing was changed then.
    """
    if not items:
        raise _refused(ErrorKind.USAGE, "at least one item is required")
    within, here = rules.within, look_here(rules.target)
    return [check_item(item, number, rules, within, here) for number, item in enumerate(items)]


def check_item(item: PublishItem, number: int, rules: Rules, within: Sequence[str], here: Here) -> Checked:
    """One item, the `number`th; `within`: `rules.within`; `here`: `rules.target`. Raises as `validate`."""
    if not item.source:
        raise _refused(ErrorKind.USAGE, f"'from' field is required for item {number}")
    if not item.to:
        raise _refused(ErrorKind.USAGE, f"'to' field is required for item {number}")
    real = _resolved(item.source, number, within)
    shown = printable(item.source)
    try:
        status = os.lstat(real)
        directory = stat.S_ISDIR(status.st_mode)
        if not directory and not stat.S_ISREG(status.st_mode):
            raise _refused(ErrorKind.NAME, f"'from' is no regular file or folder for item {number}: {shown}")
        if not os.access(real, os.R_OK | (os.X_OK if directory else 0)):
            raise PermissionError(13, "Permission denied")
    except (FileNotFoundError, NotADirectoryError):
        raise _refused(ErrorKind.NOT_FOUND, f"'from' path does not exist for item {number}: {shown}") from None
    except OSError as error:
        reason = f"'from' path cannot be read for item {number}: {shown}: {error.strerror}"
        raise _refused(ErrorKind.DENIED, reason) from None
    if fault := nested(real, here):
        raise _refused(ErrorKind.DENIED, f"'from' cannot be published for item {number}: {shown}: {fault}")
    if directory:
        prefix = _prefix(as_key(item.to), number, rules)
        if not _holds_file(real):
            raise _refused(ErrorKind.NOT_FOUND, f"'from' folder holds no files for item {number}: {shown}")
        return Checked(item, real, "", prefix, 0)
    root, name = os.path.split(real)
    if is_unfinished(name):
        reason = f"'from' is the unfinished file of a run for item {number}: {shown}"
        raise _refused(ErrorKind.NAME, reason)
    key = as_key(item.to)
    if key.endswith("/"):
        key += as_key(os.path.basename(item.source.rstrip("/")) or name)
    _check_to(key, number, rules)
    return Checked(item, root, name, key, status.st_size)


def _resolved(source: str, number: int, within: Sequence[str]) -> str:
    """The path without links and `..`, if it lies where something may be published."""
    shown = printable(source)
    if "\0" in source or not _is_text(source):
        raise _refused(ErrorKind.USAGE, f"'from' is no valid path for item {number}: {shown}")
    if not os.path.isabs(source):
        raise _refused(ErrorKind.USAGE, f"'from' must be an absolute path for item {number}: {shown}")
    try:
        real = os.path.realpath(source)
    except OSError as error:
        reason = f"'from' path cannot be read for item {number}: {shown}: {error.strerror}"
        raise _refused(ErrorKind.NOT_FOUND, reason) from None
    if not is_within(real, within):
        raise _refused(ErrorKind.DENIED, f"'from' is outside the allowed roots for item {number}: {shown}")
    if not _is_text(real):
        raise _refused(ErrorKind.USAGE, f"'from' leads to a path that is not valid UTF-8 for item {number}: {shown}")
    return real


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _prefix(to: str, number: int, rules: Rules) -> str:
    prefix = to if to.endswith("/") else to + "/"
    # A key of the folder itself obeys the same rules as those of its files, which are checked one by one.
    _check_to(prefix[:-1], number, rules, prefix)
    return prefix


def _check_to(key: str, number: int, rules: Rules, prefix: str = "") -> None:
    if fault := key_fault(key):
        raise _refused(ErrorKind.USAGE, f"'to' is no valid key for item {number}: {fault}")
    if rules.prefixes and not is_allowed(prefix or key, rules.prefixes):
        allowed = ", ".join(rules.prefixes)
        raise _refused(ErrorKind.DENIED, f"'to' must start with an allowed prefix for item {number}: {allowed}")


def _holds_file(folder: str) -> bool:
    """Whether a file lies below a folder, or it would take long to say; links count, the walk looks where they lead."""
    store = LocalStore("/", batch=100)
    try:
        left, looked = [folder.strip("/")], 0
        while left:
            if looked == LOOKS:
                return True
            looked += 1
            directory = left.pop()
            try:
                for batch in store.list(directory):
                    for name, facts in batch:
                        kind = facts[0] & TYPE_BITS
                        if kind in (Kind.FILE, Kind.LINK):
                            return True
                        if kind == Kind.DIRECTORY:
                            left.append(join(directory, name))
                    if len(left) > LOOKS:
                        break
            except DunlinError:
                return True  # what cannot be listed is a failure of the walk's, and told as such
        return False
    finally:
        store.close()


def _refused(kind: ErrorKind, reason: str) -> DunlinError:
    return DunlinError("publish", "", kind, reason)
