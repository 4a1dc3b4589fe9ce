#!/bin/sh
# Renders every example of docs/src/templates.md and compares the output with what the page says.
# An example is a line `TEMPLATE  →  OUTPUT` in a ```jinja block.
# shellcheck source-path=SCRIPTDIR source=../../examples/common.sh
. "${0%/*}/../../examples/common.sh"
cd "${0%/*}/../.."
page=docs/src/templates.md

awk '/^```jinja$/ { inside = 1; next } /^```$/ { inside = 0 } inside && /  →  /' "$page" >"$scratch/examples"
[ "$(wc -l <"$scratch/examples")" -ge 100 ] || fail "$page lost its examples"

# The nodes are the first YAML block of the page.
awk '/^```yaml$/ { inside = 1; next } /^```$/ && inside { exit } inside' "$page" >"$scratch/nodes.yaml"
{
    cat <<'SPEC'
cfgsync: 1
cluster: devnet
ready: { nodes: 3 }
values: { chain_id: 7, limits: { max: 100 } }
materializers:
  - kind: template
    files:
      - path: examples
        template: |
SPEC
    # One template holds all of them, one line each.
    sed 's/  →  .*//; s/^/          /' "$scratch/examples"
} >"$scratch/spec.yaml"
"$CFGSYNC" plan "$scratch/spec.yaml" --nodes "$scratch/nodes.yaml" --out-dir "$scratch/out"
sed 's/.*  →  //' "$scratch/examples" >"$scratch/expected"
# The page does not show the space that a loop leaves at the end of its line.
sed 's/ *$//' "$scratch/out/zk-2/examples" | diff "$scratch/expected" - || fail "$page does not show the real output"
