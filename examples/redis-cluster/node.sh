#!/bin/sh
# The program of each node: starts Redis, and creates the cluster together with the other nodes.
#
# usage: node.sh DIRECTORY IP     (started by `cfgsync join`, which sets CFGSYNC_ID and more)
set -eu
: "${CFGSYNC:=cfgsync}"
cd "$1"
redis-server redis.conf &
redis=$!
step=
# shellcheck disable=SC2086 # no step may run
trap 'kill $step "$redis" 2>/dev/null || :; wait; exit 143' INT TERM

# step COMMAND...: runs the command, so that a signal ends it at once.
step() {
    "$@" &
    step=$!
    wait "$step"
    step=
}

tries=100
until redis-cli -h "$2" ping >ping 2>&1; do
    tries=$((tries - 1))
    if [ "$tries" -eq 0 ] || ! kill -0 "$redis"; then
        step "$CFGSYNC" report failed --reason "Redis does not answer: $(cat ping)"
        exit 1
    fi
    step sleep 0.1
done

step "$CFGSYNC" report started
step "$CFGSYNC" wait started --all
# One node creates the cluster. If a node created it and died before it could report that, the next one finds it.
# shellcheck disable=SC2046,SC2016 # a list of addresses; `sh` expands the variables
step "$CFGSYNC" run-once create-cluster -- sh -euc '
    redis-cli --cluster check "$1" >check 2>&1 || redis-cli --cluster create "$@" --cluster-replicas 1 --cluster-yes
' create $(cat addresses)
step "$CFGSYNC" report created
wait "$redis"
