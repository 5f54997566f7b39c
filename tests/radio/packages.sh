# shellcheck shell=bash
# Sourced by build-kernel.sh and build-guest.sh: Debian packages, installed or only fetched.

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# Lists of packages that are missing or older than the archive make downloads fail. Once is enough.
refresh_lists() {
    [ -z "${lists_refreshed:-}" ] || return 0
    as_root apt-get update -qq >&2
    lists_refreshed=yes
}

install_packages() {
    echo "installing $*" >&2
    local quiet=(-y -qq --no-install-recommends -o Dpkg::Use-Pty=0)
    refresh_lists
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install "${quiet[@]}" "$@" >/dev/null
}

# install_missing COMMAND:PACKAGE…: installs the packages of those commands that are not there.
install_missing() {
    local pair packages=()
    for pair in "$@"; do
        command -v "${pair%%:*}" >/dev/null || packages+=("${pair#*:}")
    done
    [ ${#packages[@]} = 0 ] || install_packages "${packages[@]}"
}

# fetch PACKAGE…: downloads the .deb files into the current directory; installs nothing.
fetch() {
    refresh_lists
    apt-get download -qq -o APT::Sandbox::User="$(id -un)" "$@"
}
