#!/bin/bash
# Builds the guest kernel: User Mode Linux from Debian's kernel source, with Bluetooth and its virtual
# controller built in. A User Mode Linux kernel is an ordinary program: no virtualisation is needed.
#
# usage: build-kernel.sh DIRECTORY      makes DIRECTORY/linux; does nothing when it is up to date
# needs: 3 to 7 minutes of two cores, 1.7 GB of disk while building, and as root, or with sudo, what it
#        installs itself: gcc make bc flex bison xz-utils libc6-dev
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
out=$(cd "$1" && pwd)

recipe=$out/linux.recipe
if [ -x "$out/linux" ] && cmp -s "$here/kernel.config" "$recipe"; then
    exit 0
fi
[ "$(uname -m)" = x86_64 ] || { echo "the guest kernel runs on x86_64 only, this is $(uname -m)" >&2; exit 1; }
# shellcheck source=tests/radio/packages.sh
. "$here/packages.sh"
install_missing gcc:gcc make:make bc:bc flex:flex bison:bison xz:xz-utils
[ -e /usr/include/stdlib.h ] || install_packages libc6-dev

build=$out/kernel-build
rm -rf "$build" && mkdir -p "$build"
cd "$build"
refresh_lists
package=$(apt-cache depends linux-source | sed -n 's/.*Depends: \(linux-source-[0-9.]*\)$/\1/p' | head -n 1)
[ -n "$package" ] || { echo "this distribution has no package linux-source" >&2; exit 1; }
echo "fetching $package" >&2
fetch "$package"
dpkg-deb --fsys-tarfile "$package"_*.deb | tar -xO "./usr/src/$package.tar.xz" | tar -xJ --strip-components=1
rm "$package"_*.deb

# Kernels before 6.13 save the host's vector registers in a buffer whose size was fixed before AMX: on
# such a CPU every program in the guest dies of "ptrace set fp regs failed".
sed -i 's/DEFINE_LONGS(HOST_FP_SIZE, 2696)/DEFINE_LONGS(HOST_FP_SIZE, 12288)/' arch/x86/um/user-offsets.c

make -s ARCH=um tinyconfig >/dev/null
scripts/kconfig/merge_config.sh -m -O . .config "$here/kernel.config" >/dev/null
make -s ARCH=um olddefconfig >/dev/null
# An option that this kernel renamed or dropped would otherwise show as a guest that does not work.
missing=$(grep -o '^CONFIG_[A-Z0-9_]*=[^ ]*' "$here/kernel.config" | grep -vxFf .config || true)
[ -z "$missing" ] || { echo "the kernel would not take: $missing" >&2; exit 1; }
echo "building the guest kernel (some minutes, once)" >&2
nice make -s ARCH=um -j"$(nproc)" linux >build.log 2>&1 || { tail -n 30 build.log >&2; exit 1; }
strip -o "$out/linux" linux
cp "$here/kernel.config" "$recipe"
cd "$out" && rm -rf "$build"
