#!/usr/bin/env bash
# Usage: cross/rust-sysroot.sh DIR [ARCH...]
#
# In:  a Debian 12 machine that reaches a Debian archive, and nothing else. No root needed.
# Out: DIR/rustc, a Rust compiler that builds for this machine and for each ARCH (a Debian name: arm64, amd64),
#      with the source of the standard library, so that `-Zbuild-std` can build for an ARCH without a prebuilt one.
#
# Debian backports a current Rust as `rustc-web` for its browsers, with the standard library of every Debian
# architecture beside it. The packages are unpacked, not installed: they conflict with rustup's, and a build must not
# change the machine. apt runs on a private state below DIR, so the machine's package lists and architectures stay as
# they are. A second run finds DIR/rustc and does nothing.
set -euo pipefail

if [ $# -lt 1 ]; then
    sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"
    exit 2
fi
dir=$(realpath -m "$1")
shift
host=$(dpkg --print-architecture)
triplet=$(dpkg-architecture -qDEB_HOST_MULTIARCH 2>/dev/null || gcc -print-multiarch)
foreign=()
for arch in "$@"; do
    [ "$arch" = "$host" ] || foreign+=("$arch")
done

if [ -x "$dir/rustc" ] && [ "$(cat "$dir/architectures" 2>/dev/null)" = "$host ${foreign[*]}" ]; then
    exit 0
fi

# --- a private apt -----------------------------------------------------------------------------------------------
apt=$dir/apt
rm -rf "$dir"
mkdir -p "$apt"/{lists/partial,archives/partial,etc/{sources.list.d,apt.conf.d,preferences.d}} "$dir/debs"
: >"$apt/status"

# The machine's own Debian archive, asked for the foreign architectures as well.
if [ -f /etc/apt/sources.list.d/debian.sources ]; then
    sed -e '/^Architectures:/d' -e "s/^Types:.*/Types: deb\nArchitectures: $host ${foreign[*]}/" \
        /etc/apt/sources.list.d/debian.sources >"$apt/etc/sources.list.d/debian.sources"
else
    all=$(IFS=,; echo "$host${foreign[*]:+,${foreign[*]}}")
    sed -nE "s/^deb +(\[[^]]*\] +)?/deb [arch=$all] /p" /etc/apt/sources.list >"$apt/etc/sources.list.d/debian.list"
fi

architectures="\"$host\";"
for arch in "${foreign[@]}"; do architectures+=" \"$arch\";"; done
cat >"$apt/apt.conf" <<CONF
Dir::Etc "$apt/etc";
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "$apt/etc/sources.list.d";
Dir::Etc::trustedparts "/etc/apt/trusted.gpg.d";
Dir::State "$apt";
Dir::State::lists "$apt/lists";
Dir::State::status "$apt/status";
Dir::Cache "$apt";
APT::Architecture "$host";
APT::Architectures { $architectures };
APT::Sandbox::User "root";
Acquire::Languages "none";
CONF
export APT_CONFIG=$apt/apt.conf
apt-get update -q

# --- the packages, all of one version ----------------------------------------------------------------------------
version=$(apt-cache policy rustc-web | awk '/Candidate:/ {print $2}')
if [ -z "$version" ] || [ "$version" = "(none)" ]; then
    echo "rust-sysroot: the archive has no rustc-web; is the bookworm-security suite among its sources?" >&2
    exit 1
fi
# The compiler's own libraries carry their version in their names. All of what apt-cache says is read: whoever stops at
# the first match may end it with a broken pipe.
first() { awk -v wanted="$1" 'match($0, wanted) && !found++ {print substr($0, RSTART, RLENGTH)}'; }
libstd=$(apt-cache show "libstd-rust-web-dev:$host=$version" | first 'libstd-rust-web-[0-9.]*[0-9]')
libllvm=$(apt-cache show "$libstd:$host=$version" | first 'libllvm[0-9.]*[0-9]')
packages=("rustc-web=$version" "rust-web-src=$version" "$libstd:$host=$version" "$libllvm:$host")
for arch in "$host" "${foreign[@]}"; do packages+=("libstd-rust-web-dev:$arch=$version"); done
(cd "$dir/debs" && apt-get download -q "${packages[@]}")
for deb in "$dir"/debs/*.deb; do dpkg-deb --extract "$deb" "$dir"; done

# --- the compiler, told where it lives ---------------------------------------------------------------------------
cat >"$dir/rustc" <<WRAPPER
#!/bin/sh
LD_LIBRARY_PATH=$dir/usr/lib/$triplet\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH} exec $dir/usr/bin/rustc --sysroot $dir/usr "\$@"
WRAPPER
chmod +x "$dir/rustc"
rm -rf "$dir/debs" "$apt"
"$dir/rustc" --version
# Written last: a run that was cut short is started afresh.
echo "$host ${foreign[*]}" >"$dir/architectures"
