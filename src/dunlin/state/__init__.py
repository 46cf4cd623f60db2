"""What we remember of every pair, in one SQLite file; and the audit log.

Start with `State` (store.py). The parent process of a run is the one writer; status, dashboard and
control read the same file from other processes.
"""

from dunlin.state.audit import AuditLog, AuditOptions
from dunlin.state.codec import DirectoryStatus, FileStatus, Target
from dunlin.state.files import FILE_ROW, SYNCED_ROW, Failed, KnownFile, Pending
from dunlin.state.frontier import Known, Queued
from dunlin.state.later import Extra, LinkGroup
from dunlin.state.location import Location, locate, own_files
from dunlin.state.news import CrawlMetric, Metric, Order, StoredCrawl, StoredEvent, StoredMetric
from dunlin.state.runs import Pair, Run, Unfinished
from dunlin.state.status import PairStatus
from dunlin.state.store import State

__all__ = [
    "FILE_ROW",
    "SYNCED_ROW",
    "AuditLog",
    "AuditOptions",
    "CrawlMetric",
    "DirectoryStatus",
    "Extra",
    "Failed",
    "FileStatus",
    "Known",
    "KnownFile",
    "LinkGroup",
    "Location",
    "Metric",
    "Order",
    "Pair",
    "PairStatus",
    "Pending",
    "Queued",
    "Run",
    "State",
    "StoredCrawl",
    "StoredEvent",
    "StoredMetric",
    "Target",
    "Unfinished",
    "locate",
    "own_files",
]
