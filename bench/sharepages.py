"""Cut up pages of a listing of Azure Files: ``python -m bench.sharepages FORM COUNT`` prints the processor seconds.

No server: the pages are made up beforehand, and what the network, TLS and the service take is not in it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

PAGE = 5_000
FORMS = {
    "as the service writes it": "File {:07} of the team.docx",
    "with an entity in each name": "R&amp;D {:07}.docx",
    "non-ASCII": "Übersicht {:07} – Größe.docx",
}
_TIME = "2024-03-0{}T10:11:{:02}.1234567Z"


def pages(form: str, count: int) -> Iterator[bytes]:
    """Pages as the service sends them, about 580 bytes an entry; one entry in 13 is a directory."""
    for start in range(0, count, PAGE):
        entries = "".join(_entry(form, n) for n in range(start, min(start + PAGE, count)))
        yield (
            '\ufeff<?xml version="1.0" encoding="utf-8"?><EnumerationResults ServiceEndpoint="https://a.file/" '
            f'ShareName="team" DirectoryPath="d"><Entries>{entries}</Entries><NextMarker /></EnumerationResults>'
        ).encode()


def _entry(form: str, n: int) -> str:
    kind = "Directory" if n % 13 == 0 else "File"
    size = "" if kind == "Directory" else f"<Content-Length>{n * 37 % 1_000_003}</Content-Length>"
    name = FORMS[form].format(n)
    when = [_TIME.format(day, n % 60) for day in (1, 5, 3, 4)]
    return (
        f"<{kind}><Name>{name}</Name><FileId>{13835128424026341376 + n}</FileId><Properties>{size}"
        f"<CreationTime>{when[0]}</CreationTime><LastAccessTime>{when[1]}</LastAccessTime>"
        f"<LastWriteTime>{when[2]}</LastWriteTime><ChangeTime>{when[3]}</ChangeTime>"
        f'<Last-Modified>Mon, 04 Mar 2024 10:11:{n % 60:02} GMT</Last-Modified><Etag>"0x8DC3B{n:09X}"</Etag>'
        f"</Properties><Attributes>Archive</Attributes>"
        f"<PermissionKey>{4010187179898695473 + n % 7}*11459378189709739967</PermissionKey></{kind}>"
    )


def main() -> None:
    """Print the processor seconds of one run over all pages."""
    from dunlin.stores.azfiles import listing

    form, count = sys.argv[1], int(sys.argv[2])
    made = list(pages(form, count))
    begun, found = time.process_time(), 0
    for body in made:
        found += len(listing.page(body, "team").rows)
    taken = time.process_time() - begun
    assert found == count
    print(taken)


if __name__ == "__main__":
    main()
