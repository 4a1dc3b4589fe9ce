#!/bin/sh
# Runs the commands that install the systemd units: the README's recipe, and "In production" of the book.
#
# All files go to a directory of the test, and a `systemctl` of the test runs what the units in contrib say.
# shellcheck source-path=SCRIPTDIR source=../../examples/common.sh
. "${0%/*}/../../examples/common.sh"
# shellcheck source=blocks.sh
. "${0%/*}/blocks.sh"
cd "${0%/*}/../.."

mkdir "$scratch/bin"
cp -R contrib "$scratch/"
cp examples/quickstart/cluster.yaml "$scratch/"
cp "$(command -v "$CFGSYNC")" "$scratch/cfgsync"
ln -s "$scratch/cfgsync" "$scratch/bin/cfgsync"

# new_root NAME: makes the directory that stands for the root of a machine.
new_root() {
    root=$scratch/$1
    mkdir -p "$root/usr/local/bin" "$root/etc/systemd/system" "$root/etc/etcd" "$root/var/lib/cfgsync" \
        "$root/var/lib/cfgsync-join"
    chmod 700 "$root/var/lib/cfgsync"
    export root
}

# Runs a unit: its ExecStart with its environment, and %i replaced by the instance.
cat >"$scratch/bin/unit" <<'UNIT'
#!/bin/sh
set -eu
unit=$root/etc/systemd/system/$1
instance=${2:-}
set -a
STATE_DIRECTORY=$root/var/lib/cfgsync
for setting in $(sed -n 's/^Environment=//p' "$unit" | sed "s|%S|$root/var/lib|g; s|%i|$instance|g"); do
    export "${setting?}"
done
file=$(sed -n 's|^EnvironmentFile=-\{0,1\}||p' "$unit" | sed "s|^/etc|$root/etc|; s|%i|$instance|")
# As systemd reads it: no shell, one variable a line.
while IFS= read -r line; do export "${line?}"; done <"$file"
set +a
command=$(sed -n 's/^ExecStart=//p' "$unit" | sed "s| /etc| $root/etc|; s|^/usr|$root/usr|")
# shellcheck disable=SC2086 # words of a unit
exec $command
UNIT
cat >"$scratch/bin/systemctl" <<'SYSTEMCTL'
#!/bin/sh
set -eu
case "$*" in
    daemon-reload) ;;
    'enable --now cfgsync-server')
        unit cfgsync-server.service >"$scratch/server.log" 2>&1 </dev/null &
        echo $! >"$scratch/server.pid"
        # Type=notify: started means listening.
        for _ in $(seq 100); do [ -s "$root/var/lib/cfgsync/join-url" ] && exit 0; sleep 0.1; done
        exit 1 ;;
    'restart etcd')
        grep -q '^Requires=cfgsync-join@%N.service' "$root/etc/systemd/system/etcd.service.d/cfgsync.conf"
        exec unit cfgsync-join@.service etcd ;;
    *) exit 2 ;;
esac
SYSTEMCTL
chmod +x "$scratch/bin/unit" "$scratch/bin/systemctl"
export scratch

# paste NAME PORT
paste() {
    block "$1" | in_root "$root" "$2" >"$scratch/$1.sh"
    [ "$(wc -l <"$scratch/$1.sh")" -ge 7 ] || fail "the pages lost their block $1"
    stays_in_root "$scratch/$1.sh"
    (cd "$scratch" && PATH="$scratch/bin:$PATH" timeout 60 sh -eux "./$1.sh") 2>&1 || fail "the commands of $1 failed"
}

say "the README's recipe for systemd"
new_root recipe
cp "$scratch/cfgsync" "$root/usr/local/bin/"
cat >"$scratch/one.yaml" <<'YAML'
cfgsync: 1
cluster: recipe
ready: { nodes: 1 }
materializers: [{ kind: template, files: [{ path: etcd.conf, template: "name: {{ node.identifier }}\n" }] }]
YAML
serve "$scratch/one.yaml"
(
    CFGSYNC_ID=etcd-1
    export CFGSYNC_ID
    unset CFGSYNC_SERVER
    paste systemd "$(cat "$scratch/port")"
)
grep -qx 'name: etcd-1' "$root/etc/etcd/etcd.conf" || fail "the service has no file"
unset CFGSYNC_SERVER

new_root production
port=$(free_port)

say "the server in production"
paste production-server "$port"
pids="$pids $(cat "$scratch/server.pid")"
server=$(cat "$root/var/lib/cfgsync/join-url")
cp "$root/var/lib/cfgsync/join-url" "$scratch/join-url"

say "nobody comes in without a token, and a node's token opens nothing else"
expect_exit 77 "$CFGSYNC" inspect --server "$server"
expect_exit 77 "$CFGSYNC" inspect --server "$server" --token-file "$scratch/boot.token"

say "two nodes by hand, the third by the commands for a node"
for i in 1 2; do
    start "node-$i" "$CFGSYNC" join --server "$server" --token-file "$scratch/boot.token" --id "node-$i" \
        --ip "10.0.0.$i" --meta port:=9000 --out-dir "$scratch/node-$i"
done
CFGSYNC_ID=node-3 CFGSYNC_IP=10.0.0.3 CFGSYNC_META=port:=9000
export CFGSYNC_ID CFGSYNC_IP CFGSYNC_META
paste production-node "$port"
grep -q '^id: "node-3"' "$root/etc/etcd/config.yaml" || fail "node-3 has no file"

say "killed and started again, it serves what it sealed, under the key that it had"
kill -9 "$(cat "$scratch/server.pid")"
PATH="$scratch/bin:$PATH" systemctl enable --now cfgsync-server
pids="$pids $(cat "$scratch/server.pid")"
until_true 10 "the server is back" "$CFGSYNC" inspect --server "$server" --token-file "$scratch/ops.token" --wait ready
"$CFGSYNC" inspect file node-3 config.yaml --server "$server" --token-file "$scratch/ops.token" \
    | cmp - "$root/etc/etcd/config.yaml" || fail "other bytes than before"

say "with the server away, a node starts with the files that it has"
kill -9 "$(cat "$scratch/server.pid")"
(
    CFGSYNC_FALLBACK=existing=1s
    export CFGSYNC_FALLBACK
    sed -i '/^Environment=CFGSYNC_RECEIPT/s/ CFGSYNC_FALLBACK=[^ ]*//' "$root/etc/systemd/system/cfgsync-join@.service"
    PATH="$scratch/bin:$PATH" systemctl restart etcd
) || fail "it did not start"
