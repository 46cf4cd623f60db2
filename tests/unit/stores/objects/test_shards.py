"""One long listing at several places at once: every key once and in order, wherever it is cut and whatever happens."""

from __future__ import annotations

import bisect
import hashlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dunlin.errors import DunlinError, ErrorKind
from dunlin.stores.objects.service import Page
from dunlin.stores.objects.shards import LONG, SPAN, pages
from dunlin.stores.objects.store import ObjectStore
from tests.unit.stores.objects.fake_service import LIMITS, FakeService, network

KEYS = st.lists(st.text("ab/-.019é\U0001f426", min_size=1, max_size=6), unique=True, max_size=120)
COUNTED = st.builds(
    lambda form, many: [form.format(n // 10, n % 10) for n in range(many)],
    st.sampled_from(["{0:03}{1}", "{0}{1}", "d{0:02}/f{1}", "2024/{0:02}/{1}", "a/{0:02x}{1}"]),
    st.integers(0, 300),
)
HASHED = st.integers(0, 300).map(lambda many: [hashlib.md5(b"%d" % n).hexdigest()[:8] for n in range(many)])


class Listed(FakeService):
    """A service that tells how its pages were asked for, and may do something at each."""

    def __init__(self, keys: list[str], page: int, before: Callable[[int], object] = lambda n: None) -> None:
        super().__init__(LIMITS._replace(page=page))
        self.fill(*keys)
        self.names: list[str] = []
        self.before = before
        self.now = self.most_at_once = 0

    def page(self, prefix: str, *, delimiter: str = "", token: str = "", after: str = "", most: int = 0) -> Page:
        with self._lock:
            self.names += [after] if after else []
            self.now += 1
            self.most_at_once = max(self.most_at_once, self.now)
            number = self.requests["page"]
        try:
            self.before(number)
            return super().page(prefix, delimiter=delimiter, token=token, after=after, most=most)
        finally:
            with self._lock:
                self.now -= 1


def keys_of(listing: Iterator[Page]) -> list[str]:
    return [key for page in listing for key in in_order(page)]


def in_order(page: Page) -> list[str]:
    return sorted([*(one.key for one in page.objects), *page.prefixes])


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("dunlin-list")]


# ---- the same keys, however they are asked for ----


@given(KEYS | COUNTED | HASHED, st.integers(1, 7), st.integers(1, 6), st.integers(1, 9), st.sampled_from(["", "/"]))
def test_every_key_comes_once_and_in_order(
    keys: list[str], size: int, parallel: int, span: int, delimiter: str
) -> None:
    one_by_one = keys_of(pages(Listed(keys, size), "", delimiter))
    assert one_by_one == sorted(one_by_one)
    if not delimiter:
        assert one_by_one == sorted(keys)
    assert keys_of(pages(Listed(keys, size), "", delimiter, parallel=parallel, span=span)) == one_by_one


@given(COUNTED | KEYS, st.sampled_from(["a", "a/", "d0", "2024/"]), st.integers(1, 4), st.integers(2, 4))
def test_only_what_begins_with_the_prefix_is_listed(keys: list[str], prefix: str, size: int, parallel: int) -> None:
    wanted = sorted(key for key in keys if key.startswith(prefix))
    assert keys_of(pages(Listed(keys, size), prefix, parallel=parallel)) == wanted


@given(COUNTED | KEYS | HASHED, st.integers(1, 5), st.integers(1, 4), st.integers(1, 8))
def test_a_token_goes_on_with_all_that_follows_its_page(keys: list[str], size: int, parallel: int, span: int) -> None:
    listing = list(pages(Listed(keys, size), "", parallel=parallel, span=span))
    assert listing[-1].token == ""
    for n in {0, 1, 2, len(listing) // 2, len(listing) // 3, len(listing) - 2}:
        if 0 <= n < len(listing) and (token := listing[n].token):
            rest = [key for one in listing[n + 1 :] for key in in_order(one)]
            assert keys_of(pages(Listed(keys, size), "", token=token, parallel=parallel, span=span)) == rest


@given(COUNTED | HASHED, st.integers(1, 5), st.integers(2, 5), st.randoms(use_true_random=False))
def test_what_changes_meanwhile_neither_hides_nor_doubles_what_stays(
    keys: list[str], size: int, parallel: int, random: object
) -> None:
    coming, going, staying = keys[::5], keys[1::5], [key for n, key in enumerate(keys) if n % 5 > 1]
    service = Listed([*going, *staying], size)

    def change(number: int) -> None:
        with service._lock:
            if coming:
                service.fill(coming.pop())
            if going:
                gone = going.pop()
                del service.objects[gone]
                service._keys.remove(gone)

    service.before = change
    seen = keys_of(pages(service, "", parallel=parallel, span=2))
    assert seen == sorted(set(seen))
    assert set(staying) <= set(seen) <= set(keys)


@pytest.mark.parametrize("delimiter", ["", "/"])
def test_a_cut_within_a_directory_does_not_double_it(delimiter: str) -> None:
    keys = [f"{n // 50:02}/{n % 50:02}" for n in range(2000)]
    service = Listed(keys, 4)
    listed = keys_of(pages(service, "", delimiter, parallel=4))
    assert listed == (sorted({key[:3] for key in keys}) if delimiter else keys)
    assert service.names


# ---- errors, and receivers that go away ----


@given(COUNTED | HASHED, st.integers(1, 5), st.integers(1, 5), st.integers(0, 60))
def test_an_error_comes_at_its_place(keys: list[str], size: int, parallel: int, broken: int) -> None:
    service = Listed(keys, size)
    service.faults["page"] = [*[None] * broken, network()]
    seen: list[str] = []
    raised = False
    try:
        for page in pages(service, "", parallel=parallel, span=3):
            seen += in_order(page)
    except DunlinError as error:
        raised = error.kind is ErrorKind.NETWORK
    assert seen == sorted(keys)[: len(seen)]
    # Only a page that nobody needs may fail without a word: none that was needed did.
    assert raised or len(seen) == len(keys)
    assert raised or service.requests["page"] <= broken or parallel > 1


def test_pages_before_an_error_are_handed_out_first() -> None:
    keys = [f"{n:04}" for n in range(1000)]

    def before(number: int) -> None:
        if service.names and number > 60:
            raise network()

    service = Listed(keys, 5, before)
    seen: list[str] = []
    listing = pages(service, "", parallel=3)
    with pytest.raises(DunlinError) as caught:
        seen.extend(key for page in listing for key in in_order(page))
    assert caught.value.kind is ErrorKind.NETWORK
    assert len(seen) >= 100
    assert seen == keys[: len(seen)]


def test_a_listing_that_does_not_move_on_is_an_error() -> None:
    class Stuck(Listed):
        def page(self, prefix: str, *, delimiter: str = "", token: str = "", after: str = "", most: int = 0) -> Page:
            return super().page(prefix, delimiter=delimiter, after=after, most=most)._replace(token="again")

    for parallel in (1, 4):
        with pytest.raises(DunlinError) as caught:
            keys_of(pages(Stuck(["a", "b"], 1), "", parallel=parallel))
        assert caught.value.kind is ErrorKind.IO


def test_nothing_goes_on_when_the_receiver_goes_away() -> None:
    service = Listed([f"{n:05}" for n in range(5000)], 5)
    listing = pages(service, "", parallel=4)
    with closing(listing):  # type: ignore[type-var]
        for _ in range(40):
            next(listing)
        assert threads()
    made = service.requests["page"]
    assert threads() == []
    assert service.requests["page"] == made


# ---- how many requests, and how many at a time ----


@pytest.mark.parametrize("many", [0, 1, 999, 1000, 1001, 2500, 3000])
def test_a_short_listing_costs_no_request_more(many: int) -> None:
    service = Listed([f"{n:05}" for n in range(many)], 1000)
    assert len(keys_of(pages(service, "", parallel=4))) == many
    assert service.requests["page"] == max(1, -(-many // 1000)) <= LONG
    assert service.names == []


NAMES: dict[str, Callable[[int], str]] = {
    "numbered": "img_{:08}.jpg".format,
    "not padded": "{}.jpg".format,
    "in directories": lambda n: f"dir{n // 20:04}/file{n % 20:02}",
    "hashed": lambda n: hashlib.md5(b"%d" % n).hexdigest(),
    "hashed, in directories": lambda n: "{0:.2}/{0}".format(hashlib.md5(b"%d" % n).hexdigest()),
    "dated": lambda n: f"logs/20{20 + n // 7300}/{1 + n // 620 % 12:02}/{1 + n // 20 % 31:02}/{n % 20:02}.log",
    "in one directory, mostly": lambda n: f"a/{n:06}" if n < 19_000 else f"b{n % 100}/{n}",
}


@pytest.mark.parametrize("kind", NAMES)
def test_a_long_listing_costs_few_requests_more_and_most_come_from_elsewhere(kind: str) -> None:
    keys = sorted({NAMES[kind](n) for n in range(20_000)})
    service = Listed(keys, 200)
    assert keys_of(pages(service, "", parallel=4)) == keys
    chain = -(-len(keys) // 200)
    assert service.requests["page"] <= 1.25 * chain
    assert len(service.names) >= 4


def test_requests_are_under_way_at_the_same_time() -> None:
    met = threading.Event()

    def together(number: int) -> None:
        if number >= LONG:
            if service.now == 2:
                met.set()
            assert met.wait(20)

    service = Listed([f"{n:05}" for n in range(5000)], 10, together)
    assert len(keys_of(pages(service, "", parallel=2))) == 5000
    assert service.most_at_once == 2


class AtOnce:
    """Threads that are through with everything before anybody looks: a receiver that is slower than the service."""

    def __init__(self, *_: object) -> None: ...

    def __enter__(self) -> AtOnce:
        return self

    def __exit__(self, *_: object) -> None: ...

    def submit(self, act: Callable[..., Page], *given: object) -> Future[Page]:
        future: Future[Page] = Future()
        future.set_result(act(*given))
        return future


@pytest.mark.parametrize(("parallel", "span"), [(2, 3), (4, SPAN), (3, 1)])
def test_what_is_read_ahead_is_bounded(parallel: int, span: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dunlin.stores.objects.shards.ThreadPoolExecutor", AtOnce)

    class Telling(Listed):
        def page(self, prefix: str, *, delimiter: str = "", token: str = "", after: str = "", most: int = 0) -> Page:
            page = super().page(prefix, delimiter=delimiter, token=token, after=after, most=most)
            told.update(one.key for one in page.objects)
            return page

    told: set[str] = set()
    service = Telling([f"{n:06}" for n in range(10_000)], 10)
    taken = most = 0
    for page in pages(service, "", parallel=parallel, span=span):
        taken += len(page.objects)
        most = max(most, len(told) - taken)
    assert taken == 10_000
    # Kept, under way, and of one page for each range what lies behind its end.
    assert most <= 10 * (parallel * span + 2 * parallel)
    assert most >= 10 * parallel * span // 2


# ---- services that cannot ----


class Refusing(Listed):
    """Lists from the beginning only, and says so."""

    def page(self, prefix: str, *, delimiter: str = "", token: str = "", after: str = "", most: int = 0) -> Page:
        if after:
            raise DunlinError("list", self.url, ErrorKind.UNSUPPORTED, "not behind a name")
        return super().page(prefix, delimiter=delimiter, token=token, most=most)


class Ignoring(Listed):
    """Lists from the beginning only, whatever it is asked."""

    def page(self, prefix: str, *, delimiter: str = "", token: str = "", after: str = "", most: int = 0) -> Page:
        self.names += [after] if after else []
        return super().page(prefix, delimiter=delimiter, token=token, most=most)


class Filtering(Ignoring):
    """Does so, and drops what was not asked for: pages without keys, and a token."""

    def page(self, prefix: str, *, delimiter: str = "", token: str = "", after: str = "", most: int = 0) -> Page:
        page = super().page(prefix, delimiter=delimiter, token=token, after=after, most=most)
        return page._replace(objects=[one for one in page.objects if one.key > after])


@pytest.mark.parametrize("unable", [Refusing, Ignoring, Filtering])
@given(keys=COUNTED | HASHED | KEYS, size=st.integers(1, 5), parallel=st.integers(2, 5), span=st.integers(1, 4))
def test_a_service_that_cannot_begin_behind_a_name_is_listed_in_turn(
    unable: type[Listed], keys: list[str], size: int, parallel: int, span: int
) -> None:
    told: list[int] = []
    service = unable(keys, size)
    assert keys_of(pages(service, "", parallel=parallel, span=span, refused=lambda: told.append(1))) == sorted(keys)
    if service.names:
        assert told


def test_such_a_service_is_asked_once_in_a_stores_life() -> None:
    service = Ignoring([f"{n:04}" for n in range(100)], 5)
    store = ObjectStore(service)
    for _ in range(2):
        assert [name for batch in store.list("") for name, _ in batch] == [f"{n:04}" for n in range(100)]
    assert len(service.names) == 1
    assert service.requests["page"] <= 2 * 20 + 1


# ---- services with an order of their own ----


class Elsewhere(Listed):
    """Lists in some other order, and begins behind a name where that would stand in it."""

    def __init__(self, keys: list[str], page: int, order: Callable[[str], Any]) -> None:
        super().__init__(keys, page)
        self.order = order
        self._keys.sort(key=order)

    def page(self, prefix: str, *, delimiter: str = "", token: str = "", after: str = "", most: int = 0) -> Page:
        with self._lock:
            self.names += [after] if after else []
            self._request("page", prefix, delimiter, token)
            place = int(token) if token else bisect.bisect_right(self._keys, self.order(after), key=self.order)
            place = place if token or after else 0
            page = Page([], [], "")
            while place < len(self._keys):
                key = self._keys[place]
                end = key.find(delimiter, len(prefix)) if delimiter else -1
                folded = end >= 0 and key.startswith(prefix)
                if folded and page.prefixes[-1:] == [key[: end + 1]]:
                    place += 1
                    continue
                if len(page.objects) + len(page.prefixes) == min(most or self.limits.page, self.limits.page):
                    # A directory that the page has begun is on no other one.
                    return page._replace(token=str(place))
                if folded:
                    page.prefixes.append(key[: end + 1])
                elif key.startswith(prefix):
                    page.objects.append(self._said(key, True))
                place += 1
            return page


def walked(key: str) -> list[str]:
    """As one goes through directories: the names in each in order."""
    return key.split("/")


ORDERS: dict[str, Callable[[str], Any]] = {
    "directories": walked,
    "without case": lambda key: (key.lower(), key),
    "UTF-16": lambda key: key.encode("utf-16-be"),
    "backwards": lambda key: [-ord(letter) for letter in key] + [0],
    "by hash": lambda key: hashlib.md5(key.encode()).digest(),
    "slash last": lambda key: key.replace("/", "\U0010ffff"),
}
MIXED = st.lists(st.text("aAb/-.0\uffee\U0001f426", min_size=1, max_size=4), unique=True, max_size=150)


@pytest.mark.parametrize("kind", ORDERS)
@settings(max_examples=40)
@given(
    keys=COUNTED | HASHED | KEYS | MIXED, size=st.integers(1, 5), parallel=st.integers(1, 5), span=st.integers(1, 5)
)
def test_in_whatever_order_a_service_lists_every_key_comes_once(
    kind: str, keys: list[str], size: int, parallel: int, span: int
) -> None:
    service = Elsewhere(keys, size, ORDERS[kind])
    listed = [one.key for page in pages(service, "", parallel=parallel, span=span) for one in page.objects]
    assert listed == service._keys


@given(keys=COUNTED | KEYS | MIXED, size=st.integers(1, 5), parallel=st.integers(2, 5))
def test_nor_does_a_directory_get_lost(keys: list[str], size: int, parallel: int) -> None:
    service = Elsewhere(keys, size, walked)
    found = {name for page in pages(service, "", "/", parallel=parallel) for name in in_order(page)}
    assert found == {key.partition("/")[0] + "/" if "/" in key else key for key in keys}


@pytest.mark.parametrize("page", [100, 1000])
@pytest.mark.parametrize("kind", ORDERS)
def test_a_store_over_such_a_service_shows_all_of_it(kind: str, page: int) -> None:
    # Names between d00- and d00/, where a cut may fall: a walk comes to d00/ before them, the bytes after them.
    keys = [f"d{n // 90:02}{'/' if n % 90 < 60 else '-'}{n % 90:04}" for n in range(9000)]
    service = Elsewhere(keys, page, ORDERS[kind])
    store = ObjectStore(service)
    for _ in range(2):
        assert [path for batch in store.walk("") for path, _ in batch] == service._keys
    assert {name for batch in store.list("") for name, _ in batch} == {key.partition("/")[0] for key in keys}


def test_what_is_in_disorder_is_listed_in_turn_from_then_on() -> None:
    keys = [f"d{n // 90:02}{'/' if n % 90 < 60 else '-'}{n % 90:04}" for n in range(9000)]
    service = Elsewhere(keys, 100, walked)
    store = ObjectStore(service)
    list(store.walk(""))
    service.requests.clear()
    service.names.clear()
    list(store.walk(""))
    assert service.requests["page"] == 90
    assert service.names == []


def test_what_is_written_at_a_seam_meanwhile_does_not_end_the_cutting() -> None:
    service = Listed([f"{n:06}" for n in range(20_000)], 100)
    torn: list[str] = []

    def write(number: int) -> None:
        with service._lock:
            if service.names and not torn:
                torn.append(service.names[0] + "!")
                service.fill(torn[0])

    service.before = write
    told: list[int] = []
    seen = keys_of(pages(service, "", parallel=4, refused=lambda: told.append(1)))
    assert [key for key in seen if key not in torn] == [f"{n:06}" for n in range(20_000)]
    assert not told
    assert len(service.names) > 10


# ---- the switch ----


@pytest.mark.parametrize("verb", ["list", "walk"])
def test_one_request_at_a_time_is_the_chain(verb: str) -> None:
    keys = [f"{n:04}" for n in range(400)]
    service = Listed(keys, 5)
    listed = [name for batch in getattr(ObjectStore(service, list_parallel=1), verb)("") for name, _ in batch]
    assert listed == keys
    assert service.requests["page"] == 80
    assert service.most_at_once == 1
    assert service.names == []
    service = Listed(keys, 5)
    assert [name for batch in getattr(ObjectStore(service), verb)("") for name, _ in batch] == keys
    assert service.names


def test_what_is_not_in_order_is_not_cut() -> None:
    service = FakeService(LIMITS._replace(page=5), ordered=False)
    keys = [f"{n:04}" for n in range(400)]
    service.fill(*keys)
    assert sorted(name for batch in ObjectStore(service).walk("") for name, _ in batch) == keys
    assert service.requests["page"] == 80
