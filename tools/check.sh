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
shown=$(mktemp) named=$(mktemp)
trap 'rm -f "$shown" "$named"' EXIT

# Runs one step that is a test by itself, and is skipped if it exits with 77: step NAME COMMAND...
step() {
	local name=$1 log result; shift
	log=$(mktemp)
	"$@" >"$log" 2>&1; result=$?
	sed -n 's/^shown: //p' "$log" >>"$shown"
	case $result in
	0) passed=$((passed + 1)); echo "ok    $name" ;;
	77) skipped=$((skipped + 1)); echo "skip  $name: $(tail -n 1 "$log")" ;;
	*) failed=$((failed + 1)); echo "FAIL  $name" | tee -a "$named"; tail -n 60 "$log" ;;
	esac
	rm -f "$log"
}

# Adds up the Meson test run whose build directory is $1.
count() {
	local ok bad skip
	read -r ok bad skip < <(python3 tools/count-tests.py "$1/meson-logs/testlog.json" "$shown" \
		2>>"$named")
	passed=$((passed + ok)) failed=$((failed + bad)) skipped=$((skipped + skip))
}

# Runs Meson tests: tests NAME BUILDDIR ARGUMENTS...
tests() {
	local name=$1 build=$2; shift 2
	echo "== $name"
	meson test -C "$build" --no-rebuild --print-errorlogs -t "$patience" "$@" 2>&1 | grep -v '^ninja:'
	count "$build"
}

tools/cross.sh compiler || true # for guests of the other architecture, where it can be had
set -e
make --no-print-directory all
make --no-print-directory sanitize sanitize-threads
set +e

step "includes go downward" tools/check-includes.sh
step "the code is formatted" tools/check-format.sh
tests "unit, golden, contract, guest" build
tests "the same code under ASan and UBSan" build-asan --suite unit --suite contract --suite fuzz --suite command --suite image
tests "what has threads, under TSan" build-tsan --suite threads
rm -f build-cross/windows/meson-logs/testlog.json
step "everything portable links for macOS and Windows" tools/cross.sh build
step "its tests pass under Wine" tools/cross.sh check windows
[ ! -e build-cross/windows/meson-logs/testlog.json ] || count build-cross/windows
[ -z "${KILN_SOAK:-}" ] || step "fuzzing" tools/fuzz.sh "${KILN_FUZZ_SECONDS:-600}"

echo
echo "Shown:"
sort -u "$shown" | sed 's/^/  /'
echo
cat "$named" # what failed or was skipped, where it is seen
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
