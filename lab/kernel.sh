#!/usr/bin/env bash
# Fetches the distribution's kernel for virtual machines into the cache and
# unpacks it there: kernel/vmlinuz and kernel/modules/. Done once.
set -euo pipefail
. "$(dirname "$0")/apt.sh"

kernel=$cache/kernel
[ ! -e "$kernel/done" ] || exit 0
rm -rf "$kernel"
mkdir -p "$kernel"
cd "$kernel"

# depends PACKAGE PATTERN: the first package that PACKAGE depends on by that name.
depends() { apt_cache depends "$1" 2>/dev/null | awk -v p="$2" '$1 == "Depends:" && $2 ~ p { print $2; exit }'; }

apt_update
image=
for meta in linux-image-cloud-amd64 linux-image-virtual; do # Debian's, Ubuntu's
    image=$(depends "$meta" '^linux-image-[0-9]')
    [ -z "$image" ] || break
done
[ -n "$image" ] || { echo "no kernel package: neither Debian's nor Ubuntu's; see $apt_state/update.log" >&2; exit 1; }
modules=$(depends "$image" '^linux-modules-') # apart from the image on Ubuntu only

echo "fetching $image"
# shellcheck disable=SC2086 # modules may be empty
apt_get download -qq "$image" $modules
unpack root
mv root/boot/vmlinuz-* vmlinuz
mv "$(find root -path '*lib/modules/*' -prune -type d -print -quit)" modules
rm -rf root ./*.deb
touch done
