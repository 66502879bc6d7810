#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Whole documents, read and printed: NAME.json must come out as NAME.out, and that as itself.

With the Python module jsonschema also: whatever kiln takes, the published schema takes, and the
documents in refused/ neither does.

usage: config_test.py CONFIG-PRINT SCHEMA DIRECTORY
"""
import json
import pathlib
import subprocess
import sys

program, schema, directory = sys.argv[1:]
directory = pathlib.Path(directory)
failures = []


def run(path):
    return subprocess.run([program, path], capture_output=True, text=True)


def check(condition, text):
    if not condition:
        failures.append(text)


try:
    import jsonschema
    validator = jsonschema.Draft202012Validator(json.load(open(schema)))
    validator.check_schema(validator.schema)
except ImportError:
    validator = None
    print('no Python module jsonschema: the published schema is not tried')

taken = sorted(directory.glob('*.json'))
refused = sorted((directory / 'refused').glob('*.json'))
check(taken and refused, 'there are no documents')
for path in taken:
    want = path.with_suffix('.out')
    for source in path, want:
        result = run(source)
        check(result.returncode == 0, f'{source.name}: refused: {result.stderr.strip()}')
        check(result.stdout == want.read_text(), f'{source.name}: printed:\n{result.stdout}')
        if validator:
            for error in validator.iter_errors(json.loads(source.read_text())):
                failures.append(f'{source.name}: the schema refuses {error.json_path}: {error.message}')
for path in refused:
    result = run(path)
    check(result.returncode == 1, f'{path.name}: taken')
    if validator:
        check(not validator.is_valid(json.loads(path.read_text())), f'{path.name}: the schema takes it')

for text in failures:
    print(text, file=sys.stderr)
print(f'{len(taken)} documents taken, {len(refused)} refused')
sys.exit(1 if failures else 0)
