#!/usr/bin/env bash
# Usage: tests/unit_file.sh
#
# Asks systemd, sysusers and the bus, without starting anything and without root, whether they accept the files of
# systemd/ as they are shipped. Prints one line for each question, and `N passed, N failed` at the end.
set -euo pipefail

cd "$(dirname "$0")/.."
scratch=$(mktemp -d)
bus=
trap '[ -z "$bus" ] || kill "$bus" 2>/dev/null; rm -rf "$scratch"' EXIT

passed=0 failed=0
# Runs a question; what it prints is shown when the answer is no, and a line after `= ` when it is yes.
check() {
    local sentence=$1 answer
    shift
    if answer=$("$@" 2>&1); then
        passed=$((passed + 1))
        answer=$(sed -n 's/^= //p' <<<"$answer")
        printf 'ok      %s\n' "$sentence${answer:+: $answer}"
    else
        failed=$((failed + 1))
        printf 'FAILED  %s\n' "$sentence"
        printf '%s\n' "$answer" | sed 's/^/        /'
    fi
}

# Lays the unit out with some of its drop-ins. `verify` wants the program to exist: the copy names one that does,
# nothing else in it differs.
unit_with() {
    local folder name
    folder=$(mktemp -d "$scratch/unit.XXXX")
    unit=$folder/beacon-gateway.service
    sed 's,/usr/bin/beacon-gateway ,/bin/true ,' systemd/beacon-gateway.service >"$unit"
    mkdir "$unit.d"
    for name in "$@"; do cp "systemd/beacon-gateway.service.d/$name" "$unit.d/"; done
}

is_valid() {
    local name output
    name=$(basename "$1")
    output=$(systemd-analyze verify --man=no --recursive-errors=no "$1" 2>&1) || { echo "$output"; return 1; }
    # An unknown directive is a warning and exit code 0: any line about our unit or its drop-ins counts.
    if grep -F "${name%.service}" <<<"$output"; then return 1; fi
}

the_unit_is_valid() {
    unit_with "$@"
    is_valid "$unit"
}

# The score of `systemd-analyze security`: 0 is a locked box, 10 is root with everything.
the_exposure_is_at_most() {
    local most=$1 output score
    shift
    unit_with "$@"
    output=$(systemd-analyze security --offline=true --no-pager "$unit") || { echo "$output"; return 1; }
    score=$(sed -n 's/.*Overall exposure level for beacon-gateway.service: \([0-9.]*\).*/\1/p' <<<"$output")
    echo "= $score, at most $most"
    [ -n "$score" ] && awk -v score="$score" -v most="$most" 'BEGIN { exit !(score <= most) }'
}

# The unit has no capability, each drop-in exactly one, and the namespace in which it would be void is left.
each_drop_in_grants_one_capability() {
    local file capability found
    grep -qx 'CapabilityBoundingSet=' systemd/beacon-gateway.service &&
        grep -qx 'AmbientCapabilities=' systemd/beacon-gateway.service &&
        grep -qx 'PrivateUsers=yes' systemd/beacon-gateway.service || return 1
    while read -r file capability; do
        found=$(grep -E '^(CapabilityBoundingSet|AmbientCapabilities|PrivateUsers|RestrictAddressFamilies)=' \
            "systemd/beacon-gateway.service.d/$file" | sort | paste -sd ' ')
        echo "$file: $found"
        [ "$found" = "AmbientCapabilities=$capability CapabilityBoundingSet=$capability PrivateUsers=no RestrictAddressFamilies=AF_BLUETOOTH" ] || return 1
    done <<'DROP_INS'
monitor.conf CAP_NET_RAW
dedicated-adapter.conf CAP_NET_ADMIN
DROP_INS
}

# Over a unit with the essence of bluetoothd's own, and a program that exists.
the_drop_in_for_bluetoothd_is_valid() {
    local unit=$scratch/bluetooth/bluetooth.service
    mkdir -p "$unit.d"
    printf '[Service]\nType=dbus\nBusName=org.bluez\nExecStart=/bin/false\n' >"$unit"
    sed 's,/usr/libexec/bluetooth/bluetoothd,/bin/true,' systemd/bluetooth.service.d/beacon-gateway.conf \
        >"$unit.d/beacon-gateway.conf"
    is_valid "$unit"
}

both_commands_read_the_same_file() {
    local files
    files=$(grep -E '^Exec(Start|StartPre)=' systemd/beacon-gateway.service | sed 's/.* --config //' | sort -u)
    echo "$files"
    [ "$files" = /etc/beacon-gateway/gateway.toml ]
}

the_user_is_made() {
    mkdir -p "$scratch/root/etc"
    systemd-sysusers --root="$scratch/root" "$PWD/systemd/beacon-gateway.sysusers" || return 1
    grep -q '^beacon-gateway:.*:/var/lib/beacon-gateway:.*nologin$' "$scratch/root/etc/passwd" || {
        cat "$scratch/root/etc/passwd"
        return 1
    }
}

every_user_named_is_the_one_made() {
    local user
    user=$(awk '$1 == "u" { print $2 }' systemd/beacon-gateway.sysusers)
    grep -qx "User=$user" systemd/beacon-gateway.service &&
        grep -qx "Group=$user" systemd/beacon-gateway.service &&
        grep -q "<policy user=\"$user\">" systemd/beacon-gateway-dbus.conf &&
        [ "$(grep -o "chgrp [^ ]*" systemd/60-beacon-gateway.rules | sort -u)" = "chgrp $user" ]
}

# A bus that may not be reached from outside: its socket lies in the scratch folder.
the_bus_takes_the_policy() {
    cat >"$scratch/bus.conf" <<CONF
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path=$scratch/bus</listen>
  <policy context="default"><allow send_destination="*"/><allow own="*"/></policy>
  <include>$PWD/systemd/beacon-gateway-dbus.conf</include>
</busconfig>
CONF
    # Forks once it has read all of its configuration; a mistake there ends it with a message first.
    dbus-daemon --config-file="$scratch/bus.conf" --fork --print-pid=3 3>"$scratch/bus.pid" || return 1
}

check "systemd finds nothing to say about the unit" the_unit_is_valid
check "nor with every drop-in" the_unit_is_valid monitor.conf dedicated-adapter.conf
check "nor with the registry's key" the_unit_is_valid registry-key.conf
check "nor about the drop-in for bluetoothd" the_drop_in_for_bluetoothd_is_valid
check "each drop-in grants one capability, the unit none" each_drop_in_grants_one_capability
check "the exposure is low" the_exposure_is_at_most 1.5
check "the exposure with the monitor socket" the_exposure_is_at_most 2.0 monitor.conf
check "the exposure with an adapter of its own" the_exposure_is_at_most 2.1 dedicated-adapter.conf
check "the exposure with both" the_exposure_is_at_most 2.2 monitor.conf dedicated-adapter.conf
check "check and run read the same file" both_commands_read_the_same_file
check "sysusers makes the user" the_user_is_made
check "the unit, the bus policy and the udev rules name that user" every_user_named_is_the_one_made
check "a bus takes the policy" the_bus_takes_the_policy
bus=$(cat "$scratch/bus.pid" 2>/dev/null || true)

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
