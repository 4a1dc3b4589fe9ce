#!/bin/sh
# Three real nats-servers form a cluster through cfgsync. The script checks this by asking the monitoring port of
# each server: it has its own name, and routes to the two others.
# shellcheck source-path=SCRIPTDIR source=../common.sh
. "${0%/*}/../common.sh"
here=${0%/*}
need nats-server nats-server
need curl curl

serve "$here/cluster.yaml"

# `join` waits for the others, writes nats.conf and accounts.conf, and replaces itself with nats-server. The ports
# are not the usual ones, because a nats-server on this machine may already use those on all addresses.
for i in 1 2 3; do
    start "nats-$i" \
        "$CFGSYNC" join --id "nats-$i" --ip "$(loopback $i)" --out-dir "$scratch/nats-$i" --timeout 60s \
        --meta client_port:=14222 --meta route_port:=16222 --meta monitor_port:=18222 \
        -- nats-server -c "$scratch/nats-$i/nats.conf"
done

ask() { curl --silent --show-error --fail --max-time 5 "http://$(loopback "$1"):18222/$2"; }

# others N: counts the servers that the N-th one has routes to. Several routes to one server count once.
others() { ask "$1" routez | sed -n 's/.*"remote_id": *"\([^"]*\)".*/\1/p' | sort -u | wc -l; }
has_two_others() { [ "$(others "$1")" -eq 2 ]; }

say "every server has its own name and routes to the two others"
for i in 1 2 3; do
    until_true 30 "nats-$i has routes to two others" has_two_others $i
    name=$(ask $i varz | sed -n 's/.*"server_name": *"\([^"]*\)".*/\1/p')
    [ "$name" = "nats-$i" ] || fail "nats-$i calls itself $name"
    echo "$name: routes to $(others $i) others"
done

say "all servers have the same accounts file"
cmp "$scratch/nats-1/accounts.conf" "$scratch/nats-2/accounts.conf"
cmp "$scratch/nats-1/accounts.conf" "$scratch/nats-3/accounts.conf"
sha256sum "$scratch"/nats-?/accounts.conf | sed "s|$scratch/||"
