"""The measured table: dunlin beside rsync and cp. ``python -m bench --help``; docs/benchmarks.md has the figures."""
