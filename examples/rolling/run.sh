#!/bin/sh
# An operator changes a value under load. It reaches two of five web servers at a time. Then a value is too large for one
# server: the roll-out stops and names it, and no request to the servers that it has not reached fails.
# shellcheck source-path=SCRIPTDIR source=../common.sh
. "${0%/*}/../common.sh"
here=${0%/*}
need python3 python3
need curl curl

serve "$here/cluster.yaml"

# url N: prints the URL of a server.
url() {
    echo "http://$(loopback "$1"):8080"
}

# web N WORKERS_MAX: starts a server. `join` restarts it with each new file and checks it.
web() {
    start "web-$1" "$CFGSYNC" join --id "web-$1" --ip "$(loopback "$1")" --out-dir "$scratch/web-$1" --timeout 60s \
        --watch --restart-on-change --probe "$(url "$1")/health" --probe-interval 1s --probe-start-period 3s \
        -- python3 "$here/web.py" "$scratch/web-$1/web.json" "$2"
}

# The second server cannot run more than four workers.
for n in 1 3 4 5; do web "$n" 16; done
web 2 4

# answers N TEXT: the server answers with this number of workers.
answers() {
    [ "$(curl -sS --fail --max-time 5 "$(url "$1")")" = "web-$1 with $2 workers" ]
}

"$CFGSYNC" wait healthy --all --generation 1 --timeout 60s

# Each server gets requests without a pause, from a process of its own.
for n in 1 2 3 4 5; do
    # shellcheck disable=SC2016 # the shell that it starts expands it
    start "load-$n" sh -c 'while :; do
        echo request
        curl -sS --fail --max-time 10 "$0" >/dev/null 2>&1 || echo failed
        sleep 0.02
    done' "$(url "$n")"
done

say "a value changes, and reaches all servers, two at a time"
"$CFGSYNC" values set prod/web/workers 4
"$CFGSYNC" wait healthy --all --generation 2 --timeout 60s
for n in 1 2 3 4 5; do answers "$n" 4 || fail "web-$n does not have the value"; done
"$CFGSYNC" rollout status | grep 'have reported healthy: 5' || fail "the roll-out is not complete"
echo "ok"

# failures N: prints how many requests to the server have failed.
failures() {
    grep -c failed "$scratch/load-$1.log" || :
}

say "the next value is too large for web-2: the roll-out stops"
for n in 1 2 3 4 5; do failures "$n" >"$scratch/failures-$n"; done
"$CFGSYNC" values set prod/web/workers 8
is_stopped() {
    "$CFGSYNC" rollout status >"$scratch/status" || [ $? -eq 3 ] || return
    grep -q '^generation 3: stopped: ' "$scratch/status"
}
until_true 60 "the roll-out stops" is_stopped
cat "$scratch/status"
grep -q 'stopped: web-2 failed: --probe: HTTP status 503 Service Unavailable' "$scratch/status" \
    || fail "it does not name web-2"
grep -q 'have older files: .*web-5' "$scratch/status" || fail "the last server was not held back"

say "the servers that it has not reached answer as before, and no request to them has failed"
for n in 1 2 3 4 5; do
    sed -n 's/^have older files://p' "$scratch/status" | grep -q "web-$n" || continue
    answers "$n" 4 || fail "web-$n has changed"
    requests=$(grep -c request "$scratch/load-$n.log")
    [ "$requests" -ge 20 ] || fail "there were too few requests to web-$n"
    [ "$(failures "$n")" -eq "$(cat "$scratch/failures-$n")" ] || fail "a request to web-$n has failed"
    echo "web-$n: $requests requests, none failed since the change"
done

say "the operator restores the value and resumes, and all servers have it again"
"$CFGSYNC" values set prod/web/workers 4
"$CFGSYNC" rollout resume
have_it_again() {
    for n in 1 2 3 4 5; do answers "$n" 4 || return; done
    "$CFGSYNC" rollout status | grep '^generation 4: done'
}
until_true 60 "all servers have the old value" have_it_again
echo "ok"
