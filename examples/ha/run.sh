#!/bin/sh
# Three etcd members, three cfgsync servers that share one cluster on them, nginx as a load balancer, and twenty nodes. One
# etcd member, one server and one node are killed while the nodes wait. All nodes then get the same generation.
# shellcheck source-path=SCRIPTDIR source=../common.sh
. "${0%/*}/../common.sh"
here=${0%/*}
PATH=$PATH:/usr/sbin
need etcd etcd-server
need etcdctl etcd-client
need nginx nginx-light
need curl curl

# etcd N, server N and the balancer have addresses of their own on this machine.
etcd_ip() { loopback "$1"; }
server_url() { echo "http://$(loopback $((10 + $1))):4400"; }
balancer=$(loopback 20)
node_ip() { loopback $((30 + $1)); }

# kill_now PID: kills a process that this script started, and waits for its end.
kill_now() {
    kill -9 "$1"
    wait "$1" 2>/dev/null || :
    left=
    for pid in $pids; do [ "$pid" = "$1" ] || left="$left $pid"; done
    pids=$left
}

endpoints=
members=
for i in 1 2 3; do
    endpoints="$endpoints${endpoints:+,}http://$(etcd_ip $i):2379"
    members="$members${members:+,}etcd-$i=http://$(etcd_ip $i):2380"
done
for i in 1 2 3; do
    # Debian's etcd refuses to start on architectures other than amd64 unless this variable names them.
    start "etcd-$i" env "ETCD_UNSUPPORTED_ARCH=$(uname -m | sed 's/aarch64/arm64/')" \
        etcd --name "etcd-$i" --data-dir "$scratch/data-$i" \
        --listen-client-urls "http://$(etcd_ip $i):2379" --advertise-client-urls "http://$(etcd_ip $i):2379" \
        --listen-peer-urls "http://$(etcd_ip $i):2380" --initial-advertise-peer-urls "http://$(etcd_ip $i):2380" \
        --initial-cluster "$members" --initial-cluster-state new
    eval "etcd_pid_$i=$started"
done
export ETCDCTL_API=3
until_true 30 "etcd is healthy" etcdctl --endpoints "$endpoints" endpoint health

# All servers have the same spec, the same endpoints and the same prefix.
serve_one() {
    start "server-$1" "$CFGSYNC" serve "$here/cluster.yaml" --listen "$(loopback $((10 + $1))):4400" \
        --store etcd --etcd-endpoints "$endpoints" --advertise "$(server_url "$1")" --server-name "server-$1"
    eval "server_pid_$1=$started"
    until_true 15 "server $1 is ready" curl -sS --fail --max-time 2 "$(server_url "$1")/readyz"
}
for i in 1 2 3; do serve_one $i; done

# nginx sends each request to one of the servers. It buffers no answer, and a node may wait for one.
mkdir "$scratch/nginx"
cat >"$scratch/nginx.conf" <<END
daemon off;
worker_processes 1;
pid $scratch/nginx/pid;
error_log stderr;
events { }
http {
    access_log off;
    client_body_temp_path $scratch/nginx/body;
    proxy_temp_path $scratch/nginx/proxy;
    fastcgi_temp_path $scratch/nginx/fastcgi;
    uwsgi_temp_path $scratch/nginx/uwsgi;
    scgi_temp_path $scratch/nginx/scgi;
    upstream cfgsync {
        server $(loopback 11):4400 max_fails=1 fail_timeout=5s;
        server $(loopback 12):4400 max_fails=1 fail_timeout=5s;
        server $(loopback 13):4400 max_fails=1 fail_timeout=5s;
    }
    server {
        listen $balancer:4400;
        location / {
            proxy_pass http://cfgsync;
            proxy_http_version 1.1;
            proxy_buffering off;
            proxy_connect_timeout 2s;
            proxy_read_timeout 300s;
        }
    }
}
END
start nginx nginx -p "$scratch/nginx" -c "$scratch/nginx.conf"
until_true 10 "nginx answers" curl -sS --fail --max-time 2 "http://$balancer:4400/readyz"

# Nodes with an odd number use the balancer. The others know all servers.
node() {
    if [ $(($1 % 2)) -eq 1 ]; then
        servers="--server http://$balancer:4400"
    else
        servers="--server $(server_url 1) --server $(server_url 2) --server $(server_url 3)"
    fi
    # shellcheck disable=SC2086 # a list
    start "node-$1" "$CFGSYNC" join --id "node-$1" --ip "$(node_ip "$1")" $servers --out-dir "$scratch/node-$1" \
        --receipt "$scratch/node-$1/receipt" --timeout 60s
    eval "node_pid_$1=$started"
}

# registered SERVER TEXT: the server says that so many nodes are registered.
registered() {
    "$CFGSYNC" inspect --server "$(server_url "$1")" | grep -q "$2"
}

say "half of the nodes register, and wait"
for n in 1 2 3 4 5 6 7 8 9 10; do node $n; done
until_true 30 "ten nodes are registered" registered 2 10/20
"$CFGSYNC" inspect servers --server "$(server_url 2)"

say "etcd-1, the first server and node-3 are killed"
# shellcheck disable=SC2154 # set by eval
kill_now "$etcd_pid_1"
# shellcheck disable=SC2154
kill_now "$server_pid_1"
# shellcheck disable=SC2154
kill_now "$node_pid_3"
echo "ok"

say "the other nodes register, and node-3 starts again"
for n in 11 12 13 14 15 16 17 18 19 20 3; do node $n; done
for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    eval "pid=\$node_pid_$n"
    # shellcheck disable=SC2154
    wait "$pid" || fail "node-$n exited with $?"
done

say "all nodes have the same files of the same generation"
digest() { sed -n "s/.*\"digest\": *\"\([0-9a-f]*\)\".*/\1/p" "$scratch/node-$1/receipt" | head -n 1; }
first=$(digest 1)
[ -n "$first" ] || fail "the receipt of node-1 has no digest"
for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    grep -q '"generation": *1[,}]*$' "$scratch/node-$n/receipt" || fail "the receipt of node-$n is not of generation 1"
    [ "$(digest $n)" = "$first" ] || fail "node-$n has $(digest $n), node-1 has $first"
    [ "$(grep -c '^node-' "$scratch/node-$n/members")" -eq 20 ] || fail "node-$n does not know 20 nodes"
    cmp "$scratch/node-1/members" "$scratch/node-$n/members" || fail "node-$n has another list of members"
done
echo "20 nodes: generation 1, digest of the files $first"

say "the first server starts again, and serves that generation"
serve_one 1
"$CFGSYNC" inspect servers --server "$(server_url 1)"
"$CFGSYNC" inspect generations --server "$(server_url 1)"
for i in 1 2 3; do
    "$CFGSYNC" inspect generations --server "$(server_url $i)" -o json >"$scratch/generations-$i"
    cmp "$scratch/generations-1" "$scratch/generations-$i" || fail "server $i has another generation than server 1"
done
echo "ok"
