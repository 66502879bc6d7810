#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""expand.py SCDOC PAGE: prints the page that scdoc makes of PAGE, lines "include FILE" replaced by that file."""
import pathlib
import subprocess
import sys

page = pathlib.Path(sys.argv[2])
lines = []
for line in page.read_text(encoding="utf-8").splitlines(keepends=True):
    if line.startswith("include "):
        lines.append((page.parent / line.split()[1]).read_text(encoding="utf-8"))
    else:
        lines.append(line)
sys.exit(subprocess.run([sys.argv[1]], input="".join(lines), text=True, check=False).returncode)
