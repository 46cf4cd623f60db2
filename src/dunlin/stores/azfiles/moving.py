"""Renaming within a share. A rename keeps the file's id, so one whose answer got lost is recognised."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from dunlin.errors import DunlinError, ErrorKind
from dunlin.stores.azfiles import smb
from dunlin.stores.azfiles.share import Share


def own_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers of an answer, without the length of its own (empty) body."""
    return {name: value for name, value in headers.items() if name != "content-length"}


def rename(
    share: Share, path: str, new: str, ident: str, headers: dict[str, str], *, replace: bool, directory: bool = False
) -> smb.Told:
    """Rename a file or directory; what the service says of it then.

    `ident`: its id, by which a rename is recognised whose answer got lost. `replace`: a file that stands at `new` goes.
    """
    query = (("restype", "directory"), ("comp", "rename")) if directory else (("comp", "rename"),)
    given = {"x-ms-file-rename-source": share.source(path), "x-ms-source-allow-trailing-dot": "true", **headers}
    if replace and not directory:
        given |= {"x-ms-file-rename-replace-if-exists": "true", "x-ms-file-rename-ignore-readonly": "true"}

    def act(attempt: int) -> smb.Told:
        try:
            answer = share.once("PUT", new, query, given, operation="move")
        except DunlinError as error:
            lost = error.kind in (ErrorKind.NOT_FOUND, ErrorKind.EXISTS) and attempt > 1
            if lost and (found := _there(share.look, new, directory, ident)) is not None:
                return found
            raise
        return share.told(new, {"content-length": "0", **own_headers(answer.headers)}, directory, "move")

    return share.tried(act)


def _there(look: Callable[[str, bool], smb.Told], path: str, directory: bool, ident: str) -> smb.Told | None:
    try:
        found = look(path, directory)
    except DunlinError:
        return None
    return found if ident and found.ident == ident else None
