#!/bin/sh
# Runs the blocks of the documentation that need no preparation of their own (`tested: plain-…`), verifies the ones
# that cannot run here (`checked: …`), and compares the documented metrics with those of a server.
#
# Each plain block runs in a new directory with a spec in `cluster.yaml`. If the block starts no server, one is
# running, and node-2 has joined. Addresses with port 4400 and paths below /etc, /var, /run and /usr are replaced.
# shellcheck source-path=SCRIPTDIR source=../../examples/common.sh
. "${0%/*}/../../examples/common.sh"
# shellcheck source=blocks.sh
. "${0%/*}/blocks.sh"
cd "${0%/*}/../.."
need curl curl

mkdir "$scratch/bin"
ln -s "$(command -v "$CFGSYNC")" "$scratch/bin/cfgsync"
# Stands for the reader's program.
for program in app etcd; do
    printf '#!/bin/sh\necho "started: %s $*"\n' "$program" >"$scratch/bin/$program"
    chmod +x "$scratch/bin/$program"
done

# fixture NAME: the files that a reader of this block has.
fixture() {
    case $1 in
        plain-etcd) files='{ path: etcd.env, template: "ETCD_NAME={{ node.identifier }}\n" }' ;;
        *) files='{ path: config.yaml, template: "id: {{ node.identifier | tojson }}\n" }, { path: app.key, secret: true, template: "key\n" }' ;;
    esac
    cat >cluster.yaml <<YAML
cfgsync: 1
cluster: plain
ready: { nodes: 1 }
materializers:
  - kind: template
    files: [$files]
YAML
    printf -- '- { identifier: node-%s, ip: 10.0.0.%s }\n' 1 1 2 2 >nodes.yaml
    # shellcheck disable=SC2016 # the script expands it
    printf '#!/bin/sh\ncfgsync inspect health && test -n "$CFGSYNC_SERVER"\n' >smoke.sh
    chmod +x smoke.sh
    mkdir -p etc run usr var/lib
    case $1 in
        plain-ci) "$CFGSYNC" plan cluster.yaml --nodes nodes.yaml --out-dir expected ;;
    esac
}

# Makes the block wait after each `cfgsync serve … &` until the server listens, as a reader would.
wait_for_servers() {
    awk '
        /^cfgsync serve / { print "rm -f .port"; serving = 1 }
        { print }
        serving && !/\\$/ {
            if ($0 ~ /&$/) print "until [ -s .port ]; do sleep 0.1; done"
            serving = 0
        }'
}

# shellcheck disable=SC2030,SC2031 # each block has an environment of its own
run_plain() {
    directory=$scratch/$1
    mkdir "$directory"
    (cd "$directory" && fixture "$1") >"$directory/fixture.log" 2>&1 || fail "$1: no fixture"
    port=$(free_port)
    block "$1" | in_root "$directory" "$port" | wait_for_servers >"$directory/block.sh"
    stays_in_root "$directory/block.sh"
    (
        cd "$directory"
        PATH=$scratch/bin:$PATH
        CFGSYNC_LISTEN=127.0.0.1:$port
        CFGSYNC_LISTEN_PORT_FILE=.port
        export PATH CFGSYNC_LISTEN CFGSYNC_LISTEN_PORT_FILE
        # A block must say itself which server it uses.
        unset CFGSYNC_SERVER CFGSYNC_TIMEOUT
        # A process group of its own, so that everything which the block leaves behind is ended with it.
        exec setsid sh -c '
            set -eu
            trap "status=\$?; trap : TERM; kill 0; wait; exit \$status" EXIT
            trap "exit 143" TERM
            if ! grep -q "cfgsync serve" block.sh; then
                cfgsync serve cluster.yaml >server.log 2>&1 &
                until [ -s .port ]; do sleep 0.1; done
                cfgsync join --server "http://$CFGSYNC_LISTEN" --id node-2 --ip 10.0.0.2 --out-dir node-2
            fi
            sh -eu ./block.sh'
    ) >"$directory/output" 2>&1 &
    pids="$pids $!"
    if ! wait "$!"; then
        cat "$directory/block.sh" "$directory/output"
        fail "the block $1 failed"
    fi
    echo "ok: $1"
}

say "the plain blocks"
count=0
for name in $(block_names tested | grep '^plain-'); do
    run_plain "$name"
    count=$((count + 1))
done
[ "$count" -ge 8 ] || fail "the pages lost their blocks"
grep -q "^started: app --config" "$scratch/plain-program/output" || fail "the program was not started"
grep -q "^started: etcd --data-dir" "$scratch/plain-etcd/output" || fail "etcd was not started"

say "the blocks that are only checked: syntax, the files and make targets that they name"
for name in $(block_names checked); do
    block "$name" >"$scratch/checked.sh"
    [ -s "$scratch/checked.sh" ] || fail "$name: the block is empty"
    sh -n "$scratch/checked.sh"
    if command -v shellcheck >/dev/null; then shellcheck --shell=sh "$scratch/checked.sh"; fi
    for file in $(grep -oE '(contrib|examples)/[A-Za-z0-9@._/-]+' "$scratch/checked.sh"); do
        test -e "$file" || fail "$name: there is no $file"
    done
    for unit in $(grep -oE 'cfgsync-[a-z]+(\.socket)?' "$scratch/checked.sh"); do
        test -e "contrib/systemd/$unit" || test -e "contrib/systemd/$unit.service" || fail "$name: there is no unit $unit"
    done
    for target in $(sed -n 's/^make \([a-z-]*\).*/\1/p' "$scratch/checked.sh"); do
        make --dry-run "$target" >/dev/null || fail "$name: there is no target $target"
    done
    echo "ok: $name"
done
if command -v systemd-analyze >/dev/null; then
    # The binary stands where the units expect it, as far as systemd can tell.
    mkdir "$scratch/units"
    for unit in contrib/systemd/cfgsync-*; do
        sed "s#/usr/local/bin/cfgsync#$scratch/bin/cfgsync#" "$unit" >"$scratch/units/${unit##*/}"
    done
    (cd "$scratch/units" && mv cfgsync-join@.service cfgsync-join@etcd.service \
        && systemd-analyze verify --man=no ./cfgsync-*) || fail "systemd does not accept the units"
fi

say "the metrics, but for those of a certificate and of tokens, which this server does not have"
serve examples/quickstart/cluster.yaml
"$CFGSYNC" inspect
expect_exit 124 "$CFGSYNC" join --id node-1 --ip 10.0.0.1 --meta port:=9000 --out-dir "$scratch/out" --timeout 1s
expect_exit 77 "$CFGSYNC" join --id node-9 --ip 10.0.0.9 --out-dir "$scratch/out"
"$CFGSYNC" reload
curl -sS "$CFGSYNC_SERVER/metrics" >"$scratch/metrics"
sed -n 's/^# TYPE \([a-z_]*\) .*/\1/p' "$scratch/metrics" | sort >"$scratch/metrics.served"
sed -n 's/^| `\(cfgsync_[a-z_]*\).*/\1/p' docs/src/http-api.md | sed 's/_total$//' |
    grep -v _expiry_ | sort >"$scratch/metrics.documented"
diff "$scratch/metrics.documented" "$scratch/metrics.served" || fail "the page and the server have other metrics"
[ "$(wc -l <"$scratch/metrics.served")" -ge 10 ] || fail "the server has no metrics"
