"""A FUSE file system for tests and benchmarks: delays, rate limits, refusals and faults on a real mount.

``slowfs`` is the entrance: ``with mounted(backing, mountpoint, latency_ms=2) as mount: ...``.
"""
