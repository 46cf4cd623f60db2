"""How far apart keys lie: numbers for keys, and keys for numbers, learned from keys that were seen.

Theory. A service tells no count of its keys and nothing about where they lie; all it does is to begin a listing behind
any string. To begin at eight places at once one has to guess strings between which about equally many keys lie. Keys
are mostly numbered, dated or hashed, so what comes next looks like what came last: a page of a thousand keys that
reaches from ``img_2000`` to ``img_2999`` promises that ten pages on is ``img_12999``. The guess is a straight line,
once keys are numbers, and `Scale` makes them so: each place of a name is a digit of a number in mixed radix, its
letters being those that were seen at this place.

Which letters stand at a place is learned from a few keys of each page. Letters not seen yet are taken to be the rest
of their kind (all digits once there was one), because a counter has still to reach them. A place that was seen to
start over, while a place before it moved on, has shown all that it has: its letters then end where they were seen to
end. So in ``2024-01-31`` the tens of the day go up to 3, and the guess does not fall into the void behind the 31st.

Directories. Places are counted from a directory on, as those of ``a/`` and ``albatross/`` do not match otherwise, and
each depth has its own scale, as names of one depth look alike. A page tells the density of the directory in which it
ends, if a good part of it lies there, and of those above. A guess that would lead out of the directory is the
directory's end, unless that is near: then the guess is that of the directory above.

A guess may be bad, never wrong: whoever uses it must be right with any string (see `shards`). Python compares strings
by code points, which is the order of their UTF-8 bytes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

SAMPLE = 32
"""Keys of a page that are looked at."""

FINE = 8
"""Places behind the first one that differs within a page: what they tell is more than enough."""

NEAR = 3
"""Pages: the end of a directory that is nearer is not worth a range of its own."""

_PART = 4
_ROUNDS = 2
_DIGITS = "0123456789"
_LOWER = "abcdefghijklmnopqrstuvwxyz"
_KINDS = (_DIGITS, _LOWER, _LOWER.upper())


class Scale:
    """Names as numbers, by the letters that were seen at each of their places. For one thread."""

    def __init__(self) -> None:
        self._directory = ""
        self._seen: list[set[str]] = []
        self._rounds: list[int] = []
        self._letters: list[str] = []

    def learn(self, names: Sequence[str], directory: str = "") -> int:
        """Take note of some sorted names in a directory; returns how many of their first places are worth a number."""
        common = _common(names[0], names[-1])
        stop = common + FINE
        few = [names[n] for n in range(0, len(names), max(1, len(names) // SAMPLE))]
        self._note(names[0][:stop], 0)
        if directory > self._directory:
            if self._directory:
                self._start_over(0)
            self._directory = directory
        for before, name in pairwise([*few, names[-1]]):
            name = name[:stop]
            self._note(name, common)
            for place in range(_common(before, name) + 1, len(name)):
                self._start_over(place)
        return min(stop, len(self._seen))

    def _start_over(self, place: int) -> None:
        self._rounds[place] += 1
        if self._rounds[place] == _ROUNDS:
            self._letters[place] = ""

    def _note(self, name: str, start: int) -> None:
        more = len(name) - len(self._seen)
        if more > 0:
            self._seen += [set() for _ in range(more)]
            self._rounds += [0] * more
            self._letters += [""] * more
        for place in range(start, len(name)):
            if name[place] not in self._seen[place]:
                self._seen[place].add(name[place])
                self._letters[place] = ""

    def _at(self, place: int) -> str:
        """The letters of a place, sorted."""
        if not self._letters[place]:
            self._letters[place] = _letters(self._seen[place], self._rounds[place] >= _ROUNDS)
        return self._letters[place]

    def number(self, name: str, stop: int) -> int:
        """Where a name lies, by its places before `stop`; never falls while names rise."""
        number, past, below = 0, False, False
        for place in range(stop):
            letters = self._at(place)
            at = 0
            if past:
                at = len(letters) - 1
            elif not below and place < len(name):
                at = bisect_left(letters, name[place])
                if at == len(letters):
                    at, past = at - 1, True
                else:
                    below = letters[at] != name[place]
            number = number * len(letters) + at
        return number

    def size(self, stop: int) -> int:
        """How many numbers there are."""
        size = 1
        for place in range(stop):
            size *= len(self._at(place))
        return size

    def name(self, number: int, stop: int) -> str:
        """The first name that has this number."""
        letters = []
        for place in reversed(range(stop)):
            number, at = divmod(number, len(self._at(place)))
            letters.append(self._at(place)[at])
        return "".join(reversed(letters))


def _common(one: str, other: str) -> int:
    """How many letters two names begin with alike."""
    for n, (mine, its) in enumerate(zip(one, other, strict=False)):
        if mine != its:
            return n
    return min(len(one), len(other))


def _letters(seen: set[str], whole: bool) -> str:
    """The letters of a place where these were seen; `whole`: none is beyond those seen."""
    full = set(seen)
    for kind in _KINDS:
        if not seen.isdisjoint(kind):
            full.update(kind)
    for kind in _KINDS[1:]:
        # Letters up to f, and no others, next to digits are hexadecimal.
        if not seen.isdisjoint(_DIGITS) and not seen.isdisjoint(kind) and seen.isdisjoint(kind[6:]):
            full.difference_update(kind[6:])
    if whole:
        low, high = min(seen), max(seen)
        full = {letter for letter in full if low <= letter <= high}
    return "".join(sorted(full))


class _Level(NamedTuple):
    """What a page tells of one directory: where it begins and ends in it, and which part of the page lies there."""

    directory: str
    scale: Scale
    stop: int
    first: str
    last: str
    part: float

    def place(self) -> tuple[int, float]:
        """The number of the last key, and how many numbers there are to a page."""
        at = self.scale.number(self.last, self.stop)
        return at, (at - self.scale.number(self.first, self.stop)) / self.part

    def room(self, at: int) -> int:
        """How many numbers there are behind one."""
        return self.scale.size(self.stop) - 1 - at

    def end(self) -> str:
        """A string behind all that lies in the directory; "0" is what follows the slash."""
        return self.directory[:-1] + "0" if self.directory else ""


class Line:
    """Where keys lie behind the end of a page, if they go on as they did in it."""

    def __init__(self, levels: list[_Level], last: str) -> None:
        self._levels = levels
        self._last = last

    def pages(self, upto: str | None) -> float | None:
        """How many pages there seem to be up to a key (None: there is no end); None: nobody knows."""
        for level in self._levels:
            at, step = level.place()
            if step <= 0 or upto is None:
                continue
            if upto == level.end():
                return level.room(at) / step
            if upto.startswith(level.directory):
                return (level.scale.number(upto[len(level.directory) :], level.stop) - at) / step
        return float("inf") if upto is None and self._levels else None

    def ahead(self, pages: float, upto: str | None) -> str:
        """A string about so many pages ahead, before `upto`; "" where there is none worth it."""
        for level in self._levels:
            at, step = level.place()
            room = level.room(at)
            if step <= 0:
                continue
            top = level is self._levels[-1]
            if pages * step <= room or (top and room >= NEAR * step):
                number = at + int(pages * step if pages * step <= room else room / 2)
                found = level.directory + level.scale.name(number, level.stop)
            elif room >= NEAR * step and level.directory:
                found = level.end()
            else:
                continue
            if self._last < found and (upto is None or found < upto):
                return found
        return ""


class Scales:
    """What keys that begin with a prefix look like, for each depth of their directories. For one thread."""

    def __init__(self, prefix: str) -> None:
        self._least = len(prefix)
        self._depths: dict[int, Scale] = {}

    def line(self, keys: Sequence[str]) -> Line:
        """Learn from a page of sorted keys, and tell how it goes on."""
        last = keys[-1]
        levels: list[_Level] = []
        end = len(last)
        while end > self._least:
            end = max(last.rfind("/", self._least, end - 1) + 1, self._least)
            directory = last[:end]
            begin = bisect_left(keys, directory)
            if (len(keys) - begin) * _PART < len(keys) or len(keys) - begin < 2:
                continue
            scale = self._depths.setdefault(last.count("/", 0, end), Scale())
            names = [key[end:] for key in keys[begin:]]
            stop = scale.learn(names, directory)
            part = len(names) / len(keys)
            levels.append(_Level(directory, scale, stop, names[0], names[-1], part))
        return Line(levels, last)
