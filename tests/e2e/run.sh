#!/bin/sh
# End to end: the examples with real programs, the binary in an empty image, and the commands of the documentation.
#
# usage: CFGSYNC=PATH tests/e2e/run.sh [NAME...]     (default: all)
set -eu
cd "${0%/*}/../.."
: "${CFGSYNC:?the binary to test}"
export CFGSYNC
# Debian keeps some servers out of a user's PATH.
PATH=$PATH:/usr/sbin
export PATH

# The longest of them takes a few seconds; one that hangs is ended.
bound_seconds=120

script() {
    case $1 in
        quickstart) echo examples/quickstart/demo.sh ;;
        etcd | nats | nginx | redis-cluster | rolling | ha | precomputed | exec) echo "examples/$1/run.sh" ;;
        *) echo "tests/e2e/$1.sh" ;;
    esac
}

[ $# -gt 0 ] || set -- quickstart precomputed exec etcd nats nginx redis-cluster rolling ha failover empty-image smoke readme docs templates messages production browser

failed=
for name in "$@"; do
    log=$(mktemp)
    begin=$(date +%s)
    if timeout --kill-after 10 "$bound_seconds" "$(script "$name")" >"$log" 2>&1 </dev/null; then
        echo "e2e $name: ok, $(($(date +%s) - begin)) s"
    else
        echo "e2e $name: FAILED"
        cat "$log"
        failed="$failed $name"
    fi
    rm -f "$log"
done
[ -z "$failed" ] || {
    echo "failed:$failed" >&2
    exit 1
}
