#!/bin/sh
# `make demo` runs this script: a server and three nodes on this machine. You see node-1 wait, say what it waits
# for, and get its files as soon as node-3 has registered.
# shellcheck source-path=SCRIPTDIR source=../common.sh
. "${0%/*}/../common.sh"
here=${0%/*}

say "start the server: cfgsync serve cluster.yaml"
serve "$here/cluster.yaml"
echo "listening on $CFGSYNC_SERVER"

# later SECONDS COMMAND...: starts the command late, like a machine that boots slowly.
later() {
    sleep "$1"
    shift
    exec "$@"
}

say "node-2 registers after one second, node-3 after three"
start node-2 later 1 "$CFGSYNC" join --id node-2 --ip 10.0.0.2 --meta port:=9000 --out-dir "$scratch/node-2"
second=$started
start node-3 later 3 "$CFGSYNC" join --id node-3 --ip 10.0.0.3 --meta port:=9000 --out-dir "$scratch/node-3"
third=$started

say "node-1 joins, and waits for the others: cfgsync join --id node-1 --ip 10.0.0.1 --meta port:=9000 --out-dir …"
"$CFGSYNC" join --id node-1 --ip 10.0.0.1 --meta port:=9000 --out-dir "$scratch/node-1" --timeout 30s
wait "$second"
wait "$third"

say "all nodes have their files"
for node in node-1 node-2 node-3; do
    echo "--- $node: config.yaml"
    cat "$scratch/$node/config.yaml"
    test -s "$scratch/$node/secrets/cookie"
    cmp -s "$scratch/node-1/secrets/cookie" "$scratch/$node/secrets/cookie"
done
echo "--- the same cookie on all nodes, readable only by its owner:"
ls -l "$scratch/node-1/secrets/cookie"

say "show the cluster: cfgsync inspect"
"$CFGSYNC" inspect

say "done; the server is stopped and all files are removed"
