#!/usr/bin/env bash
# Usage: cross/build.sh [arm64|armv7|amd64]...        (all that are named; arm64 when none is)
#
# Builds the daemon as it is packaged (radio, no demo broker) for a Raspberry Pi, on any Debian 12 machine:
#
#   arm64   Pi 3, 4, 5, Zero 2 W with a 64-bit system      aarch64-unknown-linux-gnu
#   armv7   the same and Pi 2, with a 32-bit system        armv7-unknown-linux-gnueabihf
#   amd64   a small PC                                     x86_64-unknown-linux-gnu
#
# The compiler is, first match:
#   1. the pinned toolchain, when it can build for the target (it is this machine's, or `rustup target add` was run);
#   2. Debian's, unpacked by rust-sysroot.sh. For armv7 it builds the standard library too, because not every mirror
#      that serves amd64 carries the index of armhf, where the prebuilt one is.
#
# C appears once in the tree of dependencies, as the vendored libdbus, and as the assembly of ring: both need only the
# cross C compiler, which is installed with apt-get when it is missing. A binary built on Debian 12
# asks for glibc 2.34 (the run prints it): Debian 12 and Raspberry Pi OS 12 have it, release 11 does not.
#
# Out: target/cross/TRIPLE/release/beacon-gateway, its size, what it is, the glibc it needs, and its --version.
set -euo pipefail

cd "$(dirname "$0")/.."
root=$PWD
out=${CARGO_TARGET_DIR:-$root/target}/cross
features=(--no-default-features --features bluetooth)

say() { printf '%s\n' "== $*"; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# Installs those of the named packages that are missing.
need() {
    local missing=() package
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} = 0 ] && return
    say "installing ${missing[*]}"
    as_root apt-get update -q
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
}

# Whether the pinned toolchain can build for the target: its standard library is there.
toolchain_has() {
    [ -d "$(rustc --print sysroot)/lib/rustlib/$1/lib" ]
}

build() {
    local arch=$1 triple gnu cpu qemu packages=()
    case $arch in
    arm64)
        triple=aarch64-unknown-linux-gnu gnu=aarch64-linux-gnu
        # The oldest core that runs this build in the field is the A53; the A72 of the Pi 4 has no AES either.
        qemu=qemu-aarch64-static cpu=cortex-a72
        packages=(gcc-aarch64-linux-gnu libc6-dev-arm64-cross)
        ;;
    armv7)
        triple=armv7-unknown-linux-gnueabihf gnu=arm-linux-gnueabihf
        qemu=qemu-arm-static cpu=cortex-a7
        packages=(gcc-arm-linux-gnueabihf libc6-dev-armhf-cross)
        ;;
    amd64)
        triple=x86_64-unknown-linux-gnu gnu=x86_64-linux-gnu
        qemu=qemu-x86_64-static cpu=max
        packages=(gcc-x86-64-linux-gnu)
        ;;
    *)
        echo "cross/build.sh: unknown architecture '$arch'; say arm64, armv7 or amd64" >&2
        exit 2
        ;;
    esac

    local native=false
    [ "$(rustc -vV | sed -n 's/^host: //p')" = "$triple" ] && native=true
    if $native; then need gcc libc6-dev binutils file; else need "${packages[@]}" libc6-dev gcc binutils file; fi

    # cc-rs and cargo each want to be told, in their own spelling of the target.
    local lower=${triple//-/_} upper
    upper=${lower^^}
    local environment=()
    if ! $native; then
        environment+=("CARGO_TARGET_${upper}_LINKER=$gnu-gcc" "CC_$lower=$gnu-gcc" "AR_$lower=$gnu-ar")
    fi

    local cargo=(cargo build --release --locked --target "$triple" --target-dir "$out" "${features[@]}")
    if ! toolchain_has "$triple"; then
        local sysroot=$out/rust
        if [ "$arch" = armv7 ]; then
            "$root/cross/rust-sysroot.sh" "$sysroot-std"
            # The compiler is a stable one: the variable lets it, and cargo, take the unstable flag.
            environment+=("RUSTC=$sysroot-std/rustc" RUSTC_BOOTSTRAP=1)
            cargo+=("-Zbuild-std=std,panic_unwind")
        else
            "$root/cross/rust-sysroot.sh" "$sysroot-$arch" "$arch"
            environment+=("RUSTC=$sysroot-$arch/rustc")
        fi
    fi

    local began=$SECONDS
    say "$arch: ${cargo[*]}"
    env "${environment[@]}" "${cargo[@]}"
    local binary=$out/$triple/release/beacon-gateway

    say "$arch: built in $((SECONDS - began)) s"
    printf '%-10s %s\n' path "$binary"
    printf '%-10s %s bytes\n' size "$(stat -c %s "$binary")"
    printf '%-10s %s\n' file "$(file -b "$binary" | cut -d, -f1-3)"
    printf '%-10s %s\n' needs "$("$gnu-objdump" -T "$binary" | grep -o 'GLIBC_[0-9.]*' | sort -Vu | tail -1)"
    printf '%-10s %s\n' libraries "$("$gnu-readelf" -d "$binary" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | paste -sd ' ')"
    if $native; then
        printf '%-10s %s\n' version "$("$binary" --version)"
    elif command -v "$qemu" >/dev/null; then
        printf '%-10s %s\n' version "$("$qemu" -cpu "$cpu" -L "/usr/$gnu" "$binary" --version)"
    else
        printf '%-10s %s\n' version "not asked: $qemu is not here (apt-get install qemu-user-static)"
    fi
}

case ${1:-} in
-h | --help)
    sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"
    exit 0
    ;;
esac
for arch in "${@:-arm64}"; do build "$arch"; done
