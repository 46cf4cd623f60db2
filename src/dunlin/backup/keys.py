"""Keys: one master key, one key for each tenant, one for each object; and the slots that hold them behind passwords.

    password --scrypt--> wrapping key --AES-256-GCM--> master key, or the key of one tenant
    master key --HKDF-SHA256, "dunlin tenant NAME"--> tenant key
    tenant key --HKDF-SHA256, one purpose each--> key of chunk ids | seed of the chunker | data key
    data key   --HKDF-SHA256, key of the object--> the key that seals this object's frames (`frames`)

Every object has its own random name, and so its own key: the offset of a frame is nonce enough, and no two
writers can meet in one nonce however little they know of each other. A password can be changed or taken away without
touching what is stored: only the slot goes. Who once had the password may have kept the master key; taking that away
means another repository.

A slot with a tenant's name holds that tenant's key alone: its password opens nothing of another tenant. Ids of chunks
are keyed for each tenant, so that nobody learns from an id whether another tenant has some file. A repository that is
not encrypted has one slot that holds the master key in the clear: ids and cuts are keyed there too, nothing is sealed.

The configuration (`dunlin-repository.json`) lies in the open beside what it protects. Whoever can write to the store
could turn encryption off there, and every backup would go on in the clear. So what a repository was made with is part
of what each slot authenticates (`BOUND`): changed by a letter, no password opens it any more, nor a tenant's. A key in
the clear counts only where nothing is encrypted, and then it is the only one.

scrypt: RFC 7914; N = 2^15, r = 8, p = 1 takes 32 MiB and about 0.1 s. HKDF: RFC 5869. AES-GCM: NIST SP 800-38D.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import threading
from collections.abc import Callable, Mapping
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from dunlin.backup.words import new_id
from dunlin.errors import DunlinError, ErrorKind

KEY = 32
SCRYPT = {"n": 1 << 15, "r": 8, "p": 1}
_MOST_MEMORY = 1 << 30
"""A slot whose figures ask for more than this many bytes was not written by us."""

Slot = dict[str, Any]

Config = Mapping[str, Any]
"""The content of `dunlin-repository.json`."""

BOUND = ("append_only", "chunker", "encryption", "format", "group", "id", "small")
"""What of the configuration every slot is bound to: everything but the slots."""


def new_key() -> bytes:
    """A fresh master key."""
    return secrets.token_bytes(KEY)


def derive(key: bytes, purpose: bytes) -> bytes:
    """The 32-byte key of `key` for one purpose."""
    return HKDF(hashes.SHA256(), KEY, salt=None, info=b"dunlin " + purpose).derive(key)


class TenantKeys:
    """What one tenant's key opens.

    Attributes:
        chunk: key of the ids of its chunks.
        seed: seed of the chunker, 63 bits, so that cuts tell nobody what a file is.
        sealed: whether objects are encrypted.
    """

    __slots__ = ("_data", "chunk", "sealed", "seed", "tenant")

    def __init__(self, tenant: str, key: bytes, *, sealed: bool) -> None:
        self.tenant = tenant
        self.sealed = sealed
        self.chunk = derive(key, b"chunk ids")
        self.seed = int.from_bytes(derive(key, b"chunker")[:8], "little") >> 1
        self._data = derive(key, b"data")

    def object_key(self, key: str) -> bytes | None:
        """The key that seals the object stored under `key`; None where nothing is sealed."""
        return derive(self._data, b"object " + key.encode()) if self.sealed else None


class Secrets:
    """The keys that a password has opened: the master key, or that of some tenants only."""

    __slots__ = ("_keys", "_master", "sealed")

    def __init__(self, master: bytes | None, keys: Mapping[str, bytes], *, sealed: bool) -> None:
        self._master = master
        self._keys = dict(keys)
        self.sealed = sealed

    @property
    def master(self) -> bytes | None:
        """The master key, where the password opens everything."""
        return self._master

    def raw(self, tenant: str) -> bytes:
        """The key of one tenant, for a slot of its own. Raises AUTH."""
        key = derive(self._master, b"tenant " + tenant.encode()) if self._master else self._keys.get(tenant)
        if key is None:
            raise DunlinError("open the tenant", tenant, ErrorKind.AUTH, "this password is that of another tenant")
        return key

    def tenant(self, name: str) -> TenantKeys:
        """The keys of one tenant. Raises AUTH when the password is that of another one."""
        return TenantKeys(name, self.raw(name), sealed=self.sealed)


def make_slot(config: Config, key: bytes, password: bytes | None, tenant: str = "") -> Slot:
    """A slot that holds `key` behind `password` (None: in the clear); `tenant` "": it is the master key.

    `config`: of the repository, with or without slots.
    """
    slot: Slot = {"id": new_id()[:8], "tenant": tenant}
    if password is None:
        return {**slot, "kdf": "none", "key": key.hex()}
    salt, nonce = secrets.token_bytes(16), secrets.token_bytes(12)
    slot |= {"kdf": "scrypt", **SCRYPT, "salt": salt.hex(), "nonce": nonce.hex()}
    wrapped = AESGCM(_stretch(password, salt, **SCRYPT)).encrypt(nonce, key, _bound(config, slot))
    return {**slot, "wrapped": wrapped.hex()}


def open_slots(config: Config, password: bytes | None) -> Secrets:
    """What `password` opens. Raises AUTH when it opens nothing, CORRUPT for slots that cannot be, NEWER."""
    slots: list[Slot] = config["slots"]
    sealed = _is_sealed(config)
    if sealed and password is None:
        raise DunlinError(
            "open the repository", "", ErrorKind.AUTH, "it is encrypted", "give --password-file or DUNLIN_PASSWORD"
        )
    master: bytes | None = None
    keys: dict[str, bytes] = {}
    for slot in slots:
        key = _open_slot(config, slot, password)
        if key is not None and slot["tenant"]:
            keys[slot["tenant"]] = key
        elif key is not None:
            master = key
    if master is None and not keys:
        reason = "wrong password, or its configuration was changed"
        raise DunlinError("open the repository", "", ErrorKind.AUTH, reason)
    return Secrets(master, keys, sealed=sealed)


def bound(config: Config) -> bytes:
    """What of a configuration every slot is bound to, in one form: JSON with sorted names and no spaces."""
    return json.dumps({name: config[name] for name in BOUND}, sort_keys=True, separators=(",", ":")).encode()


def begin_slots(config: Config, password: bytes | None) -> Callable[[], Secrets]:
    """As `open_slots`, in two steps: it is under way in a thread when this returns, and the call waits for it.

    A password is stretched without the interpreter's lock, and it takes half as long as to load all that a backup
    needs: who has something to do meanwhile waits for nothing.
    """
    found: list[Secrets | DunlinError] = []

    def stretch() -> None:
        try:
            found.append(open_slots(config, password))
        except DunlinError as error:
            found.append(error)

    thread = threading.Thread(target=stretch, name="dunlin-password")
    thread.start()

    def opened() -> Secrets:
        thread.join()
        if isinstance(found[0], DunlinError):
            raise found[0]
        return found[0]

    return opened


def _is_sealed(config: Config) -> bool:
    """Whether what is stored is encrypted. Raises CORRUPT where the slots say otherwise than the configuration."""
    slots: list[Any] = config["slots"]  # as somebody wrote them
    open_ones = [slot for slot in slots if not isinstance(slot, dict) or slot.get("kdf") == "none"]
    if config["encryption"] == "none":
        fits = len(slots) == len(open_ones) == 1 and isinstance(slots[0], dict) and slots[0].get("tenant") == ""
    else:
        fits = not open_ones
    if not fits:
        reason = "its key slots do not fit its encryption; somebody changed its configuration"
        hint = "put back dunlin-repository.json from a copy, and use nothing that was stored since"
        raise DunlinError("open the repository", "", ErrorKind.CORRUPT, reason, hint)
    return bool(config["encryption"] != "none")


def _open_slot(config: Config, slot: Slot, password: bytes | None) -> bytes | None:
    try:
        if slot["kdf"] == "none":
            return bytes.fromhex(slot["key"])
        if slot["kdf"] != "scrypt":
            raise DunlinError(
                "open the repository", "", ErrorKind.NEWER, f"key slot {slot['id']} is of a kind that this dunlin lacks"
            )
        if password is None:
            return None
        salt, nonce, wrapped = (bytes.fromhex(slot[name]) for name in ("salt", "nonce", "wrapped"))
        wrapping = _stretch(password, salt, slot["n"], slot["r"], slot["p"])
        return AESGCM(wrapping).decrypt(nonce, wrapped, _bound(config, slot))
    except InvalidTag:
        return None
    except (KeyError, TypeError, ValueError) as error:
        raise DunlinError("open the repository", "", ErrorKind.CORRUPT, "a key slot cannot be read") from error


def _stretch(password: bytes, salt: bytes, n: int, r: int, p: int) -> bytes:
    if 128 * n * r > _MOST_MEMORY or p > 16:
        raise ValueError("a key slot asks for too much memory")
    return hashlib.scrypt(password, salt=salt, n=n, r=r, p=p, maxmem=256 * n * r + (1 << 20), dklen=KEY)


def _bound(config: Config, slot: Slot) -> bytes:
    """What a wrapped key is bound to: it opens in no slot of another tenant, and under no other configuration."""
    return f"dunlin slot {slot['id']} {slot['tenant']} ".encode() + bound(config)
