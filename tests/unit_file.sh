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

# `verify` wants the program to exist. The copy names one that does; nothing else in it differs.
unit=$scratch/beacon-gateway.service
sed 's,/usr/bin/beacon-gateway ,/bin/true ,' systemd/beacon-gateway.service >"$unit"

the_unit_is_valid() {
    local output
    output=$(systemd-analyze verify --man=no --recursive-errors=no "$unit" 2>&1) || { echo "$output"; return 1; }
    # An unknown directive is a warning and exit code 0: any line about our unit counts.
    if grep -F beacon-gateway <<<"$output"; then return 1; fi
}

# The score of `systemd-analyze security`: 0 is a locked box, 10 is root with everything.
most=1.5
the_exposure_is_low() {
    local output score
    output=$(systemd-analyze security --offline=true --no-pager "$unit") || { echo "$output"; return 1; }
    score=$(sed -n 's/.*Overall exposure level for beacon-gateway.service: \([0-9.]*\).*/\1/p' <<<"$output")
    echo "= $score, at most $most"
    [ -n "$score" ] && awk -v score="$score" -v most="$most" 'BEGIN { exit !(score <= most) }'
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
        grep -q "<policy user=\"$user\">" systemd/beacon-gateway-dbus.conf
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
check "the exposure is low" the_exposure_is_low
check "check and run read the same file" both_commands_read_the_same_file
check "sysusers makes the user" the_user_is_made
check "the unit and the bus policy name that user" every_user_named_is_the_one_made
check "a bus takes the policy" the_bus_takes_the_policy
bus=$(cat "$scratch/bus.pid" 2>/dev/null || true)

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
