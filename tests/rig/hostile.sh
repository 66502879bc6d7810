#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# hostile.sh BUILD GUEST: kiln's own VMM with a guest that means ill (hostile_guest.c), in the rig. Its run
# is given by a seed, up to the order in which the VMM's threads come to it. What must hold: the guest comes to its end, which
# says that the devices still do what they should; the VMM can be told what to do all the while; what is
# told of its end is true; and a disk that it may only read is as it was.
set -u
build=$1 guest=$2
export KILN_HOME=/tmp/hostile-home KILN_RUNTIME_DIR=/tmp/hostile-run
failed=0
rounds=700 seeds="1 2"
[ -z "${KILN_SOAK:-}" ] || { rounds=20000 seeds=$(seq 1 20); }
mkdir -p "$KILN_HOME"
mkdir -m 700 -p "$KILN_RUNTIME_DIR"

kiln() { timeout 600 "$build/kiln" "$@"; }

echo "no initramfs" >/tmp/hostile-initrd
{ echo "the first sector"; head -c 1M /dev/urandom; } >/tmp/hostile-ro
truncate -s 2M /tmp/hostile-ro
truncate -s 64M /tmp/hostile-rw
sum=$(sha256sum </tmp/hostile-ro)
ip link set lo up
ip tuntap add hostile0 mode tap && ip link set hostile0 up

# vm ARGUMENTS...: with all devices. Of the disks the guest takes the last to be the one that it must be able to read.
vm() {
	kiln run --backend builtin --name hostile --kernel "$guest" --initrd /tmp/hostile-initrd --disk /tmp/hostile-rw \
		--disk /tmp/hostile-ro:ro --network tap:hostile0 --set balloon=true "$@"
}

ok() { echo "ok    $1"; }
fail() {
	echo "FAIL  $1:"
	kiln logs --console hostile | tail -n 5
	kiln inspect hostile | grep -A 12 '"exit"'
	kiln logs --runner hostile | tail -n 20
	failed=1
}

# What inspect says of a key.
field() { kiln inspect hostile | sed -n "s/^ *\"$1\": \"*\([^\",]*\)\"*,*\$/\1/p" | head -n 1; }

# comes_to_its_end SEED MEMORY
comes_to_its_end() {
	local name="a hostile guest of $2, seed $1"
	# However long it takes: it is never ready. Whatever its console's queue has said stands before its last line.
	vm -m "$2" --set readiness.kind=none --cmdline "seed=$1 rounds=$rounds" >/dev/null 2>&1
	if [ "$(kiln logs --console hostile | grep -a -c '^hostile: 7 devices')" = 1 ] &&
		kiln logs --console hostile | grep -a -q "hostile: $rounds rounds are over, and the disk reads as it should" &&
		[ "$(field state)" = stopped ] && [ "$(field kind)" = poweroff ]; then
		ok "$name"
	else
		fail "$name"
	fi
	kiln logs --runner hostile | sed -n "s/.*the guest's driver of //p" | sed 's/0x[0-9a-f]*/ADDRESS/' >>/tmp/hostile-faults
	kiln rm -f hostile >/dev/null
}

# obeys: while the guest goes on for ever.
obeys() {
	local name="a VMM with a hostile guest still does what it is told" pid
	vm -d --set readiness.kind=none -m 128M --cmdline "seed=99 rounds=0" >/dev/null || { fail "$name"; return; }
	pid=$(field pid)
	if kiln pause hostile && [ "$(field state)" = paused ] && kiln resume hostile && [ "$(field state)" = ready ] &&
		kill -0 "$pid" && kiln stop -t 1 hostile && [ "$(field state)" = stopped ] && [ "$(field kind)" = killed ] && ! kill -0 "$pid" 2>/dev/null; then
		ok "$name"
	else
		fail "$name"
	fi
	kiln rm -f hostile >/dev/null
}

for seed in $seeds; do comes_to_its_end "$seed" 128M; done
comes_to_its_end 77 5G
obeys
if [ "$sum" = "$(sha256sum </tmp/hostile-ro)" ]; then ok "a disk that it may only read is as it was"; else fail "a disk that it may only read"; fi
if [ -z "$(ls "$KILN_HOME/vms" 2>/dev/null)" ]; then ok "nothing is left"; else fail "something is left"; fi
kinds=$(sort -u /tmp/hostile-faults | wc -l)
if [ "$kinds" -ge 12 ]; then ok "$kinds kinds of faults were found in its queues"; else
	echo "FAIL  only $kinds kinds of faults were found in its queues:"
	sort /tmp/hostile-faults | uniq -c
	failed=1
fi
[ $failed != 0 ] || echo "shown: hostile guest: $(wc -w <<<"$seeds 77") runs of $rounds rounds, $kinds kinds of faults found"
exit $failed
