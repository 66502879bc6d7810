#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What Meson's include paths cannot enforce: no include leaves its folder by "..", and public
# headers include public headers and the C library only.
cd "$(dirname "$0")/.." || exit 1
bad=0
if git grep -nE '^#[[:space:]]*include[[:space:]]+"[^"]*\.\./' -- '*.c' '*.h'; then
	echo "an include leaves its folder" >&2; bad=1
fi
if git grep -nE '^#[[:space:]]*include[[:space:]]+"' -- include/kiln; then
	echo "a public header includes a private one" >&2; bad=1
fi
if git grep -nE '^#[[:space:]]*include[[:space:]]+<(uv|jansson)' -- include/kiln; then
	echo "a public header shows another library's types" >&2; bad=1
fi
exit $bad
