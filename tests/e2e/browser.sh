#!/bin/sh
# The event stream in a real browser: the `EventSource` of a headless Chromium gets each event once and in order, also
# over a restart of the server.
# shellcheck source-path=SCRIPTDIR source=../../examples/common.sh
. "${0%/*}/../../examples/common.sh"
need python3 python3
for chromium in chromium chromium-browser google-chrome; do
    ! command -v "$chromium" >/dev/null || break
done
need "$chromium" chromium

cat >"$scratch/cluster.yaml" <<'YAML'
cfgsync: 1
cluster: browser
ready: { nodes: 2 }
materializers:
  - kind: template
    files: [{ path: config.yaml, template: "id: {{ node.identifier | tojson }}\n" }]
YAML

say "a browser watches a server that is restarted"
python3 "${0%/*}/browser.py" "$(command -v "$CFGSYNC")" "$chromium" "$scratch" || fail "the browser did not get the events"
