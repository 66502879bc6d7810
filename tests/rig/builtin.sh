#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# builtin.sh BUILD SOURCE: kiln's own VMM with stock kernels, where KVM works: in the rig. The kernel is that of
# the tests that run outside, which have fetched it: their cache is copied, since it is read-only there.
set -u
build=$1 source=$2
export KILN_HOME=/tmp/home KILN_RUNTIME_DIR=/tmp/run KILN_IMAGE_CACHE=/tmp/images
images=${KILN_CACHE:-$source/.cache}/test-images
root=$images/busybox-root
failed=0

[ -e "$root/etc/passwd" ] || { echo "skipped: there is no $root yet"; exit 77; }
mkdir -p "$KILN_HOME"
mkdir -m 700 -p "$KILN_RUNTIME_DIR"
cp -r "$images" "$KILN_IMAGE_CACHE"

kiln() { timeout 100 "$build/kiln" "$@"; }

# expect NAME CODE TEXT COMMAND...: exit code and a line of the output (a pattern of grep).
expect() {
	local name=$1 code=$2 text=$3 out result; shift 3
	out=$("$@" 2>&1); result=$?
	if [ "$result" = "$code" ] && grep -q -e "$text" <<<"$out"; then
		echo "ok    $name"
	else
		echo "FAIL  $name: exit $result, not $code, or no '$text' in:"
		tail -n 30 <<<"$out"
		failed=1
	fi
}

expect "output and exit code" 7 '^hello$' kiln run --rootfs "$root" -- sh -c 'echo hello; exit 7'
expect "four processors" 0 '^4$' kiln run --cpus 4 --rootfs "$root" -- nproc
expect "128 MiB" 0 '^[89][0-9] MiB$' kiln run -m 128M --rootfs "$root" -- \
	sh -c 'awk "/MemTotal/ {printf \"%d MiB\n\", \$2 / 1024}" /proc/meminfo'
expect "5 GiB, across the hole" 0 '^4[0-9][0-9][0-9] MiB$' kiln run -m 5G --rootfs "$root" -- \
	sh -c 'awk "/MemTotal/ {printf \"%d MiB\n\", \$2 / 1024}" /proc/meminfo'
expect "in the background" 0 . kiln run -d --name v --rootfs "$root" -- sleep 1000
expect "it is the builtin VMM's" 0 '"backend": *"builtin"' sh -c "$build/kiln inspect v"
expect "exec" 0 '^inside$' kiln exec v -- echo inside

# Requests that its rings have taken, as the kernel counts them, while its filter and Landlock hold.
requests_by_ring() {
	local pid fd sum=0
	pid=$(kiln inspect v | sed -n 's/^ *"pid": \([0-9]*\),/\1/p' | head -n 1)
	grep -q '^Seccomp:.*2$' "/proc/$pid/status" && kiln inspect v | grep -q '"landlock": [1-9]' || { echo "it is not confined"; return 1; }
	for fd in /proc/"$pid"/fd/*; do
		[ "$(readlink "$fd")" != 'anon_inode:[io_uring]' ] ||
			sum=$((sum + $(sed -n 's/^SqHead:[[:space:]]*//p' "/proc/$pid/fdinfo/${fd##*/}")))
	done
	echo "$sum requests"
}
expect "the disks of a confined runner go by io_uring" 0 '^[1-9][0-9]* requests$' requests_by_ring
expect "pause" 0 '' kiln pause v
expect "resume" 0 '' kiln resume v
expect "exec after a pause" 3 '' kiln exec v -- sh -c 'exit 3'
expect "stop" 0 '' kiln stop v
expect "start again" 0 '' kiln start v
expect "a reboot may start it again" 0 . \
	kiln run -d --name again --set on_reboot=restart --rootfs "$root" -- sh -c 'sleep 1000'
kiln exec again -- sh -c 'echo old > /marker; reboot -f' >/dev/null 2>&1
expect "... a new guest" 0 'ready.*running.*ready' sh -c "timeout 60 $build/kiln events -f again |
	awk '{printf \"%s \", \$4} /running/ {r++} /ready/ && r > 1 {print \"\"; exit}'"
expect "... which knows nothing of the old" 1 '' kiln exec again -- test -e /marker
kiln rm -f again >/dev/null

# passt takes the addresses of an interface by which the world is reached.
ip tuntap add ext0 mode tap && ip addr add 192.0.2.1/24 dev ext0 && ip link set ext0 up &&
	ip route add default via 192.0.2.2
mkdir -p /tmp/www && echo from the host >/tmp/www/index.html
busybox httpd -f -p 127.0.0.1:8000 -h /tmp/www & server=$!
expect "the host by a user network" 0 '^from the host$' kiln run --network user --rootfs "$root" -- \
	wget -q -O - http://10.0.2.2:8000/
kill $server
expect "a published port" 0 . kiln run -d --name web -p 8080:80 --network user --rootfs "$root" -- \
	sh -c 'mkdir -p /www; echo inside > /www/index.html; httpd -f -h /www'
kiln exec web -- sh -c 'until wget -q -O - http://127.0.0.1/; do :; done' >/dev/null 2>&1
# passt resets what comes before it has heard of the guest's address.
expect "... answers" 0 '^inside$' sh -c 'for i in 1 2 3 4 5 6 7 8; do
	busybox wget -q -O - http://127.0.0.1:8080/ && exit; busybox usleep 300000; done'
kiln rm -f web >/dev/null

expect "a disk keeps what was flushed" 0 '^[0-9a-f]* *-$' sh -c "truncate -s 64M /tmp/disk &&
	$build/kiln run --disk /tmp/disk --rootfs $root -- sh -c 'dd if=/dev/urandom of=/dev/vdb bs=1M count=64 conv=fsync 2>/dev/null; sha256sum < /dev/vdb' > /tmp/sum &&
	sha256sum < /tmp/disk | cmp - /tmp/sum && cat /tmp/sum"

expect "a panic is a failure with its reason" 0 'failed' \
	sh -c "$build/kiln exec v -- sh -c 'echo c > /proc/sysrq-trigger'; $build/kiln wait v; $build/kiln ls -a"
expect "... and is told" 0 'panicked: ' kiln inspect v
expect "remove" 0 '' kiln rm v
exit $failed
