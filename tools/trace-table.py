#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""trace-table.py FILE: the stages in a file of `kiln run --trace`, as a table."""
import json
import sys

with open(sys.argv[1], encoding="utf-8") as f:
    trace = json.load(f)

rows = {}
for event in trace["traceEvents"]:
    if event["ph"] == "M" and event["name"] == "thread_name":
        rows[event["tid"]] = event["args"]["name"]
spans = sorted((e for e in trace["traceEvents"] if e["ph"] == "X"), key=lambda e: (e["tid"], e["ts"]))
width = max((len(e["name"]) for e in spans), default=0)

print(f"  {'':{width}}  {'begins':>10}  {'takes':>10}")
last = None
for span in spans:
    if span["tid"] != last:
        last = span["tid"]
        print(rows.get(last, str(last)))
    print(f"  {span['name']:{width}}  {span['ts'] / 1e3:7.1f} ms  {span['dur'] / 1e3:7.1f} ms")
other = trace.get("otherData", {})
if "kiln_cpu_ns" in other:
    print(f"CPU: kiln {other['command_cpu_ns'] / 1e6:.1f} ms, kiln-runner {other['runner_cpu_ns'] / 1e6:.1f} ms, "
          f"VMM {other['vmm_cpu_ns'] / 1e6:.1f} ms")
