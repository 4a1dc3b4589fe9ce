#!/bin/sh
# A script is the materializer. It can delay the seal, and it produces the files of every node.
# shellcheck source-path=SCRIPTDIR source=../common.sh
. "${0%/*}/../common.sh"
here=${0%/*}

serve "$here/cluster.yaml"

say "two observers join: the spec's rule holds, but the script says not ready"
for i in 1 2; do
    start "node-$i" "$CFGSYNC" join --id "node-$i" --ip "10.0.0.$i" --out-dir "$scratch/node-$i" --timeout 30s
done
told() { "$CFGSYNC" inspect -o json | grep "at least one validator"; }
until_true 10 "inspect shows the script's reason" told
[ ! -e "$scratch/node-1/node.conf" ] || fail "node-1 got files too early"
"$CFGSYNC" inspect

say "a validator joins, and all nodes are released"
"$CFGSYNC" join --id node-3 --ip 10.0.0.3 --meta role=validator --out-dir "$scratch/node-3" --timeout 30s
for i in 1 2 3; do
    until_true 10 "node-$i has its files" test -s "$scratch/node-$i/node.conf" -a -s "$scratch/node-$i/genesis.txt"
    cat "$scratch/node-$i/node.conf"
    grep -qx "id=node-$i" "$scratch/node-$i/node.conf" || fail "node-$i has the file of another node"
    grep -qx "genesis=$(sha256sum <"$scratch/node-$i/genesis.txt" | cut -d ' ' -f 1)" "$scratch/node-$i/node.conf" \
        || fail "node-$i: the genesis does not match its hash"
done
