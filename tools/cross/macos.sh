#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Puts what tools/cross.sh has built for both of a Mac's processors into build-cross/kiln-macos, laid
# out as installed: universal programs, signed ad hoc, the entitlement in the runner alone. Then reads
# them back.
# usage: tools/cross/macos.sh
set -eu
cd "$(dirname "$0")/../.."

out=build-cross/kiln-macos
rm -rf "$out.new"
mkdir -p "$out.new/bin" "$out.new/libexec/kiln" "$out.new/share/kiln"

put() { # put PROGRAM PLACE [--entitlements FILE]
	program=$1 place=$2
	shift 2
	for target in macos macos-x86_64; do
		tools/cross/sign.py "$@" "$program" "build-cross/$target/$program" "build-cross/$target/$program.signed"
	done
	tools/cross/universal.py "$out.new/$place/$program" "build-cross/macos/$program.signed" \
		"build-cross/macos-x86_64/$program.signed"
	rm "build-cross/macos/$program.signed" "build-cross/macos-x86_64/$program.signed"
}

put kiln bin
put kiln-image libexec/kiln
put kiln-runner libexec/kiln --entitlements data/vz.entitlements
cp data/cloud-images.json "$out.new/libexec/kiln"
cp data/vz.entitlements data/io.kiln.vm.plist "$out.new/share/kiln"
# What runs inside guests, which have the processor of the Mac.
cp build-cross/macos/guest/kiln-guest-aarch64 build-cross/macos-x86_64/guest/kiln-guest-x86_64 \
	"$out.new/libexec/kiln"
python3 tests/link/macho.py --signed "$out.new/bin/kiln" "$out.new/libexec/kiln/kiln-image" \
	"$out.new/libexec/kiln/kiln-runner"
rm -rf "$out"
mv "$out.new" "$out"
