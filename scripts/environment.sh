# Read by `dunlin`, scripts/python and scripts/add.sh, which have set $root to the checkout.
#
# `environment SET` sets $python to an interpreter that has the packages of constraints/SET.txt and finds
# src/; it makes or mends the environment only when its stamps are not what they should be. A stamp,
# .dunlin-SET in the environment, holds the first line of the constraints (a fingerprint of the rest) and
# the checkout's path. Extras (backup, cloud, queue, tui, watch, web) have stamps too once they were added, and are kept up
# to date with the rest. The work itself is done by environment.py, since it needs a lock that dies with its holder.

environment() { # SET
    if [ -n "${DUNLIN_VENV-}" ]; then
        venv=$DUNLIN_VENV
    else
        venv=$root/.venv
        [ -w "$root" ] || elsewhere "$1"
    fi
    python=$venv/bin/python
    ready "$venv" "$1" || set_up "$1"
}

add() { # EXTRA: what `environment core` gives, with the packages of an extra added
    environment core
    if [ -z "${DUNLIN_VENV-}" ] && ! [ -w "$root" ]; then
        own
        venv=$own python=$own/bin/python
    fi
    set_up core "$1"
}

elsewhere() { # SET: where somebody who may not write here finds it: what was made here, unless there is one of theirs
    if [ -d "${XDG_CACHE_HOME:-$HOME/.cache}/dunlin" ] || ! ready "$venv" "$1"; then
        own
        ready "$own" "$1" || ! ready "$venv" "$1" && venv=$own
    fi
}

own() {
    name=$(printf '%s' "$root" | cksum)
    own=${XDG_CACHE_HOME:-$HOME/.cache}/dunlin/${name%% *}
}

ready() { # ENVIRONMENT SET
    [ -x "$1/bin/python" ] && [ -r "$1/.dunlin-$2" ] && fits "$1" "$2" || return
    for extra in backup cloud queue tui watch web; do
        [ ! -r "$1/.dunlin-$extra" ] || fits "$1" "$extra" || return
    done
}

fits() { # ENVIRONMENT SET
    IFS= read -r have <"$1/.dunlin-$2"
    IFS= read -r want <"$root/constraints/$2.txt"
    [ "$have" = "$want $root" ] && ! [ "$root/constraints/$2.txt" -nt "$1/.dunlin-$2" ]
}

set_up() { # SET...
    find_python
    "$found" -I "$root/scripts/environment.py" "$root" "$venv" "$@" </dev/null || exit
}

find_python() { # sets $found, or says in one line what is missing
    missing='no python3 was found'
    for candidate in ${DUNLIN_PYTHON:+"$DUNLIN_PYTHON"} python3 python3.14 python3.13 python3.12 python3.11; do
        found=$(command -v -- "$candidate") || continue
        answer=$("$found" -I -c '
import sys
if sys.version_info < (3, 11):
    sys.exit("%s is Python %d.%d" % (sys.argv[1], *sys.version_info[:2]))
try:
    import ensurepip, venv
except ImportError:
    sys.exit("%s has no venv and ensurepip (Debian, Ubuntu: apt-get install python3-venv)" % sys.argv[1])
' "$found" 2>&1) && return
        case $missing in *ensurepip*) ;; *) missing=${answer:-$found does not run} ;; esac
    done
    echo "dunlin: needs Python 3.11 or newer with venv, but $missing; DUNLIN_PYTHON=PATH names another one" >&2
    exit 1
}
