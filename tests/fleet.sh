#!/usr/bin/env bash
# Usage: tests/fleet.sh [BINARY]          (BINARY: the example `fleet`, built when none is named)
#
# Lets small fleets of simulated gateways live through a storm of each kind and looks whether everything arrived. It is
# the example that is tested here; what 2,000 gateways do is in docs/platform.md. Prints one line for each question, and
# `N passed, N failed` at the end. Needs mosquitto.
set -euo pipefail

cd "$(dirname "$0")/.."
binary=${1:-}
if [ -z "$binary" ]; then
    cargo build --quiet --locked --example fleet
    binary=${CARGO_TARGET_DIR:-target}/debug/examples/fleet
fi

passed=0 failed=0
said=$(mktemp)
trap 'rm -f "$said"' EXIT

# Runs the fleet; it is well when it ends as it should and what it says has every word that is named.
expect() {
    local question=$1 code=$2 found=0 word missing=
    shift 2
    local words=()
    while [ "$1" != -- ]; do words+=("$1"); shift; done
    shift
    # The limit is for a fleet that does not end by itself: that is a failure too.
    timeout 120 "$binary" "$@" >"$said" 2>&1 || found=$?
    for word in "${words[@]}"; do grep -qF -- "$word" "$said" || missing+=" '$word'"; done
    if [ "$found" = "$code" ] && [ -z "$missing" ]; then
        passed=$((passed + 1))
        echo "ok      $question"
    else
        failed=$((failed + 1))
        echo "FAILED  $question: it ended with $found; missing:${missing:- nothing}"
        tail -n 40 "$said" | sed 's/^/        /'
    fi
}

expect "everything arrives when everybody is cut off" 0 \
    '"lost":0,' '"pending":0,' '"gateways":60,' '"storm":{' '"series":[{' -- \
    --gateways 60 --for 2s --storm --away 1s --json
expect "everything arrives when the broker is restarted, with MQTT 3.1.1" 0 \
    '"lost":0,' '"pending":0,' '"protocol":"3.1.1"' -- \
    --gateways 30 --for 1s --storm restart --away 1s --protocol 3.1.1 --json
expect "the table has what was asked for" 0 \
    '10 gateways, MQTT 5' 'until all were connected' 'memory a gateway' "$(printf '%-46s %14s' '  lost' 0)" -- \
    --gateways 10 --for 1s
expect "a broker of somebody else's is not restarted" 1 'use --storm cut' -- \
    --gateways 1 --broker 127.0.0.1:1 --storm restart
expect "a rate that is none is refused" 2 'at most 1000' -- --rate 0

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
