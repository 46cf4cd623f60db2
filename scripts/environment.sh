# Read by `dunlin` and by scripts/python, which have set $root to the checkout.
#
# `environment SET` sets $python to an interpreter that has the packages of constraints/SET.txt and finds
# src/; it makes or mends the environment only when its stamp is not the one it should be. The stamp,
# .dunlin-SET in the environment, holds the first line of the constraints (a fingerprint of the rest) and
# the checkout's path. The work itself is done by environment.py, since it needs a lock that dies with
# its holder.

environment() {
    if [ -n "${DUNLIN_VENV-}" ]; then
        venv=$DUNLIN_VENV
    elif [ -w "$root" ]; then
        venv=$root/.venv
    elif ready "$root/.venv" "$1"; then # made by somebody who may write here
        venv=$root/.venv
    else
        name=$(printf '%s' "$root" | cksum)
        venv=${XDG_CACHE_HOME:-$HOME/.cache}/dunlin/${name%% *}
    fi
    python=$venv/bin/python
    ready "$venv" "$1" && return
    find_python
    "$found" -I "$root/scripts/environment.py" "$root" "$venv" "$1" </dev/null || exit
}

ready() { # ENVIRONMENT SET
    [ -x "$1/bin/python" ] && [ -r "$1/.dunlin-$2" ] || return
    IFS= read -r have <"$1/.dunlin-$2"
    IFS= read -r want <"$root/constraints/$2.txt"
    [ "$have" = "$want $root" ] && ! [ "$root/constraints/$2.txt" -nt "$1/.dunlin-$2" ]
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
