#!/usr/bin/env bash
# Usage: tests/service.sh [BINARY]        (BINARY: target/debug/beacon-gateway, built when none is named)
#
# Installs the daemon as the README says into a throw-away copy of this machine, boots systemd there and watches what
# it makes of the unit as it is shipped: no radio, no bus, no broker at first; then a broker, a reload, a kill, a stop,
# a broken configuration. The copy is an overlay in mount, process, network and control group namespaces of its own:
# nothing on the machine is written to, and the only network is a loopback that ends with the test.
#
# Needs root (or sudo), overlayfs, control groups v2, systemd, mosquitto, perl and iproute2. Prints one line for each
# question, and `N passed, N failed` at the end.
set -euo pipefail

cd "$(dirname "$0")/.."
repository=$PWD

# Seconds for everything; it takes about ten. What still runs then is killed.
limit=120

# --- outside: a scratch folder, a control group, the namespaces ---------------------------------------------------
outside() {
    local binary=${1:-}
    if [ -z "$binary" ]; then
        # The way the other tests build it: `cargo build` would compile half of the tree again, with fewer features.
        cargo test --quiet --locked --no-run --test it
        binary=${CARGO_TARGET_DIR:-target}/debug/beacon-gateway
    fi
    binary=$(realpath "$binary")
    if [ "$(id -u)" != 0 ]; then exec sudo "$repository/tests/service.sh" "$binary"; fi

    local scratch groups group
    scratch=$(mktemp -d)
    mkdir "$scratch/copy"
    # The second version of control groups is mounted alone, or beside the first.
    groups=/sys/fs/cgroup
    [ -e "$groups/cgroup.procs" ] || groups=/sys/fs/cgroup/unified
    group=$groups/beacon-gateway-test.$$
    mkdir "$group"
    # A systemd that is powered off ends as if interrupted: its exit code says nothing, the last answer does.
    (
        echo "$BASHPID" >"$group/cgroup.procs"
        exec timeout --kill-after=5 "$limit" unshare --mount --pid --fork --uts --ipc --net --cgroup \
            "$repository/tests/service.sh" --inside "$scratch/copy" "$binary" 3>"$scratch/answers"
    ) </dev/null >"$scratch/output" 2>&1 || true
    find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || true

    local passed failed
    if ! grep -qx 'done' "$scratch/answers"; then
        echo "FAILED  the boot came to its end" >>"$scratch/answers"
        sed 's/^/        /' "$scratch/output" | tail -n 40 >>"$scratch/answers"
    fi
    grep -vx 'done' "$scratch/answers" || true
    passed=$(grep -c '^ok ' "$scratch/answers" || true)
    failed=$(grep -c '^FAILED ' "$scratch/answers" || true)
    rm -rf "$scratch"
    echo "$passed passed, $failed failed"
    [ "$failed" = 0 ]
}

# --- inside: the copy of the machine ------------------------------------------------------------------------------
inside() {
    local copy=$1 binary=$2 root=$1/root
    mount --make-rprivate /
    mount -t tmpfs -o mode=755 tmpfs "$copy"
    mkdir "$copy"/{root,upper,work}
    mount -t overlay -o "lowerdir=/,upperdir=$copy/upper,workdir=$copy/work" overlay "$root"
    mount -t proc proc "$root/proc"
    mount -t sysfs -o ro sysfs "$root/sys"
    mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
    mount -t tmpfs -o mode=755 tmpfs "$root/run"
    mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
    mount -t tmpfs -o mode=755 tmpfs "$root/dev"
    mkdir "$root"/dev/{pts,shm,mqueue}
    cp -a /dev/{null,zero,full,random,urandom,tty} "$root/dev/"
    mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
    ln -s pts/ptmx "$root/dev/ptmx"
    # systemd's own log: a pipe that is read here takes the place of the kernel's.
    mkfifo "$root/dev/kmsg"
    cat <>"$root/dev/kmsg" &
    ip link set lo up

    # Of the machine's own units only the bare targets are wanted: nothing else may start.
    rm -rf "$root/etc/systemd/system"
    mkdir -p "$root/etc/systemd/system"
    local target
    for target in sysinit basic shutdown umount final sockets timers paths slices network; do
        sed '/^Wants=/d; /^Requires=/d; /^After=/d' "/lib/systemd/system/$target.target" \
            >"$root/etc/systemd/system/$target.target"
    done

    install_as_the_readme_says "$root" "$binary"

    mkdir -p "$root/old"
    cd "$root"
    pivot_root . old
    umount --lazy /old
    # systemd hands a service its credentials over a shared mount; outside a container it makes / one itself.
    mount --make-rshared /
    questions 2>&1 &
    exec env -i PATH="$PATH" container=other SYSTEMD_UNIT_PATH=/etc/systemd/system \
        SYSTEMD_LOG_TARGET=kmsg /lib/systemd/systemd --system --unit=basic.target
}

