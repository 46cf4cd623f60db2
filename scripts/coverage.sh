#!/bin/sh
# Which lines the tests reach: `sh scripts/coverage.sh [pytest's arguments]`; needs what `make test` needs.
#
# Movers (forked or spawned) and the command line run in processes of their own, which leave by os._exit or are
# stopped by a signal. pyproject.toml tells coverage to start in each of them and to write when it ends; every
# process writes a file of its own, and they are combined here.
set -eu
cd "$(dirname "$0")/.."
python=$PWD/scripts/python

"$python" -m coverage erase
code=0
"$python" -m coverage run -m pytest -q -p no:cacheprovider --benchmark-disable -m 'not packaging' "$@" || code=$?
"$python" -m coverage combine --quiet
"$python" -m coverage html --quiet
"$python" -m coverage report
echo "line by line: htmlcov/index.html"
exit "$code"
