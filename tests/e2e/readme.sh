#!/bin/sh
# What the README says: its spec is planned, its commands are pasted (the quickstart by hand, then every route).
# Blocks are those that follow a comment `<!-- tested: NAME -->`.
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

# The commands say port 4400 and `out/`; here another port and place take their part.
mkdir "$scratch/bin"
ln -s "$(command -v "$CFGSYNC")" "$scratch/bin/cfgsync"
port=$(free_port)
{
    cat <<'PREAMBLE'
set -eu
server=
trap 'kill "$server"; wait' EXIT
# A reader sees it on the terminal.
both_have_said_so() {
    until cfgsync inspect -o json 2>/dev/null | grep -q '"registered": 2'; do sleep 0.1; done
}
# Every answer must be one that the table of routes knows.
curl() { command curl --max-time 10 --write-out '\nstatus %{http_code}\n' "$@"; }
PREAMBLE
    block quickstart | sed "s/4400/$port/; s|out/|$scratch/out/|g; s/^\(cfgsync serve.*\)&\$/\1\& server=\$!/" \
        | sed 's/^cfgsync inspect$/both_have_said_so; &/'
    block routes | sed "s/4400/$port/"
} >"$scratch/readme"
[ "$(grep -c '^curl' "$scratch/readme")" -ge 20 ] || fail "the README lost its blocks"

export CFGSYNC_LISTEN="127.0.0.1:$port"
PATH="$scratch/bin:$PATH" timeout 60 sh "$scratch/readme" >"$scratch/readme.log" 2>&1 || {
    cat "$scratch/readme"
    fail "the README's commands failed"
}
cat "$scratch/readme.log"
[ "$(grep -c '^status ' "$scratch/readme.log")" -ge 19 ] || fail "not every route was answered"
if grep -E '^status (000|404|405|5..)' "$scratch/readme.log"; then
    fail "a route of the README is none of the server's"
fi
for node in node-1 node-2 node-3; do
    grep -q "^id: \"$node\"" "$scratch/out/$node/config.yaml" || fail "$node has no file"
done

say "the tokens"
block access >"$scratch/access.sh"
(cd "$scratch" && PATH="$scratch/bin:$PATH" sh -eu access.sh) | tee "$scratch/access.log"
grep -q '^web node sha256:[0-9a-f]\{64\} identifier=web-\* expires=' "$scratch/access.log" || fail "no token for web"
