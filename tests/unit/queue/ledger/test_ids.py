"""ids: short, and in the order of time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dunlin.queue.ledger.ids import DIGITS, EPOCH, LENGTH, Ids, number_of, short, span_of, text_of

numbers = st.integers(0, (1 << 60) - 1)


@given(numbers, numbers)
def test_texts_sort_as_numbers_do_and_lead_back(one: int, two: int) -> None:
    assert (text_of(one) < text_of(two)) == (one < two)
    assert number_of(text_of(one)) == one
    assert len(text_of(one)) == LENGTH


def test_what_is_no_id_has_no_number() -> None:
    good = text_of(12345)
    for text in ("", good[:-1], good + "0", good.upper().replace("0", "O"), "u" * 12, "-" * 12, "\udcff" * 12):
        assert number_of(text) == -1, text


@given(numbers, st.integers(0, LENGTH))
def test_a_span_holds_the_ids_that_begin_so(number: int, length: int) -> None:
    low, high = span_of(text_of(number)[:length])
    assert low <= number <= high
    assert (high - low + 1) == 32 ** (LENGTH - length)


def test_nothing_begins_with_what_is_no_digit() -> None:
    assert span_of("l") == span_of("0" * 13) == (0, -1)


def test_ids_grow_within_a_millisecond_and_when_the_clock_is_set_back() -> None:
    now = [EPOCH + 1000.0]
    ids = Ids(lambda: now[0])
    made = [ids.next() for _ in range(50)]
    now[0] -= 500
    made += [ids.next() for _ in range(50)]
    now[0] += 5000
    later = ids.next()
    assert made == sorted(set(made))
    assert later > made[-1]
    assert later >> 20 == 5_500_000


def test_two_services_do_not_give_the_same_ids() -> None:
    one, two = Ids(lambda: EPOCH), Ids(lambda: EPOCH)
    assert len({ids.next() for ids in (one, two) for _ in range(100)}) >= 199


def test_short_texts_have_our_digits() -> None:
    assert len(short(10)) == 10
    assert set(short(2000)) == set(DIGITS)
