"""An emulator of the Azure Files REST service: `with azure_files() as files`, then any client at `files.url`.

**What it is.** No public emulator covers Azure Files, so this one is written from the public REST reference, and
judged by the official SDK alone (tests/integration/test_azure_files_emulator*.py) before our own client is tested on
it. It has not been run beside the real service; the form of listings, markers, errors, permission keys and snapshot
times follows replies of the service that the public SDK repositories keep as recordings. It listens on a free port of
127.0.0.1, in the process that starts it, addressed in path style (`http://127.0.0.1:PORT/ACCOUNT/share/…`), SMB
shares only.

**From which pages** (Azure Storage REST API reference, "Azure Files"): operations on the account, shares, directories
and files; Authorize with Shared Key; Create an account SAS, Create a service SAS; Azure Files error codes; Naming and
referencing shares, directories, files, and metadata; Versioning. Security descriptors: [MS-DTYP]. Where the SDK sends
something else than the page says (commas in `include`), both are taken.

**Room by room**: `server` (connections, faults, counts), `wire` (requests, answers, errors), `auth`, `routes` (which
request is which operation), `shares`, `directories`, `files`, `ranges`, `moving`, `leases` (the operations), `smb`
and `security` (attributes, times, permissions), `names` (what may be a name, order), `tree` (what is kept), `content`
(where bytes lie).

**Where it knowingly differs, or the reference is silent:**

* Not there: NFS shares, symbolic and hard links, soft delete, CORS, structured (CRC64) bodies, user delegation keys,
  previous versions of behaviour: `x-ms-version` only decides what a later version added (trailing dots, `include`,
  binary permissions, content in Create File, pages of List Ranges). Plain HTTP is taken, also with a token.
* Order of a listing: "lexically sorted" with an unnamed collation; see `names`. `order="shuffled"` trusts nobody.
* A copy is always done at once. A share's quota is kept and not enforced. Leases do not run out.
* Only well-known SIDs have SDDL aliases; `inherit` leaves "creator owner" as it is.
* Entries that come and go change the LastWriteTime of their directory, as on SMB; not its Last-Modified and ETag.
* Guesses: Create File over a file gives a new file id; a directory where a file is wanted, and the reverse, is
  ResourceTypeMismatch when creating and ResourceNotFound when reading; two snapshots within a second are a second
  apart.
* Every ETag is new after every change; nothing is eventually consistent, nothing is slow unless `Rules` say so.

**Faults**: `files.server.fail("SharingViolation", operation="PutRange")` orders one, `files.server.rules =
Rules(throttled=0.1)` draws them, `files.hold(share, path)` is an SMB client that has a file open. Resets, lost and cut
answers: put the proxy of tests/servers/faults.py in front and use `files.at(proxy.origin)`.
"""

from __future__ import annotations

import base64
import os
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from tests.emulators.azure_files import times
from tests.emulators.azure_files.names import ORDERS, share_name
from tests.emulators.azure_files.security import inherited
from tests.emulators.azure_files.server import Done, Rules, Server
from tests.emulators.azure_files.tree import Account, Node, find

__all__ = ["AzureFiles", "Done", "Rules", "azure_files"]


@dataclass(frozen=True, slots=True)
class AzureFiles:
    """A running emulator: `url` is the account's file endpoint, without a slash at its end."""

    url: str
    account: str
    key: str
    token: str
    """What `Authorization: Bearer` is accepted with."""
    server: Server

    @property
    def connection_string(self) -> str:
        """What the SDKs and `--connection-string` take."""
        parts = ("DefaultEndpointsProtocol=http", f"AccountName={self.account}", f"AccountKey={self.key}")
        return ";".join([*parts, f"FileEndpoint={self.url}"]) + ";"

    def at(self, origin: str) -> AzureFiles:
        """The same account seen through a proxy at `origin` (scheme, host and port)."""
        return replace(self, url=f"{origin}/{self.account}")

    def share(self, name: str = "") -> str:
        """Make a share, with a new name unless one is given, and return the name."""
        name = share_name(name or f"s{uuid.uuid4().hex}")
        with self.server.account.lock:
            assert name not in self.server.account.shares, f"there is a share {name} already"
            self.server.account.shares[name] = self.server.account.new_share(name, 5120)
        return name

    def fill(
        self, share: str, path: str, names: Iterable[str], *, data: bytes = b"", directories: bool = False
    ) -> None:
        """Put many entries into the directory at `path` ("" = root) without a request each."""
        account = self.server.account
        with account.lock:
            parent, kept = self._node(share, path), account.shares[share]
            permission = kept.keep(inherited(kept.permissions[parent.permission], directory=directories))
            for name in names:
                node = account.new(name, parent, permission, directory=directories)
                if node.content is not None:
                    node.headers["content-type"] = "application/octet-stream"
                    node.content.resize(len(data))
                    node.content.write(0, data)
                account.put(node)

    def hold(self, share: str, path: str, code: str = "SharingViolation") -> None:
        """Let changes of the file at `path` meet an error until its handles are closed (`code` "" ends it)."""
        with self.server.account.lock:
            self._node(share, path).handle = code

    def _node(self, share: str, path: str) -> Node:
        names = path.split("/") if path else []
        node = find(self.server.account.shares[share], names)
        assert node is not None, f"{path!r} is not in {share}"
        return node


@contextmanager
def azure_files(
    *, account: str = "dunlintest", order: str = "folded", page_limit: int = 5000, deleting_s: float = 0.0,
    rules: Rules | None = None, clock: Callable[[], int] = times.now, port: int = 0,
) -> Iterator[AzureFiles]:  # fmt: skip
    """Run an empty emulator until the block is left.

    Args:
        order: of listings: folded, bytes or shuffled. page_limit: most entries of a page, 5,000 on the service.
        deleting_s: seconds for which the name of a deleted share answers ShareBeingDeleted.
        clock: this moment in ticks of 100 ns since 1601. port: 0 = a free one.
    """
    assert order in ORDERS, f"order is one of {', '.join(ORDERS)}"
    key, token = os.urandom(64), uuid.uuid4().hex
    held = Account(account, (key,), token, order, page_limit, deleting_s, clock=clock)
    server = Server(held, rules or Rules(), port)
    try:
        url = f"http://127.0.0.1:{server.port}/{account}"
        yield AzureFiles(url, account, base64.b64encode(key).decode(), token, server)
    finally:
        server.close()