configuration='
[gateway]
tenant = "acme"
store = "test"
name = "gw1"

[uplink]
broker = "mqtt://127.0.0.1:1883"
'

install_as_the_readme_says() {
    local root=$1 binary=$2
    install -m 755 "$binary" "$root/usr/bin/beacon-gateway"
    install -m 644 systemd/beacon-gateway.service "$root/etc/systemd/system/"
    install -D -m 644 systemd/beacon-gateway.sysusers "$root/usr/lib/sysusers.d/beacon-gateway.conf"
    install -D -m 644 systemd/beacon-gateway-dbus.conf "$root/usr/share/dbus-1/system.d/beacon-gateway.conf"
    chroot "$root" systemd-sysusers
    chroot "$root" install -d -m 750 -g beacon-gateway /etc/beacon-gateway
    printf '%s' "$configuration" >"$root/etc/beacon-gateway/gateway.toml"
    chroot "$root" chgrp beacon-gateway /etc/beacon-gateway/gateway.toml
    chmod 640 "$root/etc/beacon-gateway/gateway.toml"

    # What the test changes: there is no journal to read the log from, and nobody wants to wait twelve seconds.
    mkdir "$root/etc/systemd/system/beacon-gateway.service.d"
    cat >"$root/etc/systemd/system/beacon-gateway.service.d/test.conf" <<'DROP_IN'
[Service]
StandardOutput=append:/run/gateway.log
StandardError=append:/run/gateway.log
RestartSec=200ms
DROP_IN

    # The same sandbox around a few lines of Perl, which every Debian has.
    local seccomp adjtimex
    case $(uname -m) in
    x86_64) adjtimex=159 seccomp=317 ;;
    aarch64) adjtimex=171 seccomp=277 ;;
    *) echo "the numbers of the system calls on $(uname -m) are not known here" >&2; return 1 ;;
    esac
    sed -e '/^Exec/d; /^Restart/d; /^WatchdogSec/d' \
        -e 's,^Type=notify,Type=oneshot\nExecStart=/usr/bin/perl /run/probe.pl\nStandardOutput=append:/run/probe.log,' \
        systemd/beacon-gateway.service >"$root/etc/systemd/system/probe.service"
    # And with the drop-in that grants a capability, where it is asked for: at the first user namespace.
    sed 's,/run/probe,/run/monitor-probe,' "$root/etc/systemd/system/probe.service" \
        >"$root/etc/systemd/system/monitor-probe.service"
    install -D -m 644 -t "$root/etc/systemd/system/monitor-probe.service.d" \
        systemd/beacon-gateway.service.d/monitor.conf
    cat >"$root/run/monitor-probe.pl" <<'PERL'
my %said = map { /^(\w+):\s*(.*)/ ? ($1, $2) : () } do { open(my $status, "<", "/proc/self/status"); <$status> };
open(my $map, "<", "/proc/self/uid_map");
print "capabilities: $said{CapEff}, of the namespace", join(" ", "", split(" ", <$map>)), "\n";
PERL
    cat >"$root/run/probe.pl" <<PERL
my \$timex = pack("L x508", 0); # all zero: a question
print "reading the clock: ", (syscall($adjtimex, \$timex) >= 0 ? "allowed" : \$!), "\n";
\$timex = pack("L x508", 1); # ADJ_OFFSET
print "setting the clock: ", (syscall($adjtimex, \$timex) >= 0 ? "allowed" : "refused"), "\n";
my \$errno = pack("L", 0x00050000); # SECCOMP_RET_ERRNO
print "a filter of its own: ", (syscall($seccomp, 2, 0, \$errno) == 0 ? "allowed" : \$!), "\n";
my \$opened = open(my \$password, "<", "\$ENV{CREDENTIALS_DIRECTORY}/mqtt-password");
print "the password: ", (\$opened ? <\$password> : "\$!\n");
PERL
}

# --- inside: the questions ----------------------------------------------------------------------------------------
answer() { printf '%s\n' "$*" >&3; }

check() {
    local sentence=$1
    shift
    if "$@" >/run/answer 2>&1; then
        answer "ok      $sentence"
    else
        answer "FAILED  $sentence"
        { cat /run/answer; tail -n 15 /run/gateway.log 2>/dev/null; } | sed 's/^/        /' >&3
    fi
}

