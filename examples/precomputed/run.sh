#!/bin/sh
# The files exist before the nodes register. Each listed node fetches its own files.
# shellcheck source-path=SCRIPTDIR source=../common.sh
. "${0%/*}/../common.sh"
here=${0%/*}

serve "$here/cluster.yaml"

for node in db-1 db-2; do
    say "$node joins and gets its own file and the shared one"
    "$CFGSYNC" join --id "$node" --ip 127.0.0.1 --out-dir "$scratch/$node" --timeout 10s
    cat "$scratch/$node/etc/db.conf" "$scratch/$node/etc/motd"
done
grep -q 'role = primary' "$scratch/db-1/etc/db.conf" || fail "db-1 has the file of another node"
grep -q 'role = replica' "$scratch/db-2/etc/db.conf" || fail "db-2 has the file of another node"
cmp "$scratch/db-1/etc/motd" "$scratch/db-2/etc/motd"

say "db-3 is not listed: it is refused at once with exit code 77, and nothing is written"
expect_exit 77 "$CFGSYNC" join --id db-3 --ip 127.0.0.1 --out-dir "$scratch/db-3" --timeout 10s
[ ! -e "$scratch/db-3/etc/db.conf" ] || fail "db-3 got files"
