# shellcheck shell=sh
# Sourced by the scripts that run the code blocks of the documentation: README.md and the pages in docs/src/.
#
# A comment in the line above a block names it. `<!-- tested: NAME -->`: a script runs the block.
# `<!-- checked: NAME -->`: the block needs a machine of its own, so docs.sh only verifies what it can.

# block NAME: prints the blocks with this name, in the order of the pages.
block() {
    awk -v name="$1" '
        $0 == "<!-- tested: " name " -->" || $0 == "<!-- checked: " name " -->" { armed = 1; next }
        armed && /^```[a-z]+$/ { inside = 1; armed = 0; next }
        /^```$/ { inside = 0 }
        inside' README.md docs/src/*.md
}

# block_names KIND: prints the names of all blocks that are `tested` or `checked`.
block_names() {
    sed -n "s/^<!-- $1: \(.*\) -->\$/\1/p" README.md docs/src/*.md | sort -u
}

# free_port: prints a port on which no program listens. The short-lived server makes the kernel choose it.
free_port() {
    "$CFGSYNC" serve examples/quickstart/cluster.yaml --listen 127.0.0.1:0 --port-file "$scratch/free-port" \
        -- cat "$scratch/free-port" 2>"$scratch/free-port.log"
}

# in_root DIRECTORY PORT: a filter for blocks. Absolute paths move below DIRECTORY, and addresses of a server become
# 127.0.0.1:PORT, so that a block changes nothing outside the test.
in_root() {
    sed "s#/dev/null#NULL_DEVICE#g; s#/dev/stdin#STDIN_DEVICE#g
        s#\(^\|[ =>(\"']\)/\(etc\|usr\|var\|run\)/#\1$1/\2/#g
        s#NULL_DEVICE#/dev/null#g; s#STDIN_DEVICE#/dev/stdin#g
        s#\(10\.0\.0\.5\|boot\.example\|boot\|127\.0\.0\.1\):4400#127.0.0.1:$2#g"
}

# stays_in_root FILE: fails if a path of this machine is left in the filtered block.
stays_in_root() {
    if grep -E "(^|[ =>(\"'])/(etc|usr|var|run)/" "$1" | grep -vF "$scratch"; then
        fail "$1: a path of this machine is left"
    fi
}
