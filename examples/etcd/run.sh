#!/bin/sh
# Three real etcd processes form a cluster through cfgsync. The script checks this by asking etcd: all endpoints
# are healthy, there are three members, and a key written through one member is read through another.
# shellcheck source-path=SCRIPTDIR source=../common.sh
. "${0%/*}/../common.sh"
here=${0%/*}
need etcd etcd-server
need etcdctl etcd-client

serve "$here/cluster.yaml"

# Each node knows only its own name and address. `join` waits for the others, sets the environment for etcd,
# and replaces itself with etcd, which keeps the process ID.
endpoints=
for i in 1 2 3; do
    # Debian's etcd refuses to start on architectures other than amd64 unless this variable names them.
    start "etcd-$i" env "ETCD_UNSUPPORTED_ARCH=$(uname -m | sed 's/aarch64/arm64/')" \
        "$CFGSYNC" join --id "etcd-$i" --ip "$(loopback $i)" --env etcd.env --timeout 60s \
        -- etcd --data-dir "$scratch/data-$i"
    endpoints="$endpoints${endpoints:+,}http://$(loopback $i):2379"
done

export ETCDCTL_API=3
all() { etcdctl --endpoints "$endpoints" "$@"; }

say "etcdctl endpoint health"
until_true 60 "all endpoints are healthy" all endpoint health
all endpoint health 2>&1

say "etcdctl member list"
all member list
[ "$(all member list | grep -c started)" -eq 3 ] || fail "etcd does not have three members"

say "a key is written through etcd-1 and read through etcd-3"
etcdctl --endpoints "http://$(loopback 1):2379" put greeting "formed by cfgsync"
value=$(etcdctl --endpoints "http://$(loopback 3):2379" get greeting --print-value-only)
[ "$value" = "formed by cfgsync" ] || fail "read back: $value"
echo "read back: $value"

say "a fourth node registers late and is refused: exit code 77"
expect_exit 77 "$CFGSYNC" join --id etcd-4 --ip "$(loopback 4)" --env etcd.env --timeout 10s -- etcd
