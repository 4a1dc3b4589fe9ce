#!/bin/sh
# The static binary in an image that holds nothing but itself and /etc/hosts: it registers by a name from
# that file, waits, and writes. Then once more with an nsswitch.conf that names plugins which are not there.
# shellcheck source-path=SCRIPTDIR source=../../examples/common.sh
. "${0%/*}/../../examples/common.sh"

# Another root directory needs root's rights, or a user namespace in which we have them.
if [ "$(id -u)" -eq 0 ]; then
    enter=
elif unshare --user --map-root-user true 2>/dev/null; then
    enter="unshare --user --map-root-user"
else
    fail "this test needs root, or user namespaces that anybody may make"
fi

cat >"$scratch/cluster.yaml" <<'YAML'
cfgsync: 1
cluster: empty
ready:
  nodes: 2
materializers:
  - kind: template
    files:
      - path: /config.yaml
        template: "id: {{ node.identifier | tojson }}\n"
YAML

serve "$scratch/cluster.yaml"
port=${CFGSYNC_SERVER##*:}
unset CFGSYNC_SERVER

# image NAME: an empty one.
image() {
    mkdir -p "$scratch/$1/etc"
    cp "$(command -v "$CFGSYNC")" "$scratch/$1/cfgsync"
    echo "127.0.0.1 door.example" >"$scratch/$1/etc/hosts"
}
image plain
image plugins
echo 'passwd: files systemd
group: files systemd
hosts: mymachines resolve [!UNAVAIL=return] myhostname files dns' >"$scratch/plugins/etc/nsswitch.conf"

# in_image NAME ARGUMENT...: an empty environment as well, and no /dev and /proc.
in_image() {
    image_root="$scratch/$1"
    shift
    # shellcheck disable=SC2086 # a command or nothing
    exec env -i $enter /usr/sbin/chroot "$image_root" /cfgsync "$@"
}

say "two images wait for each other, and both write"
start plain in_image plain join --server "http://door.example:$port" --id plain --ip 10.0.0.1 --out-dir /out \
    --timeout 20s
plain=$started
(in_image plugins join --server "http://door.example:$port" --id plugins --ip 10.0.0.2 --out-dir /out --timeout 20s)
wait "$plain"
for name in plain plugins; do
    grep -qx "id: \"$name\"" "$scratch/$name/out/config.yaml" || fail "$name has no file of its own"
    echo "$name: $(cat "$scratch/$name/out/config.yaml")"
done

say "the server runs there, too"
cp "$scratch/cluster.yaml" "$scratch/plain/cluster.yaml"
start inner in_image plain serve /cluster.yaml --listen 127.0.0.1:0 --port-file /port
until_true 10 "serve in an empty image" test -s "$scratch/plain/port"
"$CFGSYNC" inspect health --server "http://127.0.0.1:$(cat "$scratch/plain/port")"
