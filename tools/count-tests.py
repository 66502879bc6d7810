#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Counts the results in a Meson testlog.json: passed, failed, skipped; names what failed, and what was skipped and why.

What tests have shown, which they say in lines that begin with "shown: ", goes to the end of the file
named by the second argument."""
import json
import sys

passed = failed = skipped = 0
shown = []
try:
    with open(sys.argv[1], encoding="utf-8") as log:
        lines = log.readlines()
except OSError:
    lines = []
    failed = 1
for line in lines:
    test = json.loads(line)
    result = test["result"]
    said = [line for line in (test.get("stdout") or "").splitlines() if line.startswith("shown: ")]
    if result == "OK":
        shown += said
    if result in ("OK", "EXPECTEDFAIL"):
        passed += 1
    elif result == "SKIP":
        skipped += 1
        why = (test.get("stdout") or test.get("stderr") or "").strip().splitlines()
        print(f"skip  {test['name']}: {why[-1] if why else 'no reason given'}", file=sys.stderr)
    else:
        failed += 1
        print(f"FAIL  {test['name']}: {result}", file=sys.stderr)
if len(sys.argv) > 2:
    with open(sys.argv[2], "a", encoding="utf-8") as file:
        file.writelines(line.removeprefix("shown: ") + "\n" for line in shown)
print(passed, failed, skipped)
