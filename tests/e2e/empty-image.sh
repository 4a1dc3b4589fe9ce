#!/bin/sh
# Runs the static binary in an image that contains only the binary, a spec and /etc/hosts: no libraries, no /dev,
# no /proc, no environment. A server runs there, and nodes join it by its name in /etc/hosts: they register, wait
# and write their files. A second run has an nsswitch.conf with plugins, which the binary must not even open.
# shellcheck source-path=SCRIPTDIR source=../../examples/common.sh
. "${0%/*}/../../examples/common.sh"

# chroot needs root, or a user namespace in which this user is root.
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
once:
  cookie: random_hex(8)
materializers:
  - kind: template
    files:
      - path: /config.yaml
        template: "id: {{ node.identifier | tojson }}\n"
      - path: cookie
        shared: true
        template: "{{ once.cookie }}\n"
YAML

# image NAME: creates an image.
image() {
    mkdir -p "$scratch/$1/etc"
    cp "$(command -v "$CFGSYNC")" "$scratch/$1/cfgsync"
    cp "$scratch/cluster.yaml" "$scratch/$1/"
    echo "127.0.0.1 cfgsync-server" >"$scratch/$1/etc/hosts"
}

# in_image NAME ARGUMENT...: runs cfgsync in an image.
in_image() {
    image_root="$scratch/$1"
    shift
    # shellcheck disable=SC2086 # a command or nothing
    exec env -i $enter /usr/sbin/chroot "$image_root" /cfgsync "$@"
}

# serve_and_join IMAGE: runs a server and its nodes in one image.
serve_and_join() {
    start "$1-server" in_image "$1" serve /cluster.yaml --listen 127.0.0.1:0 --port-file /port
    until_true 10 "serve in an image" test -s "$scratch/$1/port"
    url="http://cfgsync-server:$(cat "$scratch/$1/port")"

    start "$1-waiting" in_image "$1" join --server "$url" --id node-1 --ip 10.0.0.1 --out-dir /node-1 --timeout 20s
    waiting=$started
    until_true 10 "a node that waits" grep -q "missing\|1/2" "$scratch/$1-waiting.log"
    [ ! -e "$scratch/$1/node-1" ] || fail "there are files before the cluster is ready"
    # Without --ip, join uses the address that reaches the server.
    (in_image "$1" join --server "$url" --id node-2 --out cookie=/cookie-2 --out config.yaml=- --timeout 20s) \
        >"$scratch/$1-stdout"
    wait "$waiting" || fail "the waiting node ended with $?"

    grep -qx 'id: "node-1"' "$scratch/$1/node-1/config.yaml" || fail "node-1 has no file of its own"
    grep -qx 'id: "node-2"' "$scratch/$1-stdout" || fail "node-2 has no file of its own"
    cmp "$scratch/$1/node-1/cookie" "$scratch/$1/cookie-2"
    (in_image "$1" inspect --server "$url")
    (in_image "$1" inspect health --server "$url")
}

say "an image with /etc/hosts alone"
image plain
serve_and_join plain

say "the same image over TLS, with a key that is made there and known by its pin"
start tls-server in_image plain serve /cluster.yaml --listen 127.0.0.1:0 --tls self-signed --join-url-file /url
until_true 10 "serve over TLS in an image" test -s "$scratch/plain/url"
url=$(sed 's/127.0.0.1/cfgsync-server/' "$scratch/plain/url")
start tls-waiting in_image plain join "$url" --id node-1 --ip 10.0.0.1 --out-dir /tls-1 --timeout 20s
waiting=$started
(in_image plain join "$url" --id node-2 --out-dir /tls-2 --timeout 20s)
wait "$waiting" || fail "the waiting node ended with $?"
cmp "$scratch/plain/tls-1/cookie" "$scratch/plain/tls-2/cookie"
(in_image plain inspect health --server "$url")

say "an image whose nsswitch.conf names plugins"
image plugins
echo 'passwd: files systemd
group: files systemd
hosts: mymachines resolve [!UNAVAIL=return] myhostname files dns' >"$scratch/plugins/etc/nsswitch.conf"
# A process that opens one of these named pipes blocks forever, because no process writes to it.
for directory in lib usr/lib lib64 "lib/$(uname -m)-linux-gnu" "usr/lib/$(uname -m)-linux-gnu"; do
    mkdir -p "$scratch/plugins/$directory"
    for plugin in mymachines resolve myhostname systemd; do
        mkfifo "$scratch/plugins/$directory/libnss_$plugin.so.2"
    done
done
serve_and_join plugins
