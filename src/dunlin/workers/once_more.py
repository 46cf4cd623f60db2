"""The files that failed in earlier runs, tried again by themselves: nothing is listed, nothing is deleted.

What is on record of everything else stays as it is. A file that is in sync now gets the row that a whole run would have
given it; one that fails again gets the new reason; one that the source has no more loses its row. A stop, or a kill,
leaves the others on record as failed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from dunlin.state.files import Failed
from dunlin.workers import endgame
from dunlin.workers.coordinator import Coordinator
from dunlin.workers.tasks import Again

PAGE = 1_000

TOGETHER = 100
"""Files of one directory that one unit takes."""


def once_more(crew: Coordinator, runs: Sequence[int]) -> None:
    """Try the files again that failed in these runs. The directories that were written to get their times again."""
    for page in _pages(crew, runs):
        for directory, files in groupby(page, key=lambda each: each.directory_id):
            names = list(files)
            path = names[0].path.rpartition("/")[0]
            crew.touched.add(path)
            for at in range(0, len(names), TOGETHER):
                if crew.stopping:
                    break
                crew.submit(Again(path, tuple(each.name for each in names[at : at + TOGETHER])), directory)
                endgame.keep_pace(crew)
    crew.drain()
    endgame.dress_touched(crew)


def _pages(crew: Coordinator, runs: Sequence[int]) -> Iterator[list[Failed]]:
    """What failed in the runs, a page at a time; a page holds whole rows as they were when it was read."""
    for run in runs:
        after: tuple[int, str] | None = None
        while not crew.stopping and (page := crew.state.failed(run, PAGE, after)):
            after = page[-1].after
            yield page
