#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# volume_rig.sh BUILD SOURCE: makes the root that volume.sh's guests measure with, once, and runs that in the rig.
set -eu
build=$1 source=$2
here=$(dirname "$(realpath "$0")")
root=${KILN_CACHE:-$source/.cache}/test-images/tools-root.squashfs
"$here/tools_root.sh" "$root" || exit
exec "$here/rig.sh" -t 560 -m 4096 "$here/volume.sh $build $source $root"
