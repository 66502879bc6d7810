#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes a C program that refers to every function that the headers declare.

usage: refer.py OUTPUT HEADER...

Linked on each system, it finds the function that a system's folder has forgotten,
even where nothing calls it yet.
"""
import re
import sys

output, headers = sys.argv[1], sys.argv[2:]
names = []
for header in headers:
    text = open(header, encoding="utf-8").read()
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    text = re.sub(r"^#(?:.*\\\n)*.*$", "", text, flags=re.M)
    text = re.sub(r"^static inline .*?^}", "", text, flags=re.M | re.S)
    # A declaration: a name at the outermost level, its parameters, and ";" or an attribute.
    names += re.findall(r"^(?:\w+\s+)+\**(kiln_\w+)\s*\((?!\*)", text, flags=re.M)

with open(output, "w", encoding="utf-8") as out:
    for name in names:
        out.write(f"extern void {name}(void);\n")
    out.write("void (*const all[])(void) = {\n")
    out.writelines(f"\t{name},\n" for name in names)
    out.write("};\n\nint main(void)\n{\n\treturn !all[0];\n}\n")
if len(names) < 100:
    sys.exit(f"only {len(names)} functions found: the headers look different now")
