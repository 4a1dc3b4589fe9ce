#!/bin/sh
# Three servers on one etcd. Thirty nodes with the same list of servers are spread over them. One server is killed while the
# nodes wait at it. They get their files from the others when the cluster is complete.
# shellcheck source-path=SCRIPTDIR source=../../examples/common.sh
. "${0%/*}/../../examples/common.sh"
PATH=$PATH:/usr/sbin
need etcd etcd-server
need curl curl

etcd_url="http://$(loopback 1):2379"
server_url() { echo "http://$(loopback $((10 + $1))):4400"; }

cat >"$scratch/cluster.yaml" <<'END'
cfgsync: 1
cluster: failover
ready:
  nodes: 30
materializers:
  - kind: template
    files:
      - path: members
        shared: true
        template: "{% for node in nodes %}{{ node.identifier }}\n{% endfor %}"
END

start etcd env "ETCD_UNSUPPORTED_ARCH=$(uname -m | sed 's/aarch64/arm64/')" \
    etcd --data-dir "$scratch/data" --listen-client-urls "$etcd_url" --advertise-client-urls "$etcd_url" \
    --listen-peer-urls "http://$(loopback 1):2380" --initial-advertise-peer-urls "http://$(loopback 1):2380" \
    --initial-cluster "default=http://$(loopback 1):2380"
until_true 30 "etcd is healthy" curl -sS --fail --max-time 2 "$etcd_url/health"
for i in 1 2 3; do
    start "server-$i" "$CFGSYNC" serve "$scratch/cluster.yaml" --listen "$(loopback $((10 + i))):4400" \
        --store etcd --etcd-endpoints "$etcd_url" --advertise "$(server_url $i)"
    eval "server_pid_$i=$started"
    until_true 15 "server $i is ready" curl -sS --fail --max-time 2 "$(server_url $i)/readyz"
done

node() {
    start "node-$1" "$CFGSYNC" join --id "node-$1" --ip "10.0.0.$1" --server "$(server_url 1)" --server "$(server_url 2)" \
        --server "$(server_url 3)" --out-dir "$scratch/node-$1" --timeout 60s
    eval "node_pid_$1=$started"
}

# waiting SERVER: how many requests this server holds.
waiting() {
    curl -sS --fail --max-time 2 "$(server_url "$1")/metrics" | sed -n 's/^cfgsync_waiting \([0-9]*\)$/\1/p'
}

# held SERVER...: these servers together hold the requests of the 29 nodes.
held() {
    sum=0
    for server in "$@"; do sum=$((sum + $(waiting "$server"))); done
    [ "$sum" -eq 29 ]
}

say "29 nodes with the same list of servers wait, some at each server"
n=1
while [ $n -le 29 ]; do
    node $n
    n=$((n + 1))
done
until_true 30 "all nodes wait" held 1 2 3
for i in 1 2 3; do
    count=$(waiting $i)
    echo "server $i: $count nodes"
    [ "$count" -gt 0 ] || fail "no node uses server $i"
done

say "the first server is killed, and its nodes wait at the others"
# shellcheck disable=SC2154 # set by eval
kill -9 "$server_pid_1"
wait "$server_pid_1" 2>/dev/null || :
before=$(date +%s%3N)
until_true 30 "all nodes wait at the other servers" held 2 3
echo "after $(($(date +%s%3N) - before)) ms"

say "the last node registers, and all nodes get the same files"
node 30
n=1
while [ $n -le 30 ]; do
    eval "pid=\$node_pid_$n"
    # shellcheck disable=SC2154
    wait "$pid" || fail "node-$n exited with $?"
    cmp "$scratch/node-1/members" "$scratch/node-$n/members" || fail "node-$n has another list of members"
    n=$((n + 1))
done
[ "$(grep -c '^node-' "$scratch/node-1/members")" -eq 30 ] || fail "the list of members is not complete"
echo "ok"
