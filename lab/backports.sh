#!/usr/bin/env bash
# Puts a QEMU of 10.0 or later beside the system's older one: fetched from the
# release's backports, unpacked into the cache, not installed. Done once.
set -euo pipefail
. "$(dirname "$0")/apt.sh"
. /etc/os-release

qemu=$cache/qemu-recent
[ ! -e "$qemu/done" ] || exit 0
major=$(qemu-system-x86_64 --version | sed -n 's/.*version \([0-9]*\)\..*/\1/p')
[ "$major" -lt 10 ] || exit 0

apt_update
# From the mirror that the system itself uses for this release.
site=$(apt_get indextargets --format '$(SITE)' \
    'Created-By: Packages' "Release: $VERSION_CODENAME" | head -n 1)
for suite in "$VERSION_CODENAME" "$VERSION_CODENAME-backports"; do
    echo "deb $site $suite main"
done >"$apt_state/backports.list"
apt_options+=(
    -o Dir::State::lists="$apt_state/backports"
    -o Dir::Etc::sourcelist="$apt_state/backports.list"
    -o Dir::Etc::sourceparts=-
)
mkdir -p "$apt_state/backports/partial"
apt_update

echo "fetching QEMU from $VERSION_CODENAME-backports"
# Downloading an upgrade, not just packages, brings the libraries that the
# newer QEMU needs and this system lacks, and no others.
apt_get install -qq -y --download-only --no-install-recommends -t "$VERSION_CODENAME-backports" \
    qemu-system-x86 qemu-utils
rm -rf "$qemu"
mkdir -p "$qemu"
cd "$apt_state/cache/archives"
unpack "$qemu"
rm -f ./*.deb
major=$("$qemu/usr/bin/qemu-system-x86_64" --version | sed -n 's/.*version \([0-9]*\)\..*/\1/p')
[ "${major:-0}" -ge 10 ] || { echo "$VERSION_CODENAME-backports has no QEMU of 10.0 or later" >&2; exit 1; }
touch "$qemu/done"
