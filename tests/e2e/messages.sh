#!/bin/sh
# Provokes each message that docs/src/troubleshooting.md explains, so that the page quotes what cfgsync says.
# shellcheck source-path=SCRIPTDIR source=../../examples/common.sh
. "${0%/*}/../../examples/common.sh"
cd "${0%/*}/../.."
page=$PWD/docs/src/troubleshooting.md
cd "$scratch"
command -v "$CFGSYNC" >/dev/null || fail "CFGSYNC must be an absolute path"

# pattern HEADING: the message as a regular expression; words in capitals are any text.
pattern() {
    printf '%s\n' "$1" | sed 's/[][().?*^$\\|+{}]/\\&/g; s/[A-Z][A-Z]*[A-Z]/.*/g; s/byte N$/byte [0-9]+/'
}

# says HEADING FILE: the page has this heading, and the file has a message that fits it.
says() {
    grep -qxF "### \`$1\`" "$page" || fail "the page has no heading: $1"
    grep -qE -e "$(pattern "$1")" "$2" || {
        cat "$2"
        fail "cfgsync does not say: $1"
    }
    printf '%s\n' "$1" >>"$scratch/said"
}

# provokes HEADING EXIT_CODE COMMAND...: the command ends with this code and this message.
provokes() {
    provoked=$1
    shift
    expect_exit "$@" >"$scratch/output" 2>&1 || {
        cat "$scratch/output"
        fail "not as expected for: $provoked"
    }
    says "$provoked" "$scratch/output"
}

join() {
    "$CFGSYNC" join --ip 10.0.0.1 "$@"
}

# spec NAME LINE...: a spec with these lines beside the usual ones.
spec() {
    spec_name=$1
    shift
    {
        printf 'cfgsync: 1\ncluster: %s\n' "$spec_name"
        printf '%s\n' "$@"
        echo 'materializers: [{ kind: template, files: [{ path: config.yaml, template: "{{ values.x }}{{ node.ip }}\n" }, { path: extra, template: x }] }]'
    } >"$spec_name.yaml"
}

say "a cluster of two listed nodes that admits no late node"
spec listed 'values: { x: 1 }' 'metadata: { port: { type: integer, default: 1 } }' 'ready: { nodes: [node-1, node-2] }'
"$CFGSYNC" serve listed.yaml --listen 127.0.0.1:0 --port-file port --state-dir state >listed.log 2>&1 &
pids="$pids $!"
listed_pid=$!
until_true 10 "the server listens" test -s port
CFGSYNC_SERVER=http://127.0.0.1:$(cat port)
export CFGSYNC_SERVER
provokes 'not ready within TIME: REASON' 124 join --id node-1 --out-dir out --timeout 1s
provokes 'gave up after TIME: REASON' 69 join --id node-1 --out-dir out --timeout 1s --server http://127.0.0.1:1
provokes "NODE is not on this cluster's list of nodes" 77 join --id node-3 --out-dir out
provokes 'metadata.FIELD: expected TYPE, found VALUE' 77 join --id node-1 --meta port=1 --out-dir out
provokes 'SERVER serves the cluster "NAME", not the cluster "NAME"' 77 join --id node-1 --cluster x --out-dir out
provokes 'no output for the files: add --out ARTIFACT=PATH, --out-dir DIR or --env ARTIFACT' 2 join --id node-1
provokes 'the server does not speak TLS; for plain HTTP, use http://' 65 join --id node-1 --out-dir out --timeout 1s \
    --server "https://127.0.0.1:$(cat port)"
provokes 'cannot listen on ADDRESS: Address already in use' 1 \
    "$CFGSYNC" serve listed.yaml --listen "127.0.0.1:$(cat port)"
provokes 'DIRECTORY is in use by the server with process id PID' 1 \
    "$CFGSYNC" serve listed.yaml --listen 127.0.0.1:0 --state-dir state
"$CFGSYNC" fail --reason maintenance
provokes 'the cluster failed (operator): REASON' 70 join --id node-1 --out-dir out
"$CFGSYNC" reset
start node-1 "$CFGSYNC" join --ip 10.0.0.1 --id node-1 --out-dir out --receipt receipt.json
node_1=$started
join --id node-2 --out-dir out-2
wait "$node_1"
provokes 'no route for the artifact ARTIFACT, so nothing was written' 65 join --id node-1 --out config.yaml=x
provokes 'the route ROUTE matches no artifact' 65 join --id node-1 --out confg.yaml=x --out-dir out
mkdir directory
provokes 'cannot write PATH: REASON' 73 join --id node-1 --out-dir out --out config.yaml=directory
provokes '--check exited with CODE: REASON' 65 join --id node-1 --out-dir checked --watch --check 'echo bad; exit 1'
provokes 'CMD: command not found' 127 join --id node-1 --out-dir out -- no-such-program
provokes 'cannot execute PATH: REASON' 126 join --id node-1 --out-dir out -- ./listed.yaml
sed -i 's/ready:/redy:/' listed.yaml
kill -HUP "$listed_pid"
until_true 10 "the server reads the spec again" grep -q SIGHUP.*spec listed.log
says 'the spec was not reloaded, and the last good one stays in force' listed.log
provokes 'unknown field FIELD; did you mean FIELD?' 78 "$CFGSYNC" plan listed.yaml
kill "$listed_pid"
wait "$listed_pid" || :
echo changed >out/config.yaml
provokes 'nothing was delivered within TIME, and the existing files are not those of the receipt' 69 \
    join --id node-1 --out-dir out --receipt receipt.json --fallback existing=1ms --timeout 1s
