"""Real servers of the object stores, for tests and benchmarks: Azurite, moto, `rclone serve s3`, a GCS emulator.

Each module has a context manager that starts its server on a free port of 127.0.0.1 and ends it by its process id;
`fixtures.py` makes them pytest fixtures and `faults.py` puts a proxy in front that fails on purpose. What pip brings
stands in constraints/dev.txt; what only npm has, `node.py` installs on first use.
"""
