# shellcheck shell=sh
# Sourced by the example scripts (POSIX sh). It provides a scratch directory, a server on a free port, processes
# that are always ended by their process ID, and waits with a time limit.
#
#   CFGSYNC   the binary to use (default: cfgsync from the PATH)

set -eu

: "${CFGSYNC:=cfgsync}"
if ! command -v "$CFGSYNC" >/dev/null; then
    echo "cannot find $CFGSYNC: build it with \`make build\`, then set CFGSYNC to its path" >&2
    exit 1
fi

scratch=$(mktemp -d "${TMPDIR:-/tmp}/cfgsync-example.XXXXXX")
pids=

# say TEXT: prints a heading, in bold on a terminal.
say() {
    if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
        printf '\n\033[1m== %s\033[0m\n' "$*"
    else
        printf '\n== %s\n' "$*"
    fi
}

# fail TEXT: ends the script with an error. The exit trap then prints the logs.
fail() {
    echo "FAILED: $*" >&2
    exit 1
}

# need PROGRAM PACKAGE: ends the script unless the program is installed.
need() {
    command -v "$1" >/dev/null || fail "cannot find $1; on Debian: apt-get install $2"
}

# start NAME COMMAND...: runs the command in the background. Its output goes to $scratch/NAME.log, its pid to $started.
start() {
    start_name=$1
    shift
    "$@" >"$scratch/$start_name.log" 2>&1 </dev/null &
    started=$!
    pids="$pids $started"
}

# until_true SECONDS WHAT COMMAND...: repeats the command until it succeeds. WHAT names the condition in the error.
until_true() {
    until_end=$(($(date +%s) + $1))
    until_what=$2
    shift 2
    until "$@" >"$scratch/until.log" 2>&1; do
        [ "$(date +%s)" -le "$until_end" ] || fail "timed out: $until_what"
        sleep 0.1
    done
    rm -f "$scratch/until.log"
}

# expect_exit CODE COMMAND...: fails unless the command ends with this exit code.
expect_exit() {
    expect_code=$1
    shift
    expect_got=0
    "$@" || expect_got=$?
    [ "$expect_got" -eq "$expect_code" ] || fail "exit code $expect_got, expected $expect_code: $*"
}

# serve SPEC: starts a server on a free port. Its URL goes to $CFGSYNC_SERVER, which join and inspect read.
serve() {
    start server "$CFGSYNC" serve "$1" --listen 127.0.0.1:0 --port-file "$scratch/port"
    until_true 10 "serve $1" test -s "$scratch/port"
    CFGSYNC_SERVER="http://127.0.0.1:$(cat "$scratch/port")"
    export CFGSYNC_SERVER
}

# loopback N: prints the address of the N-th simulated machine. All of 127.0.0.0/8 is this machine, so each node
# can have its own address with the usual ports, and two runs do not collide.
loopback() {
    echo "127.$((100 + $$ / 250 % 100)).$(($$ % 250)).$((10 + $1))"
}

end() {
    status=$?
    trap - EXIT INT TERM
    if [ "$status" -ne 0 ]; then
        for log in "$scratch"/*.log; do
            [ -s "$log" ] && { echo "--- ${log##*/}"; tail -n 20 "$log"; } >&2
        done
    fi
    if [ -n "$pids" ]; then
        # shellcheck disable=SC2086 # a list of numbers
        kill $pids 2>/dev/null || :
        # Processes that do not end within five seconds are killed.
        # shellcheck disable=SC2086
        (sleep 5; kill -9 $pids) >/dev/null 2>&1 </dev/null &
        last_resort=$!
        # shellcheck disable=SC2086
        wait $pids 2>/dev/null || :
        kill "$last_resort" 2>/dev/null || :
    fi
    rm -rf "$scratch"
    exit "$status"
}
trap end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
