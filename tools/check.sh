#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The whole suite: the plain build, the sanitizer build, other systems, each a Meson test run
# whose results are added up. Exits with 1 if anything failed; the last line counts, and before it
# stands what was shown and how often. With KILN_SOAK=1 the counts are full, and each fuzz target runs
# for KILN_FUZZ_SECONDS (ten minutes).
set -u
cd "$(dirname "$0")/.."
passed=0 failed=0 skipped=0
patience=1 # Meson's timeouts are for the samples
[ -z "${KILN_SOAK:-}" ] || patience=20
shown=$(mktemp)
trap 'rm -f "$shown"' EXIT

# Runs one step that is a test by itself: step NAME COMMAND...
step() {
	local name=$1 log; shift
	log=$(mktemp)
	if "$@" >"$log" 2>&1; then
		passed=$((passed + 1)); echo "ok    $name"
		sed -n 's/^shown: //p' "$log" >>"$shown"
	else
		failed=$((failed + 1)); echo "FAIL  $name"; tail -n 60 "$log"
	fi
	rm -f "$log"
}

# Adds up a Meson test run: tests NAME BUILDDIR ARGUMENTS...
tests() {
	local name=$1 build=$2 ok bad skip; shift 2
	echo "== $name"
	meson test -C "$build" --no-rebuild --print-errorlogs -t "$patience" "$@" 2>&1 | grep -v '^ninja:'
	local log=$build/meson-logs/testlog.json
	read -r ok bad skip < <(python3 tools/count-tests.py "$log" "$shown")
	passed=$((passed + ok)) failed=$((failed + bad)) skipped=$((skipped + skip))
}

set -e
make --no-print-directory all
make --no-print-directory sanitize sanitize-threads
set +e

step "includes go downward" tools/check-includes.sh
tests "unit, golden, contract, guest" build
tests "the same code under ASan and UBSan" build-asan --suite unit --suite contract --suite fuzz
tests "what has threads, under TSan" build-tsan --suite threads
step "cross-compilation and Wine" tools/cross.sh check
[ -z "${KILN_SOAK:-}" ] || step "fuzzing" tools/fuzz.sh "${KILN_FUZZ_SECONDS:-600}"

echo
echo "Shown:"
sort -u "$shown" | sed 's/^/  /'
echo
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
