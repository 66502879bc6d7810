#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""compact.py IN.yaml OUT.json: an OpenAPI document as JSON, without its prose.

What is left is what a request or an answer is checked against. The documents are their projects' own
(api/README.md says whose); run this again when they change.
"""
import json
import sys

import yaml


def compact(node, names=False):
    """Leaves out descriptions and summaries; below "properties" the keys are names, whatever they are."""
    if isinstance(node, list):
        return ["Off" if item is False else compact(item) for item in node]  # YAML 1.1 takes a bare Off for false
    if not isinstance(node, dict):
        return node
    return {str(key): compact(value, key == "properties" and not names) for key, value in node.items()
            if names or not (key in ("description", "summary", "operationId", "example") and not isinstance(value, dict))}


def main():
    with open(sys.argv[1], encoding="utf-8") as source:
        document = compact(yaml.safe_load(source))
    with open(sys.argv[2], "w", encoding="utf-8") as out:
        json.dump(document, out, indent=1)
        out.write("\n")


if __name__ == "__main__":
    main()
