#!/usr/bin/env bash
# Fetches the packages of ufw and firewalld, with what they need and this system lacks, into the cache: none of it is installed here.
# Hosts of `lab.systemd` install them. Done once.
set -euo pipefail
. "$(dirname "$0")/apt.sh"

firewalls=$cache/firewalls
[ ! -e "$firewalls/done" ] || exit 0
apt_update
rm -rf "$firewalls"
for name in ufw firewalld; do
    mkdir -p "$firewalls/$name"
    rm -f "$apt_state"/cache/archives/*.deb
    apt_get install -qq -y --download-only --no-install-recommends "$name" >"$firewalls/$name.log"
    mv "$apt_state"/cache/archives/*.deb "$firewalls/$name"
done
touch "$firewalls/done"
