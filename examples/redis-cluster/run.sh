#!/bin/sh
# Six nodes start Redis and wait for each other. Then exactly one of them creates the cluster. The script asks Redis itself
# whether it has formed.
# shellcheck source-path=SCRIPTDIR source=../common.sh
. "${0%/*}/../common.sh"
here=$(cd "${0%/*}" && pwd)
need redis-server redis-server
need redis-cli redis-tools

serve "$here/cluster.yaml"
CFGSYNC=$(command -v "$CFGSYNC")
export CFGSYNC
for n in 1 2 3 4 5 6; do
    start "redis-$n" "$CFGSYNC" join --id "redis-$n" --ip "$(loopback "$n")" --out-dir "$scratch/redis-$n" --timeout 60s \
        -- "$here/node.sh" "$scratch/redis-$n" "$(loopback "$n")"
done

say "all nodes are up, and one of them creates the cluster"
"$CFGSYNC" wait created --all --generation 1 --timeout 90s
"$CFGSYNC" run-once --list
creators=$(grep -l 'Performing hash slots allocation' "$scratch"/redis-*.log | wc -l)
# Each node prints the output of the node that ran it.
[ "$creators" -eq 6 ] || fail "$creators nodes have the output"

# redis N COMMAND...: asks the server of a node, which may redirect to another one.
redis() {
    redis_host=$(loopback "$1")
    shift
    redis-cli -c -h "$redis_host" "$@"
}

say "each server says that the cluster is complete: all slots, and three replicas"
is_complete() {
    redis "$1" cluster info | grep -q 'cluster_state:ok' || return
    redis "$1" cluster info | grep -q 'cluster_slots_assigned:16384' || return
    redis "$1" cluster info | grep -q 'cluster_known_nodes:6' || return
    [ "$(redis "$1" cluster nodes | grep -c slave)" -eq 3 ]
}
for n in 1 2 3 4 5 6; do until_true 30 "redis-$n is part of the cluster" is_complete "$n"; done
echo "ok"

say "keys that are set through one server are read through another"
for key in one two three four; do
    [ "$(redis 1 set "$key" "value of $key")" = OK ] || fail "$key was not set"
    [ "$(redis 6 get "$key")" = "value of $key" ] || fail "$key was not read"
done
echo "ok"

say "a node that starts again does not create the cluster again"
"$CFGSYNC" run-once create-cluster --id redis-1 -- false >/dev/null
echo "ok"
