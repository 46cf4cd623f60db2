"""What a run makes of the samples of its crawl: lines and gauges (`workers.crawl_news`), and rows of the state."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from dunlin.report import Level
from dunlin.state.news import CrawlMetric

if TYPE_CHECKING:  # loaded by the first sample: most runs are over before
    from dunlin.workers.coordinator import Coordinator
    from dunlin.workers.crawl_news import CrawlNews
    from dunlin.workers.crawled import Crawled


class CrawlTold:
    """Takes the samples of one crawl.

    Args:
        crew: gives the coordinator, which is made after this.
        cores: processors of the machine.
        record: put samples on record in the state of the run.
    """

    def __init__(self, crew: Callable[[], Coordinator], cores: float, record: bool) -> None:
        self._crew = crew
        self._cores = cores
        self._keeps = record
        self._news: CrawlNews | None = None

    def look(self, crawled: Crawled) -> None:
        """Take a sample."""
        crew = self._crew()
        if self._news is None:
            from dunlin.pace.processor import Processor
            from dunlin.workers.crawl_news import CrawlNews

            self._news = CrawlNews(crew.telling, self._put if self._keeps else None, begun=crew.crawling.begun)
            self._processor = Processor(self._cores)
        self._news.look(crawled, self._processor.share([os.getpid(), *crew.pool.pids]))

    def end(self) -> None:
        """The crawl is over; if anything was told of it, so is how it stood, and why `--ctime-skip` did nothing."""
        if self._news is not None:
            self._news.end()
        crew = self._crew()
        if crew.rules.settled is not None and not crew.stopping:
            from dunlin.jobs.settled import none_settled

            if why := none_settled(crew.rules.settled, crew.stats):
                crew.telling.event(Level.INFO, "ctime.none", why)

    def _put(self, crawled: Crawled) -> None:
        crew = self._crew()
        crew.state.put_crawl(crew.run, metric(crawled))


def metric(crawled: Crawled) -> CrawlMetric:
    """A sample as it goes on record."""
    fields = {name: getattr(crawled, name) for name in CrawlMetric._fields if name in crawled._fields}
    engaged = ",".join(name for name, _, _ in crawled.engaged)
    return CrawlMetric(**{**fields, "memory": crawled.memory_bytes, "engaged": engaged})
