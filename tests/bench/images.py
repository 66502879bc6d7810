#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""images.py WORKDIR: pull and root of an image of eight layers (300 MB), beside skopeo copy, umoci unpack and mksquashfs.

Everything against Debian's registry on loopback, the same compressor, level, block size and threads. Alternating, the best of RUNS. Debian's umoci knows no
zstd: the image of gzip and zstd by turns, which hides nothing of its own layers, is unpacked by tar in its place. Fails where kiln takes longer than they do.
"""
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time

SOURCE = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(SOURCE / "tests/image"))
from imagetest import BUILD, Home, Image, KILN, RealRegistry, entry, need, sha256, tar_of  # noqa: E402

import tarfile  # noqa: E402

work = pathlib.Path(sys.argv[1])
RUNS = int(os.environ.get("RUNS", "3"))
peaks = []


def content(rng, size):
    """Half noise, half text: what programs and libraries compress like."""
    words = [rng.randbytes(6).hex() for _ in range(400)]
    text = " ".join(rng.choice(words) for _ in range(size // 26)).encode()
    return (rng.randbytes(size // 2) + text)[:size]


def make_layout(path, mixed):
    """Eight layers, gzip alone or gzip and zstd by turns: 300 MB in some thousand files."""
    rng = random.Random(1)
    layers = []
    for index in range(8):
        entries = [entry(f"layer{index}", tarfile.DIRTYPE)]
        left = 300_000_000 // 8
        while left > 0:
            size = min(left, int(rng.paretovariate(0.9) * 6000), 4_000_000)
            entries.append(entry(f"layer{index}/file{len(entries)}", data=content(rng, size)))
            left -= size
        layers.append(tar_of(entries))
    image = Image(layers, packed=False)
    for index, layer in enumerate(layers):
        tool = ["gzip", "-6", "-n", "-c"] if index % 2 or not mixed else ["zstd", "-3", "-q", "-c"]
        image.layers[index] = subprocess.run(tool, input=layer, capture_output=True, check=True).stdout
    image.finish()
    for index, layer in enumerate(image.manifest["layers"]):
        layer["mediaType"] = "application/vnd.oci.image.layer.v1.tar+" + ("gzip" if index % 2 or not mixed else "zstd")
    image.layout(path, "bench")


def timed(argv, **kwargs):
    began = time.monotonic()
    subprocess.run(list(map(str, argv)), check=True, stdout=subprocess.DEVNULL, **kwargs)
    return time.monotonic() - began


def unpack_by_tar(layout, root):
    """What umoci does of an image without whiteouts, of layers packed by anything."""
    index = json.loads((layout / "index.json").read_text())
    manifest = json.loads((layout / "blobs/sha256" / index["manifests"][0]["digest"][7:]).read_text())
    root.mkdir(parents=True)
    return sum(timed(["tar", "--zstd" if layer["mediaType"].endswith("zstd") else "--gzip", "-xf", layout / "blobs/sha256" / layer["digest"][7:],
                      "-C", root]) for layer in manifest["layers"])


def theirs(name, threads, by_tar=False):
    with tempfile.TemporaryDirectory(dir=work) as tmp:
        flags = [] if os.geteuid() == 0 else ["--rootless"]
        steps = [timed(["skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{name}", f"oci:{tmp}/oci:x"]),
                 unpack_by_tar(pathlib.Path(tmp) / "oci", pathlib.Path(tmp) / "bundle/rootfs") if by_tar else
                 timed(["umoci", "unpack", *flags, "--image", f"{tmp}/oci:x", f"{tmp}/bundle"], stderr=subprocess.DEVNULL),
                 timed(["mksquashfs", f"{tmp}/bundle/rootfs", f"{tmp}/root.squashfs", "-comp", "lz4", "-b", "131072", "-processors", threads,
                        "-no-progress", "-quiet"])]
        return steps


def ours(name):
    with Home() as home:
        home.env.pop("KILN_PULL_TIMEOUT")
        # The helper's peak is the largest of what the command waits for.
        result = subprocess.run([sys.executable, "-c", "import resource, subprocess, sys, time\nb = time.monotonic()\n"
                                 "r = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)\n"
                                 "print(time.monotonic() - b, r.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)",
                                 KILN, "pull", "--progress", "none", name], env=home.env, capture_output=True, text=True, check=True)
        seconds, code, peak = result.stdout.split()
        assert code == "0", result
        assert int(peak) < 200 << 10, f"peak memory {int(peak) >> 10} MiB"
        peaks.append(int(peak) >> 10)
        return float(seconds)


def compare(what, name, threads, by_tar):
    """Prints and returns what kiln takes in proportion to them."""
    mine, others = [], []
    for _ in range(RUNS):
        mine.append(ours(name))
        others.append(theirs(name, threads, by_tar))
    best = min(others, key=sum)
    ratio = min(mine) / sum(best)
    print(f"{what}: kiln pull {min(mine):.2f} s; skopeo {best[0]:.2f} + {'tar' if by_tar else 'umoci'} {best[1]:.2f} + mksquashfs {best[2]:.2f} s "
          f"= {sum(best):.2f} s; ratio {ratio:.2f} (all: {' '.join(f'{m:.2f}' for m in mine)} against {' '.join(f'{sum(o):.2f}' for o in others)})")
    return ratio


def main():
    need("umoci", "skopeo", "mksquashfs", "zstd")
    layouts = {"gzip": work / "image-gzip", "mixed": work / "image-mixed"}
    for kind, layout in layouts.items():
        if not layout.exists():
            make_layout(layout.with_suffix(".tmp"), kind == "mixed")
            layout.with_suffix(".tmp").rename(layout)
    threads = len(os.sched_getaffinity(0))
    with RealRegistry() as registry:
        name = registry.push(f"oci:{layouts['gzip']}:bench", "bench:gzip")
        mixed = registry.push(f"oci:{layouts['mixed']}:bench", "bench:mixed")
        ratios = [compare("image of 8 layers", name, threads, False), compare("the same with layers of gzip and zstd", mixed, threads, True)]
    print(f"peak memory of all pulls at most {max(peaks)} MiB")
    assert max(ratios) <= 1.0, f"slower than the tools together: {ratios}"


main()
