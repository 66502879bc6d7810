#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# fuzz.sh SECONDS [TARGET...]: runs fuzz targets by libFuzzer for so long each, as many at once as there
# are processors, and prints a line for each. What they find goes to build-fuzz/findings. Needs clang.
set -eu
cd "$(dirname "$0")/.."
seconds=$1
shift
[ -e build-fuzz/build.ninja ] || CC=clang meson setup build-fuzz -Dfuzz=true -Dstatic_deps=false \
	-Db_sanitize=address,undefined -Db_lundef=false -Dwerror=false -Ddocs=disabled >/dev/null
# Of named ones no more is built than they take.
if [ $# -gt 0 ]; then
	ninja -C build-fuzz "${@/#/tests/fuzz/fuzz-}" >/dev/null
else
	ninja -C build-fuzz >/dev/null
	set -- $(cd build-fuzz/tests/fuzz && ls -d fuzz-* | grep -v '\.p$' | sed 's/^fuzz-//')
fi

# One target, from its seeds; new inputs stay in the build.
one() {
	local name=$1 work=build-fuzz/findings/$1 log count
	log=$work/log
	mkdir -p "$work/corpus"
	if build-fuzz/tests/fuzz/fuzz-"$name" -max_total_time="$seconds" -timeout=25 -rss_limit_mb=2048 \
		-print_final_stats=1 -artifact_prefix="$work/" "$work/corpus" tests/fuzz/corpus/"$name" >"$log" 2>&1; then
		count=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
		echo "shown: fuzz target $name: $count executions in $seconds s without a finding"
	else
		echo "FAIL  fuzz target $name: see $log"
		tail -n 30 "$log"
		return 1
	fi
}
export -f one
export seconds
printf '%s\n' "$@" | xargs -P "$(nproc)" -I{} bash -c 'one {}'
