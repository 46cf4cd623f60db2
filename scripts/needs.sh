#!/bin/sh
# Makes sure that the programs and libraries which the tests run are there: installs what is missing when root
# on a Debian or Ubuntu, else names it with the command that would. `needs.sh bench` also looks for what only the
# programs need that the benchmarks compare with.

missing=''
need() { # COMMAND PACKAGE
    command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
need_library() { # NAME PACKAGE
    ldconfig -p 2>/dev/null | grep -qF "$1 " || missing="$missing $2"
}
need_postgres() { # Debian keeps the server's programs out of the way: several versions may be there
    for directory in /usr/lib/postgresql/*/bin; do
        [ ! -x "$directory/initdb" ] || return 0
    done
    need initdb postgresql
}
needs() {
    missing=''
    need git git
    need rsync rsync
    need fusermount3 fuse3
    need setfacl acl
    need setfattr attr
    need tmux tmux
    need chromium chromium
    need setpriv util-linux
    need zstd zstd
    need redis-server redis-server
    need sshd openssh-server
    need systemd-analyze systemd
    need_postgres
    need_library libstdc++.so.6 libstdc++6 # node
    [ "$purpose" = bench ] || return 0
    need_library libsecret-1.so.0 libsecret-1-0 # azcopy
    need wrk wrk
}

purpose=${1-}
PATH=$PATH:/sbin:/usr/sbin
needs
[ -z "$missing" ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing what the tests need:$missing" >&2
    apt-get update -qq >/dev/null || echo "apt-get update failed; trying with the lists that are here" >&2
    needs # the lists may name another package now
    # Packages of servers start them at once. The tests start their own, on other ports.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        trap 'rm -f "$policy"' EXIT
        trap 'exit 130' INT TERM
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
    fi
    # shellcheck disable=SC2086 # one word per package
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing </dev/null >/dev/null
    needs
    [ -z "$missing" ] && exit 0
    echo "the tests need these packages, and apt-get could not install them:$missing" >&2
    exit 1
fi
echo "the tests need these packages:$missing" >&2
echo "install them: sudo apt-get update && sudo apt-get install -y$missing" >&2
exit 1
