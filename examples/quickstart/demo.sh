#!/bin/sh
# What `make demo` runs: a server and three nodes on this machine. You see node-1 wait, hear what it
# waits for, and get its files the moment node-3 is here.
# shellcheck source-path=SCRIPTDIR source=../common.sh
. "${0%/*}/../common.sh"
here=${0%/*}

say "the server opens the door: cfgsync serve cluster.yaml"
serve "$here/cluster.yaml"
echo "listening on $CFGSYNC_SERVER"

# later SECONDS COMMAND...: as a machine that boots more slowly would.
later() {
    sleep "$1"
    shift
    exec "$@"
}

say "node-2 will come after one second, node-3 after three"
start node-2 later 1 "$CFGSYNC" join --id node-2 --ip 10.0.0.2 --meta port:=9000 --out-dir "$scratch/node-2"
second=$started
start node-3 later 3 "$CFGSYNC" join --id node-3 --ip 10.0.0.3 --meta port:=9000 --out-dir "$scratch/node-3"
third=$started

say "node-1 joins, and waits for the others: cfgsync join --id node-1 --ip 10.0.0.1 --meta port:=9000 --out-dir …"
"$CFGSYNC" join --id node-1 --ip 10.0.0.1 --meta port:=9000 --out-dir "$scratch/node-1" --timeout 30s
wait "$second"
wait "$third"

say "everybody has their files"
for node in node-1 node-2 node-3; do
    echo "--- $node: config.yaml"
    cat "$scratch/$node/config.yaml"
    test -s "$scratch/$node/secrets/cookie"
    cmp -s "$scratch/node-1/secrets/cookie" "$scratch/$node/secrets/cookie"
done
echo "--- the same cookie everywhere, for the owner's eyes only:"
ls -l "$scratch/node-1/secrets/cookie"

say "what the server knows: cfgsync inspect"
"$CFGSYNC" inspect

say "done; the server and its files are removed"
