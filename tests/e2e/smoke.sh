#!/bin/sh
# The recipes for shell scripts: a smoke test in one line, the variables of the existing client, files as
# environment, health, and the exit codes that scripts rely on.
# shellcheck disable=SC2016 # inner shells expand what stands in single quotes
# shellcheck source-path=SCRIPTDIR source=../../examples/common.sh
. "${0%/*}/../../examples/common.sh"

cat >"$scratch/cluster.yaml" <<'YAML'
cfgsync: 1
cluster: smoke
ready:
  nodes: 2
materializers:
  - kind: template
    files:
      - path: /config.yaml
        template: "id: {{ node.identifier | tojson }}\n"
      - path: app.env
        template: "PEERS={{ nodes | length }}\n"
YAML

say "serve SPEC -- CMD: the server lives as long as the command, and gives its exit code"
expect_exit 7 "$CFGSYNC" serve "$scratch/cluster.yaml" --listen 127.0.0.1:0 --port-file "$scratch/cmd-port" \
    -- sh -c 'test -n "$CFGSYNC_SERVER" && exit 7'

serve "$scratch/cluster.yaml"

say "health"
"$CFGSYNC" inspect health
expect_exit 1 env CFGSYNC_SERVER=http://127.0.0.1:1 "$CFGSYNC" inspect health

say "alone and out of patience: 124; no route: 2; nobody there: 69"
expect_exit 124 "$CFGSYNC" join --id node-1 --ip 10.0.0.1 --out-dir "$scratch/node-1" --timeout 1s
expect_exit 2 "$CFGSYNC" join --id node-1 --ip 10.0.0.1
expect_exit 69 "$CFGSYNC" join --server http://127.0.0.1:1 --id node-1 --ip 10.0.0.1 --out-dir "$scratch/node-1" \
    --timeout 1s

say "an older client's variables; the last route of a container's entrypoint is its program"
start older env -u CFGSYNC_SERVER CFG_SERVER_ADDR="$CFGSYNC_SERVER" CFG_HOST_IDENTIFIER=node-1 CFG_HOST_IP=10.0.0.1 \
    CFG_FILE_PATH="$scratch/older.yaml" "$CFGSYNC" join --out "app.env=$scratch/older.env"
older=$started
peers=$("$CFGSYNC" join --id node-2 --ip 10.0.0.2 --out-dir "$scratch/node-2" --env app.env -- sh -c 'echo "$PEERS"')
[ "$peers" = 2 ] || fail "PEERS is '$peers'"
wait "$older"
grep -qx 'id: "node-1"' "$scratch/older.yaml"
grep -qx 'id: "node-2"' "$scratch/node-2/config.yaml"

say "CMD's own exit code"
expect_exit 9 "$CFGSYNC" join --id node-2 --ip 10.0.0.2 --out-dir "$scratch/node-2" --env app.env -- sh -c 'exit 9'

say "a wrong spec: 78; a plan that would not be ready: 3"
printf 'cfgsync: 1\nclustre: x\n' >"$scratch/wrong.yaml"
expect_exit 78 "$CFGSYNC" serve "$scratch/wrong.yaml" --listen 127.0.0.1:0
expect_exit 0 "$CFGSYNC" plan "$scratch/cluster.yaml" --fake 2
expect_exit 3 "$CFGSYNC" plan "$scratch/cluster.yaml" --fake 1

say "the operator ends it: everybody who waits or comes is told, 70"
"$CFGSYNC" fail --reason "maintenance"
expect_exit 70 "$CFGSYNC" join --id node-1 --ip 10.0.0.1 --out-dir "$scratch/node-1" --timeout 10s
"$CFGSYNC" reset
