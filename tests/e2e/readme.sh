#!/bin/sh
# Runs the README's spec and quickstart, the longer quickstart and the HTTP routes of the book, and its tokens.
# shellcheck source-path=SCRIPTDIR source=../../examples/common.sh
. "${0%/*}/../../examples/common.sh"
# shellcheck source=blocks.sh
. "${0%/*}/blocks.sh"
cd "${0%/*}/../.."
need curl curl

say "the spec by example, with the files that it names and nodes that make it ready"
mkdir -p "$scratch/spec/keys"
block spec >"$scratch/spec/cluster.yaml"
cp examples/exec/make-genesis.sh "$scratch/spec/make-genesis"
echo '{"cluster":{{ cluster | tojson }},"chain_id":{{ values.chain_id }}}' >"$scratch/spec/genesis.json.j2"
cp examples/precomputed/cfgsync.artifacts.yaml "$scratch/spec/"
for i in 1 2 3 4; do
    role=validator
    [ "$i" -lt 4 ] || role=observer
    echo "key $i" >"$scratch/spec/keys/node-$i.key"
    echo "- { identifier: node-$i, ip: 10.0.0.$i, metadata: { port: 900$i, role: $role, zone: z$((i % 2)) } }"
done >"$scratch/spec/nodes.yaml"
"$CFGSYNC" plan "$scratch/spec/cluster.yaml" --nodes "$scratch/spec/nodes.yaml" --out-dir "$scratch/planned"
find "$scratch/planned" -type f | sort
[ "$(find "$scratch/planned" -name validator.key | wc -l)" -eq 3 ] || fail "not three validators have a key"

mkdir "$scratch/bin"
ln -s "$(command -v "$CFGSYNC")" "$scratch/bin/cfgsync"

# quickstart NAME [OTHER]: runs the blocks NAME, then OTHER against the same server. The commands name port 4400 and
# `out/`, which are replaced by a free port and the scratch directory.
quickstart() {
    port=$(free_port)
    {
        cat <<'PREAMBLE'
set -eu
server=
trap 'kill "$server" 2>/dev/null || :; wait' EXIT
# The page removes the files of the nodes. This script compares them afterwards.
rm() {
    cp -R "$2" "$KEPT"
    command rm "$@"
    [ ! -e "$2" ]
}
# A reader sees it on the terminal.
both_are_registered() {
    until cfgsync inspect -o json 2>/dev/null | grep -q '"registered": 2'; do sleep 0.1; done
}
# Each answer is compared with the routes of the server below.
curl() { command curl --max-time 10 --write-out '\nstatus %{http_code}\n' "$@"; }
PREAMBLE
        block "$1" | sed "s/4400/$port/; s|out/|$scratch/$1/|g; s/^\(cfgsync serve.*\)&\$/\1\& server=\$!/" \
            | sed 's/^cfgsync inspect$/both_are_registered; &/'
        [ $# -eq 1 ] || block "$2" | sed "s/4400/$port/"
    } >"$scratch/$1.sh"
    [ "$(grep -c '^cfgsync' "$scratch/$1.sh")" -ge 6 ] || fail "the pages lost their blocks $1"
    files=$scratch/$1
    if grep -q '^rm ' "$scratch/$1.sh"; then files=$scratch/$1.kept; fi
    KEPT=$files CFGSYNC_LISTEN="127.0.0.1:$port" PATH="$scratch/bin:$PATH" timeout 60 sh "$scratch/$1.sh" >"$scratch/$1.log" 2>&1 || {
        cat "$scratch/$1.sh"
        fail "the commands of $1 failed"
    }
    cat "$scratch/$1.log"
    for node in node-1 node-2 node-3; do
        grep -q "^id: \"$node\"" "$files/$node/config.yaml" || fail "$node has no file"
    done
}

say "the README's quickstart, then every route"
quickstart quickstart routes
[ "$(grep -c '^curl' "$scratch/quickstart.sh")" -ge 20 ] || fail "the pages lost the routes"
[ "$(grep -c '^status ' "$scratch/quickstart.log")" -ge 19 ] || fail "not every route was answered"
if grep -E '^status (000|404|405|5..)' "$scratch/quickstart.log"; then
    fail "the server does not have a documented route"
fi

say "the longer quickstart"
quickstart tour

say "the tokens"
block access >"$scratch/access.sh"
(cd "$scratch" && PATH="$scratch/bin:$PATH" sh -eu access.sh) | tee "$scratch/access.log"
grep -q '^web node sha256:[0-9a-f]\{64\} identifier=web-\* expires=' "$scratch/access.log" || fail "no token for web"
