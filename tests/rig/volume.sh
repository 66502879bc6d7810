#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# volume.sh BUILD SOURCE ROOT: much data through each device of kiln's own VMM, and nothing of it
# lost; in the rig. ROOT is what tools_root.sh makes.
set -u
build=$1 source=$2 root=$3
export KILN_HOME=/tmp/home KILN_RUNTIME_DIR=/tmp/run KILN_IMAGE_CACHE=/tmp/images
failed=0
written=2 bulk=16 # MiB by fio, and by iperf each way
[ -z "${KILN_SOAK:-}" ] || { written=48 bulk=1024; }

[ -e "$root" ] || { echo "skipped: there is no $root"; exit 77; }
mkdir -p "$KILN_HOME"
mkdir -m 700 -p "$KILN_RUNTIME_DIR"
cp -r "${KILN_CACHE:-$source/.cache}/test-images" "$KILN_IMAGE_CACHE" # the kernel, as made before

kiln() { timeout 300 "$build/kiln" "$@"; }
vm() { kiln run --backend builtin --set readiness.timeout=180s --rootfs "$root" "$@"; }

# check NAME COMMAND...: it succeeds.
check() {
	local name=$1 out result begin=$SECONDS; shift
	out=$("$@" 2>&1); result=$?
	if [ $result = 0 ]; then
		echo "ok    $name ($((SECONDS - begin)) s)"
	else
		echo "FAIL  $name: exit $result:"
		tail -n 30 <<<"$out"
		failed=1
	fi
}

# --- the disk ---------------------------------------------------------------------------

# Written at random and read back, 32 in flight, in blocks of 512 bytes to 64 KiB.
fio_verifies() {
	truncate -s 64M /tmp/disk
	vm --cpus "$1" --disk /tmp/disk -- fio --thread --name=verify --filename=/dev/vdb --rw=randrw --size=${2}M \
		--bsrange=512-64k --ioengine=libaio --iodepth=32 --direct=1 --fsync=64 --randseed=7 \
		--verify=crc32c --verify_fatal=1
}

round="fio --thread --name=round --filename=/dev/vdb --size=1M --bs=4k --ioengine=libaio --iodepth=32 --verify=crc32c"

# Rounds that are written, flushed and told of, until the VM is killed in the middle of one. What was told
# of must be there: a second VM reads the checksums.
fio_survives() {
	local told
	truncate -s 64M /tmp/disk
	vm -d --name killed --disk /tmp/disk -- sh -c \
		"for n in \$(seq 0 59); do $round --rw=write --do_verify=0 --end_fsync=1 --offset=\${n}M >/dev/null && echo told \$n; done" || return
	kiln logs -f killed | grep -q -m 1 "^told $1\$"
	kill -9 "$(kiln inspect killed | sed -n 's/.*"pid": \([0-9]*\),/\1/p' | head -n 1)"
	kiln wait killed
	told=$(kiln logs killed | sed -n 's/^told //p' | tail -n 1)
	kiln rm killed || return
	[ "$told" -ge "$1" ] && [ "$told" -lt 59 ] || { echo "it was not killed in the middle: told $told"; return 1; }
	vm --disk /tmp/disk:ro -- sh -c \
		"for n in \$(seq 0 $told); do $round --rw=read --offset=\${n}M || exit 1; done"
}

# --- the network ------------------------------------------------------------------------

iperf_commands() { echo "iperf3 -c $1 -n ${bulk}M && iperf3 -c $1 -n ${bulk}M -R && iperf3 -c $1 -u -b 0 -n 1M"; }

# iperf_moves ADDRESS OPTIONS...: a server of this host; the guest sends, then receives.
iperf_moves() {
	local address=$1 server result; shift
	iperf3 -s >/tmp/iperf.log & server=$!
	vm "$@" -- sh -c "$(iperf_commands "$address")"
	result=$?
	kill $server
	return $result
}

# passt takes the addresses of an interface by which the world is reached.
ip link set lo up
ip tuntap add ext0 mode tap && ip addr add 192.0.2.1/24 dev ext0 && ip link set ext0 up &&
	ip route add default via 192.0.2.2

# By the kernel's own back-end, which has a thread named after the process that it serves.
tap_moves() {
	local result watcher
	[ -e /dev/vhost-net ] || { echo "L1 has no /dev/vhost-net"; return 1; }
	ip tuntap add tap7 mode tap && ip addr add 198.51.100.1/24 dev tap7 && ip link set tap7 up || return
	iperf3 -s >/tmp/iperf.log & server=$!
	vm --network tap:tap7 --user 0 -- sh -c "ip addr add 198.51.100.2/24 dev eth0 && ip link set eth0 up &&
		until ping -c 1 -W 1 198.51.100.1 >/dev/null; do :; done && $(iperf_commands 198.51.100.1)" & watcher=$!
	while kill -0 $watcher 2>/dev/null && ! grep -q ^vhost- /proc/[0-9]*/comm 2>/dev/null; do busybox usleep 200000; done
	grep -h ^vhost- /proc/[0-9]*/comm || { echo "vhost-net did not serve it"; kill $watcher; }
	wait $watcher; result=$?
	kill $server
	return $result
}

# --- vsock ------------------------------------------------------------------------------

vsock_moves() {
	head -c 32M /dev/urandom >/tmp/noise
	vm -i -- cat </tmp/noise | cmp - /tmp/noise
}

check "a disk, written and verified by fio, one processor" fio_verifies 1 $written
check "... four processors" fio_verifies 4 $written
check "what was flushed is there after kill -9" fio_survives 3
[ -z "${KILN_SOAK:-}" ] || for told in 1 11 17 23 40; do check "... after $told flushes" fio_survives $told; done
check "a user network carries TCP both ways, and UDP" iperf_moves 10.0.2.2 --network user
check "a TAP interface likewise, by vhost-net" tap_moves
check "32 MiB into the guest by vsock and back" vsock_moves
[ $failed != 0 ] || echo "shown: volume: fio's checksums over $written MiB with one and four processors and after kill -9, iperf3 $bulk MiB each way by passt and by vhost-net, 32 MiB by vsock each way"
exit $failed
