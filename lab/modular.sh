#!/usr/bin/env bash
# Compiles libvirt's modular daemons, virtqemud and its siblings, which Debian leaves out of its packages: into the cache, once.
# The source is Debian's own of the version that is installed, and so are the libraries and drivers: only the main programs are compiled.
set -euo pipefail
lab=$(cd "$(dirname "$0")" && pwd)
. "$lab/apt.sh"
. /etc/os-release

version=$(dpkg-query -W -f '${Version}' libvirt0)
made=$cache/modular
[ "$(cat "$made/version" 2>/dev/null)" != "$version" ] || exit 0
"$lab/packages.sh" modular

fetch_source() {
    apt_update
    apt_get indextargets --format 'deb-src $(SITE) $(CODENAME) main' 'Created-By: Packages' \
        "Origin: Debian" "Component: main" | sort -u >"$apt_state/sources.list"
    apt_options+=(
        -o Dir::State::lists="$apt_state/sources"
        -o Dir::Etc::sourcelist="$apt_state/sources.list"
        -o Dir::Etc::sourceparts=-
    )
    mkdir -p "$apt_state/sources/partial"
    apt_update
    apt_get source -qq "libvirt=$version"
}

compile() {
    local json=yajl
    ! grep -q "'json_c'" meson_options.txt || json=json_c
    meson setup build --prefix=/usr --sysconfdir=/etc --localstatedir=/var --libdir="lib/$(uname -m)-linux-gnu" -Drunstatedir=/run \
        -Dauto_features=disabled -Ddriver_{remote,libvirtd,qemu,network,secrets}=enabled -Dstorage_{dir,fs}=enabled -D$json=enabled \
        -Dqemu_user=libvirt-qemu -Dqemu_group=libvirt-qemu
    targets() { ninja -C build -t targets all | sed -n "s#^\($1\): .*#\1#p"; }
    ninja -C build $(targets '[^ ]*_\(protocol\|dispatch_stubs\|client_bodies\)\.h') # what Meson thinks libvirt.so had needed before
    ninja -C build $(targets 'src/virt[a-z]*d\.p/remote_[^ ]*\.o') src/admin/libvirt_admin_driver.a
    local libraries=/usr/lib/$(uname -m)-linux-gnu daemon
    mkdir daemons
    for daemon in build/src/virt*d.p; do
        cc -o "daemons/$(basename "$daemon" .p)" "$daemon"/*.o build/src/admin/libvirt_admin_driver.a.p/*.o \
            "$libraries"/libvirt{,-lxc,-qemu}.so.0 $(pkg-config --libs glib-2.0 gobject-2.0 gio-2.0 libtirpc gnutls)
    done
}

echo "compiling libvirt's modular daemons, $version"
rm -rf "$made"
mkdir -p "$made"
cd "$made"
{ fetch_source && cd libvirt-*/ && compile; } >"$made/log" 2>&1 || { tail -n 5 "$made/log" >&2; exit 1; }
mv daemons/* "$made"
cd "$made"
rm -rf libvirt*
echo "$version" >version
