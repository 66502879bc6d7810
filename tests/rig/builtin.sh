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
expect "pause" 0 '' kiln pause v
expect "resume" 0 '' kiln resume v
expect "exec after a pause" 3 '' kiln exec v -- sh -c 'exit 3'
expect "stop" 0 '' kiln stop v
expect "start again" 0 '' kiln start v
expect "a panic is a failure with its reason" 0 'failed' \
	sh -c "$build/kiln exec v -- sh -c 'echo c > /proc/sysrq-trigger'; $build/kiln wait v; $build/kiln ls -a"
expect "... and is told" 0 'panicked: ' kiln inspect v
expect "remove" 0 '' kiln rm v
exit $failed
