# Sourced by kernel.sh, backports.sh and tree.sh: apt with a state of its own, so that
# fetching a package needs no root and leaves the system's lists and sources alone.

cache=${NBDTUN_CACHE:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/.cache}
apt_state=$cache/apt

apt_options=(
    -o Dir::State::lists="$apt_state/lists"
    -o Dir::Cache="$apt_state/cache"
    -o APT::Sandbox::User=root # else the _apt user complains of our directories
    -o Debug::NoLocking=1      # the system's lock is root's, and nothing of the system's is written
    -q
)
mkdir -p "$apt_state/lists/partial" "$apt_state/cache/archives/partial"

apt_get() { apt-get "${apt_options[@]}" "$@"; }
apt_cache() { apt-cache "${apt_options[@]}" "$@"; }

# A source that cannot be reached is no reason to stop: the download decides.
apt_update() { apt_get update >"$apt_state/update.log" 2>&1 || true; }

# unpack DIRECTORY: every .deb of the current directory, none of it installed.
unpack() {
    for package in *.deb; do dpkg-deb -x "$package" "$1"; done
}
