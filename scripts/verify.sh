#!/bin/sh
# Shows in a clean place that dunlin does what it says: `scripts/verify.sh [LAUNCHER]`, ./dunlin by default.
#
# Makes test data in a temporary directory, runs real syncs, and checks the outcome with diff, find and stat,
# never with dunlin itself. Prints a line per check; ends with 1 when any of them failed.
set -u
here=$(CDPATH='' cd -P -- "$(dirname "$0")/.." && pwd) || exit 1
dunlin=${1:-$here/dunlin}
case $dunlin in /*) ;; *) dunlin=$PWD/$dunlin ;; esac
place=$(mktemp -d "${TMPDIR:-/tmp}/dunlin-verify.XXXXXX") || exit 1
trap 'rm -rf "$place"' EXIT
trap 'exit 130' INT TERM
failures=0
cd "$place" || exit 1

# Nothing of the caller's may take part: no configuration, no state of earlier runs. The environment that the
# launcher made is not part of that, so it keeps the variables that say where it is.
mkdir home
export XDG_CONFIG_HOME="$place/home" XDG_STATE_HOME="$place/home" LC_ALL=C.UTF-8

check() { # WHAT COMMAND...: the command must succeed
    what=$1
    shift
    if "$@" >"$place/check.out" 2>&1; then
        echo "PASS  $what"
    else
        echo "FAIL  $what"
        sed 's/^/      /' "$place/check.out" | head -n 20
        failures=$((failures + 1))
    fi
}

run() { # LOG ARGUMENTS...: dunlin, its output kept; ends with dunlin's exit code
    log=$1
    shift
    "$dunlin" "$@" >"$place/$log" 2>&1 || { code=$?; cat "$place/$log"; return "$code"; }
}

sync() { # LOG OPTIONS...
    log=$1
    shift
    run "$log" sync -a --state-db "$place/state.db" --log-file "$place/audit.log" "$@" "$place/source" "$place/destination"
}

facts() { (cd "$1" && find . -printf '%p %y %m %T@ %l\n' | sort); }
inodes() { (cd "$1" && find . -type f -printf '%i %p\n' | sort); }
same() { cmp "$1" "$2" || { diff "$1" "$2"; false; }; }
same_trees() { diff -r --no-dereference "$place/source" "$place/destination"; }
same_facts() {
    facts source >"$place/a"
    facts destination >"$place/b"
    same a b
}
absent() { ! [ -e "$1" ] && ! [ -h "$1" ]; }
no_temporary_files() { [ -z "$(find destination -name '.dunlin-*')" ]; }
untouched() {
    inodes destination >"$place/after"
    same before after
}

echo "dunlin is $dunlin, the place is $place"
check 'the program starts' run version.log --version

mkdir -p source/documents/deep/deeper source/empty source/many
printf 'hello\n' >source/documents/hello.txt
: >source/documents/empty-file
printf 'x' >'source/documents/name with spaces and ümläut'
printf 'run me\n' >source/documents/tool
chmod 755 source/documents/tool
dd if=/dev/urandom of=source/documents/deep/big bs=1048576 count=24 2>/dev/null
dd if=/dev/urandom of=source/documents/deep/deeper/odd bs=4099 count=3 2>/dev/null
ln -s deep/big source/documents/link
number=0
while [ "$number" -lt 500 ]; do
    printf 'file %s\n' "$number" >"source/many/$number.txt"
    number=$((number + 1))
done
find source -exec touch -h -d '2020-02-03 04:05:06.123456789' {} +

echo 'First run'
check 'sync ends with 0' sync first.log
check 'every name is there, and no other' sh -c '[ "$(cd source && find . | sort)" = "$(cd destination && find . | sort)" ]'
check 'every content is equal' same_trees
check 'kinds, modes, times to the nanosecond and link targets are equal' same_facts
check 'no temporary file is left' no_temporary_files
check 'the database was made' test -s state.db
check 'the log file was made' test -s audit.log
check 'the log file names a file that was copied' grep -q 'documents/hello\.txt' audit.log
check 'status reads the database' run status.log status --state-db "$place/state.db"

echo 'Second run, nothing changed'
inodes destination >before
check 'sync ends with 0' sync second.log
check 'no file was written again' untouched

echo 'Third run, after changes'
printf 'hello, longer\n' >source/documents/hello.txt
printf 'FILE 7\n' >source/many/7.txt # the same size, another time
printf 'new\n' >source/new.txt
: >source/documents/deep/big # truncated
touch -d '2021-01-01 00:00:00' source/documents/tool
rm source/many/8.txt
printf 'extra\n' >destination/extra.txt
check 'sync ends with 0' sync third.log
check 'the changed file is equal' cmp source/documents/hello.txt destination/documents/hello.txt
check 'the changed file of the same size is equal' cmp source/many/7.txt destination/many/7.txt
check 'the new file is there' cmp source/new.txt destination/new.txt
check 'the truncated file is empty' sh -c '[ -f destination/documents/deep/big ] && ! [ -s destination/documents/deep/big ]'
check 'the changed time was taken over' sh -c '[ "$(stat -c %.9Y source/documents/tool)" = "$(stat -c %.9Y destination/documents/tool)" ]'
check 'nothing was deleted without --delete-extras' test -e destination/extra.txt -a -e destination/many/8.txt

echo 'Fourth run, as a mirror'
check 'sync --delete-extras ends with 0' sync fourth.log --delete-extras
check 'the extra file is gone' absent destination/extra.txt
check 'the file that was deleted at the source is gone' absent destination/many/8.txt
check 'both trees are equal' same_trees
check 'kinds, modes and times are equal' same_facts
check 'dunlin check agrees' run check.log check "$place/source" "$place/destination"

echo 'Fifth run, the source unmounted (an empty directory in its place)'
mv source kept
mkdir source
sync fifth.log --delete-extras >/dev/null 2>&1
check 'nothing was deleted' diff -r --no-dereference kept destination
rmdir source
mv kept source

if [ "$failures" -gt 0 ]; then
    echo "$failures checks failed"
    exit 1
fi
echo 'all checks passed'