spec other 'values: { x: 1 }' 'ready: { nodes: 1 }'
provokes 'DIRECTORY holds the state of cluster "NAME", not of "NAME"' 78 \
    "$CFGSYNC" serve other.yaml --listen 127.0.0.1:0 --state-dir state
sed -i 's/redy:/ready:/' listed.yaml
cp -a state copy
provokes 'DIRECTORY was copied or restored' 78 "$CFGSYNC" serve listed.yaml --listen 127.0.0.1:0 --state-dir copy
# The head of the log is two lines and a frame of 20 bytes and a body, whose length is in the frame.
lines=$(head -n 2 copy/log | wc -c)
body=$(od -An -tu1 -j $((lines + 8)) -N 1 copy/log)
truncate -s $((lines + 20 + body)) copy/log
provokes 'the end of the log is lost: REASON' 65 "$CFGSYNC" inspect --state-dir copy --verify
printf x | dd of=state/log bs=1 seek=60 conv=notrunc 2>dd.log
provokes 'FILE is damaged at byte N' 65 "$CFGSYNC" serve listed.yaml --listen 127.0.0.1:0 --state-dir state

say "small clusters with one fault each"
# with_server SPEC FLAG...: starts another server in place of the last one.
with_server() {
    rm -f port
    start "$1-server" "$CFGSYNC" serve "$@" --listen 127.0.0.1:0 --port-file port
    until_true 10 "serve $1" test -s port
    CFGSYNC_SERVER=http://127.0.0.1:$(cat port)
}
provokes 'refusing to listen on ADDRESS without authentication' 78 "$CFGSYNC" serve other.yaml --listen 0.0.0.0:0
spec late 'late: refuse' 'values: { x: 1 }' 'ready: { nodes: 1 }'
with_server late.yaml
join --id node-1 --out-dir late
"$CFGSYNC" rm node-3 --ban
provokes 'NODE is banned' 77 join --id node-3 --out-dir late
provokes 'the spec admits no new nodes' 77 join --id node-2 --out-dir late
spec short 'values: { x: 1 }' 'ready: { nodes: 2, deadline: 500ms }'
with_server short.yaml
provokes 'the cluster failed (deadline): REASON' 70 join --id node-1 --out-dir short
spec broken 'metadata: { port: { type: integer, default: 1 } }' 'ready: { nodes: 1 }' 'values: { x: 1 }'
sed -i 's/node.ip/node.metadata.prot/' broken.yaml
with_server broken.yaml
provokes 'the cluster failed (render): REASON' 70 join --id node-1 --out-dir broken
cat >nothing.yaml <<'SPEC'
cfgsync: 1
cluster: nothing
ready: { nodes: 1 }
materializers: [{ kind: template, files: [{ path: a, where: "node.ip == ''", template: x }] }]
SPEC
with_server nothing.yaml
provokes 'the server has no files for this node' 65 join --id node-1 --out-dir nothing
with_server other.yaml --nodes-max 1
join --id node-1 --out-dir full
provokes 'the limit of registered nodes (NUMBER) is reached' 69 join --id node-2 --out-dir full --timeout 1s
with_server other.yaml --rate-burst 1 --rate-max 1
"$CFGSYNC" inspect
provokes 'too many requests from this address' 69 "$CFGSYNC" inspect

say "a server with TLS, tokens and identities"
umask 077
spec guarded 'identity: first-use' 'values: { x: 1 }' 'ready: { nodes: 1 }'
"$CFGSYNC" token new --role operator --name ops --append tokens >ops.token
"$CFGSYNC" token new --role node --name web --identifier 'web-*' --append tokens >web.token
with_server guarded.yaml --tokens tokens --tls self-signed --state-dir guarded --join-url-file url
until_true 10 "the join URL" test -s url
port=$(cat port)
CFGSYNC_SERVER=$(cat url)
provokes 'the request has no credentials' 77 join --id web-1 --out-dir web
echo unknown >unknown.token
provokes 'this server does not know the token' 77 join --id web-1 --out-dir web --token-file unknown.token
provokes 'the token "NAME" is for nodes that match PATTERN, not for NODE' 77 join --id db-1 --out-dir web --token-file web.token
provokes 'only an operator may do this' 77 "$CFGSYNC" rm web-1 --token-file web.token
join --id web-1 --out-dir web --token-file web.token --identity-file key-1
provokes 'NODE is already registered with a different key' 77 \
    join --id web-1 --out-dir web --token-file web.token --identity-file key-2
provokes 'SERVER is not trusted: its certificate is not signed by a trusted certificate authority' 77 \
    join --id web-1 --out-dir web --server "https://127.0.0.1:$port"
provokes 'SERVER is not trusted: its key has the pin PIN, not the expected one' 77 \
    join --id web-1 --out-dir web --server "cfgsync://127.0.0.1:$port/?pin=sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
provokes 'this port speaks TLS' 77 join --id web-1 --out-dir web --token-file web.token --server "http://127.0.0.1:$port"

say "the page explains no other message"
# `join` says it after 30 s only; tests/it/delivery.rs compares the words.
echo 'cannot write to DIRECTORY: another delivery or program has locked the directory' >>said
sed -n 's/^### `\(.*\)`$/\1/p' "$page" | sort >headings
sort said | diff headings - || fail "the page and this script differ"
[ "$(wc -l <headings)" -ge 20 ] || fail "fewer than twenty messages"
