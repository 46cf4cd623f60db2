"""Security descriptors of a share by key, each asked for once: their text at one share, their key at another.

A share keeps each distinct descriptor once and names it by a key, which a listing tells. Keys mean nothing to another
share, so a descriptor travels as its text: SDDL, or, where an entry of it has no SDDL, the binary form in base64.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable

from dunlin.errors import DunlinError, ErrorKind
from dunlin.stores.azfiles.share import Share
from dunlin.stores.objects.answers import FOREIGN, stranger

BINARY = "binary:"
_QUERY = (("restype", "share"), ("comp", "filepermission"))
_KEPT = 100_000


class Permissions:
    """The descriptors of one share. Safe to use from many threads."""

    def __init__(self, share: Share) -> None:
        self._share = share
        self._lock = threading.Lock()
        self._texts: dict[str, str] = {}
        self._keys: dict[str, str] = {}

    def text(self, key: str) -> str:
        """The descriptor of a key: SDDL, or `BINARY` and base64."""
        return self._known(self._texts, key, self._fetch)

    def key(self, text: str) -> str:
        """The key of a descriptor, which the share keeps from then on. "" for none."""
        return self._known(self._keys, text, self._put) if text else ""

    def _known(self, known: dict[str, str], name: str, ask: Callable[[str], str]) -> str:
        # Under the lock: many files that share a new descriptor come at the same time, and one has to ask.
        with self._lock:
            if name not in known:
                if len(known) >= _KEPT:
                    known.clear()
                known[name] = ask(name)
            return known[name]

    def _fetch(self, key: str) -> str:
        try:
            return self._get(key, "sddl")
        except DunlinError as error:
            if not error.reason.startswith("CannotConvertToSddl"):
                raise
        return BINARY + self._get(key, "binary")

    def _get(self, key: str, form: str) -> str:
        headers = {"x-ms-file-permission-key": key, "x-ms-file-permission-format": form}
        answer = self._share.ask("GET", "", _QUERY, headers, operation="read a permission of")
        try:
            return str(json.loads(answer.body)["permission"])
        except FOREIGN as error:
            raise stranger("read a permission of", self._share.url, "Azure Files") from error

    def _put(self, text: str) -> str:
        said = {"permission": text, "format": "sddl"}
        if text.startswith(BINARY):
            said = {"permission": text.removeprefix(BINARY), "format": "binary"}
        headers = {"content-type": "application/json"}
        body = json.dumps(said).encode()
        try:
            answer = self._share.ask("PUT", "", _QUERY, headers, body, operation="keep a permission of", expects=201)
        except DunlinError as error:
            if error.kind is not ErrorKind.USAGE:
                raise
            raise DunlinError(error.operation, error.where, ErrorKind.UNSUPPORTED, error.reason) from error
        return answer.headers.get("x-ms-file-permission-key", "")
