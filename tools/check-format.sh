#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Whether every C file is as .clang-format has it. Another major version of clang-format has other
# opinions, so with one this is skipped.
cd "$(dirname "$0")/.." || exit 1
case $(clang-format --version 2>/dev/null) in
*"version 14."*) ;;
*) echo "clang-format 14 is not here"; exit 77 ;;
esac
# A tree that is no repository (a release's) has no list of its own files.
git ls-files '*.c' '*.h' 2>/dev/null | xargs -r clang-format --dry-run --Werror