# Repeats a command until it succeeds or the seconds are over.
within() {
    local until=$((SECONDS + $1)) reason
    shift
    until reason=$("$@" 2>&1); do
        [ "$SECONDS" -lt "$until" ] || { echo "not in time: $reason"; return 1; }
        sleep 0.1
    done
}

property() { systemctl show beacon-gateway --property="$1" --value; }
is() { [ "$(property "$1")" = "$2" ] || { echo "$1 is $(property "$1"), not $2"; return 1; }; }

starts() { systemctl start beacon-gateway && is ActiveState active; }
has_a_status() { [ -n "$(property StatusText)" ]; }
state_is_private() { [ "$(stat -c '%U %a' /var/lib/beacon-gateway)" = "beacon-gateway 700" ] || { stat /var/lib/beacon-gateway; return 1; }; }

# Without a file of configuration mosquitto listens on loopback alone and takes everyone.
the_broker_hears_of_the_start() {
    mosquitto -p 1883 >/run/mosquitto.log 2>&1 &
    within 10 mosquitto_pub -p 1883 -t up -n
    # The gateway's pauses between attempts grow to a minute.
    mosquitto_sub -p 1883 -t 'beacon/v1/+/+/+/event/gateway/started' -C 1 -W 75 | grep io.beacon-gateway.gateway.started
}

reload_keeps_the_process() {
    local before
    before=$(property MainPID)
    systemctl reload beacon-gateway && is MainPID "$before" && is ActiveState active
}

# By a process that the daemon starts, inside its sandbox.
who_is_enrolled_is_noticed() {
    echo '{"subject":"trolley_1","kind":"asset","identifiers":[{"address":"C0:11:22:33:44:55"}]}' >/run/registry.jsonl
    beacon-gateway registry import --config /etc/beacon-gateway/gateway.toml /run/registry.jsonl &&
        within 20 grep -q 'enrolled=1 .*The registry was read again\|The registry was read again. *enrolled=1' /run/gateway.log &&
        ! grep 'No process can be started' /run/gateway.log
}

comes_back_after_a_kill() {
    systemctl kill --kill-whom=main --signal=KILL beacon-gateway
    within 20 is NRestarts 1 && within 20 is ActiveState active
}

stops_in_time() {
    is ActiveState active && systemctl stop beacon-gateway && is Result success && is ActiveState inactive
}

a_broken_configuration_ends_it() {
    : >/run/gateway.log
    echo 'no_such_key = 1' >>/etc/beacon-gateway/gateway.toml
    if systemctl start beacon-gateway; then echo "it started"; return 1; fi
    # A restart would be under way by now: RestartSec= is a fifth of that.
    sleep 1
    is ActiveState failed && is ExecMainStatus 78 && is NRestarts 0 && grep -q no_such_key /run/gateway.log
}

the_probe_says() { says probe "$1"; }
says() { grep -x "$2" "/run/$1.log" || { cat "/run/$1.log"; return 1; }; }

questions() {
    within 20 systemctl is-active --quiet basic.target
    check "it starts without a radio, a bus, a broker and a password file" starts
    check "it says how it is" has_a_status
    check "its state belongs to its user alone" state_is_private
    check "gateway.started arrives at the broker" the_broker_hears_of_the_start
    check "a reload keeps the process" reload_keeps_the_process
    check "it notices who is enrolled, by a process of its own" who_is_enrolled_is_noticed
    check "it comes back after a kill" comes_back_after_a_kill
    check "it stops in time and in order" stops_in_time
    check "a broken configuration ends it with 78, once, by name" a_broken_configuration_ends_it
    install -d -m 700 /etc/credstore
    (umask 077 && echo 'correct horse' >/etc/credstore/beacon-gateway.mqtt-password)
    systemctl start probe || true
    check "the sandbox lets it ask whether the clock is synchronised" the_probe_says "reading the clock: allowed"
    check "the sandbox does not let it set the clock" the_probe_says "setting the clock: refused"
    check "the sandbox lets the outbox filter its own thread" the_probe_says "a filter of its own: allowed"
    check "the password of the broker reaches the service" the_probe_says "the password: correct horse"
    systemctl start monitor-probe || true
    # 13 is the number of CAP_NET_RAW.
    check "the drop-in hands it CAP_NET_RAW alone, and not in a namespace of its own" \
        says monitor-probe "capabilities: 0000000000002000, of the namespace 0 0 4294967295"
    answer "done"
    systemctl --force --force poweroff
}

case ${1:-} in
--inside) inside "$2" "$3" ;;
*) outside "${1:-}" ;;
esac
