#!/bin/sh
# Three servers share one cluster through etcd, and nginx balances between them. Twenty nodes register while a member of
# etcd, a server and a node are killed. The script checks that the cluster forms and that all nodes have the same files.
# shellcheck source-path=SCRIPTDIR source=../common.sh
. "${0%/*}/../common.sh"
here=${0%/*}
PATH=$PATH:/usr/sbin
need etcd etcd-server
need etcdctl etcd-client
need nginx nginx-light

# etcd N: starts a member of etcd.
members=
for n in 1 2 3; do members="$members${members:+,}m$n=http://$(loopback $n):2380"; done
etcd_member() {
    url="http://$(loopback "$1")"
    start "etcd-$1" env "ETCD_UNSUPPORTED_ARCH=$(uname -m | sed 's/aarch64/arm64/')" etcd --name "m$1" \
        --data-dir "$scratch/etcd-$1" --listen-client-urls "$url:2379" --advertise-client-urls "$url:2379" \
        --listen-peer-urls "$url:2380" --initial-advertise-peer-urls "$url:2380" --initial-cluster "$members" \
        --initial-cluster-token "$scratch"
}
endpoints=
for n in 1 2 3; do
    etcd_member $n
    eval "etcd_$n=$started"
    endpoints="$endpoints${endpoints:+,}http://$(loopback $n):2379"
done
export ETCDCTL_API=3
until_true 60 "etcd is healthy" etcdctl --endpoints "$endpoints" endpoint health

say "three servers share one cluster"
servers=
for n in 1 2 3; do
    address="$(loopback $((10 + n)))"
    start "server-$n" "$CFGSYNC" serve "$here/cluster.yaml" --store etcd --etcd-endpoints "$endpoints" \
        --listen "$address:4400" --port-file "$scratch/port-$n"
    eval "server_$n=$started"
    servers="$servers${servers:+ }http://$address:4400"
done
for n in 1 2 3; do until_true 30 "server $n" test -s "$scratch/port-$n"; done
mkdir "$scratch/nginx"
sed "s/SERVER_1/$(loopback 11)/; s/SERVER_2/$(loopback 12)/; s/SERVER_3/$(loopback 13)/; s/BALANCER/$(loopback 20)/" \
    "$here/nginx.conf" >"$scratch/nginx/nginx.conf"
start nginx nginx -e stderr -p "$scratch/nginx" -c nginx.conf
balancer="http://$(loopback 20):4400"
until_true 10 "the balancer" "$CFGSYNC" inspect health --server "$balancer"
until_true 10 "three servers" sh -c "[ \$('$CFGSYNC' inspect servers --server '$balancer' -o json | grep -c '\"since\"') -eq 3 ]"
"$CFGSYNC" inspect servers --server "$balancer"

# node N: starts a node. Half of them know only the balancer, and the others know all servers.
node() {
    if [ $(($1 % 2)) -eq 0 ]; then
        known="--server $balancer"
    else
        known=
        for server in $servers; do known="$known --server $server"; done
    fi
    # shellcheck disable=SC2086 # a list of flags
    start "node-$1" "$CFGSYNC" join --id "node-$1" --ip "$(loopback $((100 + $1)))" $known --out-dir "$scratch/node-$1" \
        --timeout 100s
    eval "node_$1=$started"
}

say "eighteen nodes register and wait"
for n in $(seq 18); do node "$n"; done
registered() { [ "$("$CFGSYNC" inspect --server "$1" -o json | grep -c '"identifier"')" -ge "$2" ]; }
until_true 30 "18 nodes are registered" registered "$balancer" 18
echo "ok"

say "a member of etcd, a server and a node are killed"
leader=$(etcdctl --endpoints "$endpoints" endpoint status | grep -n 'true' | head -n 1 | cut -d : -f 1)
eval "kill -9 \$etcd_$leader \$server_2 \$node_3"
echo "member $leader of etcd, which led, server 2 and node 3"

say "the last nodes register, and node 3 starts again"
for n in 3 19 20; do node "$n"; done
for n in $(seq 20); do
    eval "pid=\$node_$n"
    wait "$pid" || fail "node $n exited with $?"
done
[ "$(grep -c node- "$scratch/node-1/peers")" -eq 20 ] || fail "node 1 does not have all nodes"
[ "$(cksum "$scratch"/node-*/peers | cut -d ' ' -f 1 | sort -u | wc -l)" -eq 1 ] || fail "the nodes have different files"
echo "all 20 nodes have the same list"

say "both servers show the same generation"
for n in 1 3; do
    "$CFGSYNC" inspect generations --server "http://$(loopback $((10 + n))):4400" -o json >"$scratch/generations-$n"
done
digest() { grep -m 1 '"digest"' "$scratch/generations-$1"; }
[ "$(digest 1)" = "$(digest 3)" ] || fail "$(digest 1) and $(digest 3)"
echo "ok"

say "the member of etcd starts again, and the dead server is no longer listed"
etcd_member "$leader"
until_true 30 "two servers" sh -c "[ \$('$CFGSYNC' inspect servers --server '$balancer' -o json | grep -c '\"since\"') -eq 2 ]"
"$CFGSYNC" inspect servers --server "$balancer"
