"""One long listing asked for at several places at once, its pages handed out in the order of the keys.

Theory. A page of a listing names the next one, so a listing is a chain: a million keys at a thousand a page and 60 ms
each take a minute, and the service, the line and this machine are idle for most of it. But a service can also begin
*behind any string*. So the listing is cut into ranges, each of which is a chain of its own.

*Exact for any cut, in order.* A range holds the keys behind `after` and up to `upto`, and `after` is the `upto` of the
range before it. Every string belongs to one range, whatever is written or deleted meanwhile, so no key is lost or
doubled wherever the cuts lie; a bad cut costs a request, never a key. What a page has beyond its range is dropped, and
the range ends.

*Out of order, too.* All this holds where keys are listed by their bytes, and a server that speaks like S3 may walk
through directories instead (``d0/x`` before ``d0-x``), and begin behind a name where that would stand on its walk. So
nothing is taken on trust. A page must ascend in itself and go on behind the one before; and a range must begin with
just the key that was the first to be dropped at the end of the range before. If that holds at every seam, what is
handed out is one unbroken piece of the service's own sequence, whatever its order. Where a seam does not hold, and
something may have been written meanwhile, the range is listed anew, as the continuation of the one before; the second
time, nothing is cut any more. Where a page does not ascend, the rest of the listing is one chain in the service's own
order, from what was handed out last; who relies on the order finds out by looking (`compare.listing`).

*Where to cut.* Not once for the whole listing: of a large one the far ranges would fill their share of memory and then
stand still until the receiver arrives, so only short ranges near the front are of use. And not by asking for names
(with a delimiter, or one key at a time): that costs requests, and tells names, not how many keys lie below each. Each
page tells how densely keys lie where it is (`scale`), so whenever there is a thread without work, the first range that
seems to go on for long is cut some pages ahead of what is listed of it: its rest becomes a range whose first page
tells how densely keys lie *there*. Voids are crossed with the first page behind them. A range that seems shorter is
cut in halves when nothing else is left to do, which keeps all threads busy to the end.

*What it costs.* A range ends in the middle of a page, so where its end seems near, fewer keys are asked for. Keys that
no straight line fits waste more. What was dropped is counted, and nothing is cut while it is over a tenth of what was
of use: a bad guess makes a listing slow, as a chain is, but not dear. A listing of up to `LONG` pages is one chain and
costs no request more. Beyond that the beginning is slow, as with TCP: the first ranges are short, so that little is
asked for behind the end of what is not very long.

*Bounded.* A range lists at most `SPAN` pages ahead, and all together `SPAN` for each thread; only the first range may
always go on. Requests are begun by the receiver when it asks for a page, and made by a few threads: there are no
locks, and nothing goes on when the receiver is gone.

*Tokens.* A service's token says where to go on and not where the range began, so a page's token continues through all
that follows, in any process. On the last page of a range it would skip what was dropped, so that page has none.

*Services that cannot.* One that refuses `after`, or passes over it, is found out by the first cut: the range is given
back to the one before, and the listing is a chain again.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import zip_longest
from operator import attrgetter, lt

from dunlin.errors import DunlinError, ErrorKind
from dunlin.stores.objects.scale import NEAR, Line, Scales
from dunlin.stores.objects.service import Page, Service

SPAN = 8
"""Pages of a range; also the most that are kept of one, and for each thread."""

LONG = 3
"""Pages after which a listing counts as long."""

_WASTE = 0.1
_FREE = 2.0
_SPARE = 0.2
_REQUEST = 0.1

_key = attrgetter("key")


def pages(
    service: Service,
    prefix: str,
    delimiter: str = "",
    most: int = 0,
    token: str = "",
    parallel: int = 1,
    *,
    span: int = SPAN,
    refused: Callable[[], object] = lambda: None,
) -> Iterator[Page]:
    """All pages of a listing in the service's order, or those behind a token.

    Args:
        service: any; one whose listings are not in order is found out, and listed in turn.
        delimiter, most, token: see `Service.page`.
        parallel: requests under way at a time; 1: one page after the other.
        span: pages of a range, and kept for each request under way.
        refused: called when the service turns out not to begin behind a name, or not to list in order.

    Pages have the token by which the rest of the listing is asked for, "" where there is none: on the last one, and
    where two ranges meet. Raises IO for a service that tells the same token again.
    """
    page = service.page(prefix, delimiter=delimiter, token=token, most=most)
    yield page
    if parallel < 2:
        yield from _chain(service, prefix, delimiter, most, page.token)
    elif page.token:
        with ThreadPoolExecutor(parallel, "dunlin-list") as pool:
            shards = _Shards(service, prefix, delimiter, most, parallel, span, pool, refused)
            yield from shards.pages(page, token)


def _chain(service: Service, prefix: str, delimiter: str, most: int, token: str) -> Iterator[Page]:
    while token:
        page = service.page(prefix, delimiter=delimiter, token=token, most=most)
        yield page
        if page.token == token:
            raise _stuck(service, prefix)
        token = page.token


def _stuck(service: Service, prefix: str) -> DunlinError:
    return DunlinError("list", f"{service.url}/{prefix}", ErrorKind.IO, "the listing does not move on")


@dataclass(slots=True, eq=False, repr=False)
class _Range:
    """The keys behind `after` and up to `upto` (None: all), as far as they are listed.

    Attributes:
        token, start: how the next page is asked for: behind a token, else behind a name.
        asked: the same of the last one. fresh: no page is listed that was asked for by a name.
        left: pages that seem to be left of it; None: nobody knows.
        line: how keys seem to go on behind what is listed.
        first: the first name behind `after` that was listed, and whether this is known to be where it should be
            (`joined`). last: the last name listed. beyond: the first one behind `upto`, by which it ended.
    """

    after: str
    upto: str | None
    token: str = ""
    start: str = ""
    asked: tuple[str, str] = ("", "")
    fresh: bool = True
    pages: deque[tuple[Page, tuple[str, str]]] = field(default_factory=deque)
    future: Future[Page] | None = None
    error: Exception | None = None
    done: bool = False
    left: float | None = None
    line: Line | None = None
    first: str = ""
    joined: bool = False
    last: str = ""
    beyond: str = ""


class _Unordered(Exception):
    """A page does not ascend."""


class _Shards:
    """The ranges of one listing that are not handed out yet, in the order of their keys. For one thread."""

    def __init__(
        self,
        service: Service,
        prefix: str,
        delimiter: str,
        most: int,
        parallel: int,
        span: int,
        pool: ThreadPoolExecutor,
        refused: Callable[[], object],
    ) -> None:
        self._service = service
        self._prefix = prefix
        self._delimiter = delimiter
        self._most = most
        self._parallel = parallel
        self._span = span
        self._pool = pool
        self._refused = refused
        self._scales = Scales(prefix)
        self._ranges: deque[_Range] = deque()
        self._cuts = True
        self._busy = 0
        self._held = 0
        self._full = 1
        self._used = 1.0
        self._wasted = 0.0
        self._asked = ("", "")
        self._beyond = ""
        self._torn = 0
        self._behind = ("", "", "")
        """How to go on behind what was handed out: token, or a name, and then the last key of that page."""

    def pages(self, first: Page, token: str) -> Iterator[Page]:
        """The pages that follow the first one, which was asked for by `token`."""
        if first.token == token:
            raise _stuck(self._service, self._prefix)
        self._full = max(1, _count(first))
        self._behind = first.token, "", ""
        if not _ascends(first, ""):
            yield from self._in_turn()
            return
        whole = _Range("", None, first.token, fresh=False, joined=True, last=_last(first))
        self._measure(whole, first)
        self._ranges.append(whole)
        while self._ranges:
            front = self._ranges[0]
            self._gather()
            self._begin()
            if not front.joined and (front.first or front.done) and self._tears(front):
                continue
            if front.pages:
                self._held -= 1
                page, asked = front.pages.popleft()
                self._behind = (page.token, "", "") if page.token else (*asked, _last(page))
                yield page
            elif isinstance(front.error, _Unordered):
                yield from self._in_turn()
                return
            elif front.error is not None:
                raise front.error
            elif front.done:
                self._asked, self._beyond = front.asked, front.beyond
                self._ranges.popleft()
            elif front is self._ranges[0]:
                wait([one.future for one in self._ranges if one.future is not None], return_when=FIRST_COMPLETED)

    def _tears(self, front: _Range) -> bool:
        """Whether the range in front does not begin where the one before it ended; then it is listed anew."""
        front.joined = front.first == self._beyond
        if front.joined:
            return False
        self._torn += 1
        if self._torn > 1:
            self._cuts = False
            self._refused()
        self._held -= len(front.pages)
        if front.future is not None:
            self._busy -= 1
            wait([front.future])
        token, start = self._asked
        self._ranges[0] = _Range(front.after, front.upto, token, start, fresh=False, joined=True)
        return True

    def _in_turn(self) -> Iterator[Page]:
        """All behind what was handed out, as the service has it."""
        self._refused()
        token, start, last = self._behind
        if not (token or start or last):
            return
        page = self._ask(token, start, self._most)
        yield _within(page, last, None)[0] if last else page
        yield from _chain(self._service, self._prefix, self._delimiter, self._most, page.token)

    # ---- requests ----

    def _begin(self) -> None:
        """Give work to all threads, as far as there is any."""
        while self._busy < self._parallel:
            one = self._waiting() or self._cut()
            if one is None:
                return
            one.asked = one.token, one.start
            one.future = self._pool.submit(self._ask, *one.asked, self._enough(one))
            self._busy += 1

    def _ask(self, token: str, after: str, most: int) -> Page:
        name = "" if token else after
        return self._service.page(self._prefix, delimiter=self._delimiter, token=token, after=name, most=most)

    def _enough(self, one: _Range) -> int:
        """How many keys to ask for: fewer than a page where a range seems to end soon."""
        if one.left is None or one.upto is None or one.left > 1 - _SPARE:
            return self._most
        return max(1, int(self._full * (max(one.left, 0.0) + _SPARE)))

    def _room(self) -> bool:
        return self._held + self._busy < self._parallel * self._span

    def _living(self) -> Iterator[_Range]:
        """The ranges that are not through; nothing behind an error is ever handed out."""
        for one in self._ranges:
            if one.error is not None:
                return
            if not one.done:
                yield one

    def _waiting(self) -> _Range | None:
        """The first range of which another page may be asked for."""
        for one in self._living():
            first = one is self._ranges[0] and not one.pages
            if one.future is None and (first or (len(one.pages) < self._span and self._room())):
                return one
        return None

    # ---- answers ----

    def _gather(self) -> None:
        """Take in all pages that have come."""
        for one in [one for one in self._ranges if one.future is not None and one.future.done()]:
            future, one.future = one.future, None
            assert future is not None
            self._busy -= 1
            try:
                page = future.result()
            except Exception as error:
                if one.fresh and getattr(error, "kind", None) is ErrorKind.UNSUPPORTED:
                    self._rejoin(one)
                else:
                    one.error = error
            else:
                if one.fresh and _ignores(page, one.after):
                    self._rejoin(one)
                else:
                    self._take(one, page)

    def _take(self, one: _Range, page: Page) -> None:
        if page.token and page.token == one.token:
            one.error = _stuck(self._service, self._prefix)
            return
        if not _ascends(page, one.last):
            one.error = _Unordered()
            return
        one.fresh = False
        one.first = one.first or _first(page, one.after)
        one.last = _last(page) or one.last
        kept, ended = _within(page, one.after, one.upto)
        one.beyond = _first(page, one.upto) if ended and one.upto is not None else ""
        one.done = ended or not page.token
        one.token = "" if one.done else page.token
        listed, used = _count(page), _count(kept)
        # A request costs something, too, whatever it brings.
        self._used += used / self._full
        self._wasted += (listed - used) / self._full + (_REQUEST if listed < self._full else 0.0)
        if not one.done:
            self._measure(one, kept)
        if used:
            one.pages.append((kept._replace(token=one.token), one.asked))
            self._held += 1

    def _rejoin(self, one: _Range) -> None:
        """The service does not begin behind a name: give a range back to the one before, and cut no more."""
        self._cuts = False
        self._refused()
        where = self._ranges.index(one)
        before = self._ranges[where - 1] if where else None
        if before is not None and not before.done:
            before.upto = one.upto
            del self._ranges[where]
            return
        # The page that ended the range before has the first keys of this one, which were dropped.
        one.token, one.start = before.asked if before is not None else self._asked
        one.fresh = False

    # ---- cuts ----

    def _measure(self, one: _Range, page: Page) -> None:
        """Learn from a page how densely keys lie where it ends."""
        keys = _names(page)
        if keys:
            one.line = self._scales.line(keys)
            one.left = one.line.pages(one.upto)

    def _cut(self) -> _Range | None:
        """The new range behind a cut in whichever is long enough; None: there is none, or no room or reason."""
        if not self._cuts or self._used < LONG or self._wasted > _FREE + _WASTE * self._used or not self._room():
            return None
        far = min(self._span, int(self._used))
        best: _Range | None = None
        living = list(self._living())
        for one, behind in zip_longest(living, living[1:]):
            # Where a cut has shown no key yet, the keys may end long before it.
            if one.left is None or (behind is not None and behind.fresh):
                continue
            if one.left >= 1.5 * far:
                best = one
                break
            if one.left >= NEAR and (best is None or one.left > (best.left or 0)):
                best = one
        if best is None or best.left is None or best.line is None:
            return None
        ahead = min(far, best.left / 2)
        name = best.line.ahead(ahead, best.upto)
        if not name:
            best.left = None
            return None
        rest = _Range(name, best.upto, start=name)
        best.upto = name
        best.left = ahead
        self._ranges.insert(self._ranges.index(best) + 1, rest)
        return rest


def _names(page: Page) -> list[str]:
    names = [one.key for one in page.objects]
    return sorted([*names, *page.prefixes]) if page.prefixes else names


def _count(page: Page) -> int:
    return len(page.objects) + len(page.prefixes)


def _last(page: Page) -> str:
    return max(page.objects[-1].key if page.objects else "", page.prefixes[-1] if page.prefixes else "")


def _first(page: Page, after: str) -> str:
    """The first name of a page behind another one; "" where there is none."""
    at = bisect_right(page.objects, after, key=_key)
    names = [one.key for one in page.objects[at : at + 1]]
    at = bisect_right(page.prefixes, after)
    return min(names + page.prefixes[at : at + 1], default="")


def _ascends(page: Page, behind: str) -> bool:
    """Whether the names of a page are in order, and lie behind that one."""
    keys = [one.key for one in page.objects]
    for names in (keys, page.prefixes):
        if names and ((behind and names[0] <= behind) or not all(map(lt, names, names[1:]))):
            return False
    return True


def _ignores(page: Page, after: str) -> bool:
    """Whether a page asked for behind a name shows that the service begins elsewhere."""
    return _last(page) <= after if _count(page) else bool(page.token)


def _within(page: Page, after: str, upto: str | None) -> tuple[Page, bool]:
    """What of a page lies behind a name and up to another, and whether it has more than that."""
    objects, prefixes = page.objects, page.prefixes
    ended = upto is not None and _last(page) > upto
    if upto is not None and ended:
        objects = objects[: bisect_right(objects, upto, key=_key)]
        prefixes = prefixes[: bisect_right(prefixes, upto)]
    if (objects and objects[0].key <= after) or (prefixes and prefixes[0] <= after):
        objects = objects[bisect_right(objects, after, key=_key) :]
        prefixes = prefixes[bisect_right(prefixes, after) :]
    return Page(objects, prefixes, page.token), ended
