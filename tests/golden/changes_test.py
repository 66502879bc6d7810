#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What is asked of a running Cloud Hypervisor, against a file: each field of each body of its document is sent, or is in
api/fields.tsv with the reason.

usage: changes_test.py CHANGES-PRINT DOCUMENTS FOLDER      KILN_GOLDEN_UPDATE=1 writes the file instead"""
import json
import os
import pathlib
import subprocess
import sys

PRINT, DOCUMENTS, FOLDER = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
NAME = "cloud-hypervisor"
# Kinds of devices, and what of their configuration kiln says itself.
DEVICES = {"disk": {"id", "path", "readonly", "direct", "serial"}, "net": {"id", "tap", "mac"}, "fs": {"id"}, "pmem": {"id"},
           "device": {"id"}, "vdpa": {"id"}, "generic-vhost-user": {"id"}}
DOCUMENT = json.loads((DOCUMENTS / f"{NAME}.json").read_text())


def run(*args, good=True):
    result = subprocess.run([PRINT, *args], capture_output=True, text=True, check=False)
    assert (result.returncode == 0) == good, f"{args}: {result.stderr}"
    return result.stdout if good else result.stderr


def rows(name):
    return [line.split("\t") for line in (FOLDER / name).read_text().splitlines() if line and line[0] != "#"]


def resolve(schema):
    while "$ref" in schema:
        schema = DOCUMENT["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    return schema


def body(target):
    for operation in DOCUMENT["paths"][target].values():
        content = operation.get("requestBody", {}).get("content", {})
        if content:
            return resolve(content["application/json"]["schema"])
    return None


def sample(schema, without=()):
    """A value with every field."""
    schema = resolve(schema)
    if schema.get("type") == "array":
        return [sample(schema["items"])]
    if "properties" in schema:
        return {name: sample(inner) for name, inner in schema["properties"].items() if name not in without}
    if "enum" in schema:
        return schema["enum"][0]
    return {"integer": schema.get("minimum", 1), "boolean": True}.get(schema.get("type"), "text")


def in_schema(schema, path=""):
    schema = resolve(schema)
    if path:
        yield path
    if schema.get("type") == "array":
        yield from in_schema(schema["items"], path + "[]")
    for name, inner in schema.get("properties", {}).items():
        yield from in_schema(inner, f"{path}.{name}" if path else name)


def in_value(value, path=""):
    if path:
        yield path
    for name, inner in value.items() if isinstance(value, dict) else ():
        yield from in_value(inner, f"{path}.{name}" if path else name)
    for inner in value if isinstance(value, list) else ():
        yield from in_value(inner, path + "[]")


def golden():
    text = run()
    path = FOLDER / f"{NAME}-changes.json"
    if os.environ.get("KILN_GOLDEN_UPDATE"):
        path.write_text(text)
    assert path.read_text() == text, f"{path} is not what is sent:\n{text}"
    return json.loads(text)


def main():
    own = {device: sample(body(f"/vm.add-{device}"), without) for device, without in DEVICES.items()}
    sent = {}
    for request in golden() + json.loads(run(json.dumps(own))):
        sent.setdefault(request["target"].removeprefix("/api/v1"), set()).update(in_value(request.get("body", {})))
    refused = {(row[1], row[2]) for row in rows("fields.tsv") if row[0] == NAME and row[3]}
    count = 0
    for backend, operation, how, _ in rows("operations.tsv"):
        target = operation.split(" ")[1]
        if backend != NAME or how != "sent" or target == "/vm.create" or body(target) is None:
            continue
        for field in in_schema(body(target)):
            if any((target, field.split(part)[0]) in refused for part in ("[", ".") if part in field):
                continue  # within what is refused
            assert (field in sent.get(target, ())) != ((target, field) in refused), f"{target}: {field}"
            count += 1
    print("fields of bodies at run time:", count)
    for device in DEVICES:
        assert "no field" in run(json.dumps({device: {"nonesuch": True}}), good=False), device
    for device, field in (("disk", "path"), ("net", "tap")):
        assert "told by kiln" in run(json.dumps({device: {field: "x"}}), good=False), device


main()
