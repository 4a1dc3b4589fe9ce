#!/bin/sh
# Installs the programs that the end-to-end tests need (etcd, NATS, nginx, Redis, curl, Python and a browser). Without the
# rights to do so, names the missing packages and fails, so that no test is skipped silently.
set -eu

packages=
for pair in etcd:etcd-server etcdctl:etcd-client nats-server:nats-server nginx:nginx-light \
    redis-server:redis-server curl:curl python3:python3; do
    # Debian installs some servers in /usr/sbin, which is not in a user's PATH.
    PATH=$PATH:/usr/sbin command -v "${pair%%:*}" >/dev/null || packages="$packages ${pair#*:}"
done
for browser in chromium chromium-browser google-chrome; do
    ! command -v "$browser" >/dev/null || break
done
command -v "$browser" >/dev/null || packages="$packages chromium"
[ -n "$packages" ] || exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "the end-to-end tests need these packages (by their Debian names):$packages" >&2
    echo "on Debian or Ubuntu: sudo apt-get install --no-install-recommends$packages" >&2
    exit 1
fi
echo "installing$packages"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086 # a list
apt-get install -y -qq --no-install-recommends $packages >/dev/null
