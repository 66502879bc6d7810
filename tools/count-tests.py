#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Counts the results in a Meson testlog.json: passed, failed, skipped; names what was skipped and why."""
import json
import sys

passed = failed = skipped = 0
try:
    with open(sys.argv[1], encoding="utf-8") as log:
        lines = log.readlines()
except OSError:
    lines = []
    failed = 1
for line in lines:
    test = json.loads(line)
    result = test["result"]
    if result in ("OK", "EXPECTEDFAIL"):
        passed += 1
    elif result == "SKIP":
        skipped += 1
        why = (test.get("stdout") or test.get("stderr") or "").strip().splitlines()
        print(f"skip  {test['name']}: {why[-1] if why else 'no reason given'}", file=sys.stderr)
    else:
        failed += 1
print(passed, failed, skipped)
