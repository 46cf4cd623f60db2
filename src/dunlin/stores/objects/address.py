"""Where requests go: what is a usable http address at all, and who may be told a secret that others could use again.

A signature proves one request. A SAS or a token is a secret as a whole: whoever reads it on the way, or is sent it by
a mistyped URL, has what it opens. So these go where Azure itself answers, over TLS, or where somebody has named the
host for that purpose.
"""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

_SERVICE = re.compile(
    r"[a-z0-9-]+\.(?:z[0-9]+\.)?(?:blob|file)\."
    r"(?:core\.(?:windows\.net|chinacloudapi\.cn|usgovcloudapi\.net|cloudapi\.de)|storage\.azure\.net)"
)
_LOOPBACK = re.compile(r"localhost|127(?:\.[0-9]{1,3}){3}|::1")


def http_address(text: str) -> SplitResult | None:
    """The parts of an http or https URL whose host and port can be asked for; None for anything else."""
    try:
        parts = urlsplit(text)
        host = parts.hostname or ""
        # Without this a name with an empty or too long label fails as late as in the resolver's codec.
        host.encode("ascii").decode("ascii").encode("idna")
        fits = parts.scheme in ("http", "https") and host and (parts.port is None or parts.port > 0)
    except ValueError:
        return None
    return parts if fits and text.isascii() and not re.search(r"[\x00-\x20\x7f]", text) else None


def origin(url: str) -> str:
    """Scheme, host and port of a URL in one spelling; "" for what is no usable address."""
    parts = http_address(url)
    if parts is None:
        return ""
    return f"{parts.scheme}://{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"


def is_private(url: str) -> bool:
    """Whether nobody on the way can read what is sent there: over TLS, or without leaving the machine."""
    parts = http_address(url)
    return parts is not None and (parts.scheme == "https" or _LOOPBACK.fullmatch(parts.hostname or "") is not None)


def is_azure(url: str) -> bool:
    """Whether Azure's own blob or file service answers there, over TLS."""
    parts = http_address(url)
    return parts is not None and parts.scheme == "https" and _SERVICE.fullmatch(parts.hostname or "") is not None
