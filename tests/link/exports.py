#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What libkiln shows is what its headers declare, and each header stands alone, in C and in C++.

usage: exports.py LIBRARY INCLUDE-DIRECTORY PROCESSOR-FAMILY
"""
import pathlib
import re
import shutil
import subprocess
import sys

library, include, processor = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3]
headers = sorted((include / "kiln").glob("*.h"))
# A part of one processor is not in the library of another.
of_processor = {"hv_arm64.h": "aarch64", "hv_x86.h": "x86_64"}
failed = False


def complain(text):
    global failed
    failed = True
    print(text)


def declared():
    names = set()
    for header in headers:
        if of_processor.get(header.name, processor) != processor:
            continue
        text = re.sub(r"/\*.*?\*/", "", header.read_text(), flags=re.S)
        names |= set(re.findall(r"KILN_PUBLIC\b[^;{]*?\b(kiln_\w+)\s*\(", text))
    return names


def exported():
    out = subprocess.run(["nm", "-D", "--defined-only", "--format=posix", library], check=True,
                         capture_output=True, text=True).stdout
    symbols = {line.split()[0].split("@")[0]: line.split()[1] for line in out.splitlines()}
    return {name for name, kind in symbols.items() if kind != "A"}


for name in sorted(declared() - exported()):
    complain(f"declared, but not in the library: {name}")
for name in sorted(exported() - declared()):
    complain(f"in the library, but not declared: {name}")
if len(declared()) < 50:
    complain("hardly any function was found in the headers")

for header in headers:
    for compiler, *flags in (["cc", "-xc", "-std=c99"], ["c++", "-xc++", "-std=c++11"]):
        if not shutil.which(compiler):
            print(f"no {compiler} here: headers are not tried with it")
            continue
        run = subprocess.run([compiler, *flags, "-Wall", "-Wextra", "-Werror", "-fsyntax-only", f"-I{include}", "-"],
                             input=f"#include <kiln/{header.name}>\n", capture_output=True, text=True)
        if run.returncode:
            complain(f"{header.name} alone, {compiler}: {run.stderr}")
sys.exit(1 if failed else 0)
