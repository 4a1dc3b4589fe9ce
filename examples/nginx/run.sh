#!/bin/sh
# nginx follows the web servers that join and leave, while requests run through it. The script checks that each server
# gets requests exactly while it is a node, that a broken configuration never replaces a good one, and that no request
# fails.
# shellcheck source-path=SCRIPTDIR source=../common.sh
. "${0%/*}/../common.sh"
here=${0%/*}
PATH=$PATH:/usr/sbin
need nginx nginx-light
need curl curl
need pgrep procps

cp "$here/cluster.yaml" "$scratch/cluster.yaml"
serve "$scratch/cluster.yaml"

# web N: starts a web server. `join` replaces itself with nginx.
web() {
    start "web-$1" "$CFGSYNC" join --id "web-$1" --ip "$(loopback "$1")" --meta role=web --out-dir "$scratch/web-$1" \
        --timeout 60s -- nginx -e stderr -p "$scratch/web-$1" -c nginx.conf
}

web 1
web 2
web_2=$started

# The balancer stays a node that follows: nginx is its child. `nginx -t` must accept each new configuration.
# shellcheck disable=SC2016 # cfgsync sets the variable
start balancer "$CFGSYNC" join --id balancer --ip "$(loopback 9)" --meta role=balancer --out-dir "$scratch/balancer" \
    --timeout 60s --watch --check 'nginx -t -q -e stderr -p "$CFGSYNC_STAGED" -c nginx.conf' --reload-signal HUP \
    -- nginx -e stderr -p "$scratch/balancer" -c nginx.conf
balancer=$started
url="http://$(loopback 9):8080/"

# answers NAME: the next answers contain the one of this server.
answers() {
    for _ in 1 2 3 4 5 6; do curl -sS --max-time 5 "$url"; done | grep -x "$1" >/dev/null
}

until_true 60 "the balancer answers" answers web-1

say "requests run without a pause"
# shellcheck disable=SC2016 # the shell that it starts expands it
start load sh -c 'while :; do
    echo request
    curl -sS --fail --max-time 10 "$0" >/dev/null || echo "failed: $(date)"
done' "$url"

say "web-3 joins, and gets requests"
web 3
until_true 30 "web-3 gets requests" answers web-3
echo "ok"

say "web-2 leaves, and gets no more requests"
"$CFGSYNC" rm web-2
until_true 30 "the balancer has another configuration" sh -c "! grep -q '$(loopback 2):' '$scratch/balancer/nginx.conf'"
# Processes with the old configuration end once their requests are done.
old_processes_are_done() {
    ! pgrep -f 'worker process is shutting down' -P "$(cat "$scratch/balancer/nginx.pid")" && ! answers web-2
}
until_true 30 "web-2 gets no more requests" old_processes_are_done
kill -QUIT "$web_2"
echo "ok"

say "nginx refuses a broken configuration, and the balancer goes on"
sed 's/proxy_pass http:/proxy_pas http:/' "$here/cluster.yaml" >"$scratch/cluster.yaml"
"$CFGSYNC" reload
until_true 30 "the balancer refuses it" grep -q 'is not used: --check exited with 1' "$scratch/balancer.log"
grep -q proxy_pass "$scratch/balancer/nginx.conf" || fail "the broken configuration was written"
# Other requests run, so a few may all go to the other server.
until_true 10 "the balancer answers" answers web-1
cp "$here/cluster.yaml" "$scratch/cluster.yaml"
"$CFGSYNC" reload

say "no request has failed"
requests=$(grep -c request "$scratch/load.log")
echo "$requests requests"
[ "$requests" -ge 20 ] || fail "there were too few requests"
! grep -E 'failed|curl' "$scratch/load.log" || fail "a request failed"

say "the balancer ends with nginx"
kill -TERM "$balancer"
expect_exit 0 wait "$balancer"
