"""How a long call tells the world: counts, gauges, events and tasks. Nothing in here prints.

Every long call takes a `Report` as its last argument. What becomes of the news is decided at the
top: the terminal view, the log, the audit log, metrics and tests are all reports, and `Fan` hands
the news to several of them.
"""

from dunlin.report.base import Event, Fan, Level, NullReport, RecordingReport, Report, Task

__all__ = ["Event", "Fan", "Level", "NullReport", "RecordingReport", "Report", "Task"]
