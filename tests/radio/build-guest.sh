#!/bin/bash
# Assembles what the guest boots into: an initramfs made of nothing but files from .deb packages (a real
# bluetoothd, dbus-daemon and mosquitto, the libraries they need, busybox) and `init`.
#
# usage: build-guest.sh DIRECTORY     makes DIRECTORY/initramfs; does nothing when it is up to date
# needs: apt-get with an archive, and as root, or with sudo, what it installs itself: cpio binutils.
#        Nothing that the guest runs is installed on this machine.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
out=$(cd "$1" && pwd)

recipe=$(cat "$here/init" "$here/build-guest.sh" | sha256sum)
if [ -e "$out/initramfs" ] && [ "$recipe" = "$(cat "$out/initramfs.recipe" 2>/dev/null)" ]; then
    exit 0
fi
# shellcheck source=tests/radio/packages.sh
. "$here/packages.sh"
install_missing cpio:cpio readelf:binutils

programs=(/usr/libexec/bluetooth/bluetoothd /usr/bin/dbus-daemon /usr/bin/dbus-send /usr/bin/btmon
          /usr/bin/bluetoothctl /usr/bin/btmgmt /usr/sbin/mosquitto /usr/bin/mosquitto_sub)
wanted=(bluez dbus-daemon dbus-bin dbus-system-bus-common mosquitto mosquitto-clients busybox-static)

# Everything those packages depend on, by name; alternatives and virtual packages may fail to resolve,
# and a library that is really missing is noticed below.
echo "fetching the guest's packages" >&2
mkdir -p "$out/debs"
closure() {
    apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces \
        --no-enhances "${wanted[@]}" 2>/dev/null | grep -E '^[a-z0-9]' | sed 's/:.*//' | sort -u
}
refresh_lists
mapfile -t packages < <(closure)
cd "$out/debs"
missing=()
for package in "${packages[@]}"; do
    case $package in
        # Tools of a full system that nothing here starts.
        perl*|libperl*|debconf*|cdebconf*|adduser|passwd|udev|kmod|tzdata*|python3*|systemd*|sysvinit*|dpkg|tar) ;;
        *) compgen -G "${package}_*.deb" >/dev/null || missing+=("$package") ;;
    esac
done
[ ${#missing[@]} = 0 ] || fetch "${missing[@]}"

root=$out/unpacked stage=$out/stage
rm -rf "$root" "$stage" && mkdir "$root"
for deb in *.deb; do dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$root" --exclude='./usr/share/doc/*' --exclude='./usr/share/locale/*'; done

mkdir -p "$stage"/{bin,sbin,proc,sys,dev,run,tmp,root,share,lib,lib64,etc/dbus-1/system.d,var/lib/bluetooth,usr/bin}
ln -s ../run "$stage/var/run"
triplet=$(basename "$(dirname "$(find "$root" -name 'libc.so.6' | head -n 1)")")
mkdir -p "$stage/lib/$triplet"

# Libraries by the names that the programs ask for, and by the names that those ask for.
add_library() {
    local found
    [ ! -e "$stage/lib/$triplet/$1" ] || return 0
    found=$(find "$root" -path "*/$triplet/*" -name "$1" | head -n 1)
    [ -n "$found" ] || { echo "no package brought the library $1" >&2; exit 1; }
    cp -L "$found" "$stage/lib/$triplet/$1"
    add_needed "$found"
}
add_needed() {
    local name
    for name in $(readelf -d "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'); do add_library "$name"; done
}
for program in "${programs[@]}"; do
    install -D -m 755 "$root$program" "$stage$program"
    add_needed "$root$program"
done
# What programs built on this machine ask for.
for name in libgcc_s.so.1 libm.so.6 libc.so.6 ld-linux-x86-64.so.2; do add_library "$name"; done
ln -s "../lib/$triplet/ld-linux-x86-64.so.2" "$stage/lib64/ld-linux-x86-64.so.2"
cp "$(find "$root" -type f -path '*bin/busybox' | head -n 1)" "$stage/bin/busybox"

# The system bus as Debian configures it; BlueZ's own policy lets root and the group `bluetooth` in.
install -D -m 644 "$root/usr/share/dbus-1/system.conf" "$stage/usr/share/dbus-1/system.conf"
install -m 644 "$(find "$root" -path '*system.d/bluetooth.conf' | head -n 1)" "$stage/etc/dbus-1/system.d/"
install -D -m 644 "$root/etc/bluetooth/main.conf" "$stage/etc/bluetooth/main.conf"
printf '%s\n' 'root:x:0:0:root:/root:/bin/sh' 'messagebus:x:100:100::/run:/bin/false' \
    'mosquitto:x:102:102::/run:/bin/false' >"$stage/etc/passwd"
printf '%s\n' 'root:x:0:' 'messagebus:x:100:' 'bluetooth:x:101:' 'mosquitto:x:102:' >"$stage/etc/group"
echo '127.0.0.1 localhost' >"$stage/etc/hosts"
echo 0123456789abcdef0123456789abcdef >"$stage/etc/machine-id"
install -m 755 "$here/init" "$stage/init"

(cd "$stage" && find . | cpio -o -H newc -R 0:0 --quiet) | gzip -1 >"$out/initramfs.new"
mv "$out/initramfs.new" "$out/initramfs"
echo "$recipe" >"$out/initramfs.recipe"
cd "$out" && rm -rf "$root" "$stage" debs
