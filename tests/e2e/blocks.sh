# shellcheck shell=sh
# Sourced by the scripts that paste what the README says.

# block NAME: the block that follows the comment `<!-- tested: NAME -->`.
block() {
    awk -v mark="<!-- tested: $1 -->" '
        $0 == mark { armed = 1; next }
        armed && /^```[a-z]+$/ { inside = 1; armed = 0; next }
        /^```$/ { inside = 0 }
        inside' README.md
}

# free_port: a port at which nobody listens. A server that ends at once has found it.
free_port() {
    "$CFGSYNC" serve examples/quickstart/cluster.yaml --listen 127.0.0.1:0 --port-file "$scratch/free-port" -- true \
        2>"$scratch/free-port.log"
    cat "$scratch/free-port"
}
