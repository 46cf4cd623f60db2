#!/bin/sh
# `add.sh EXTRA`: adds the packages of an extra to the environment that `dunlin` uses and prints its interpreter. Run
# by dunlin itself (src/dunlin/cli/extras.py) when a command needs them for the first time.
root=$(CDPATH='' cd -P -- "${0%/*}/.." && pwd) || exit 1
. "$root/scripts/environment.sh"
add "$1"
printf '%s\n' "$python"
