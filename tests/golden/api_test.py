#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The bodies of all requests, against files; and that nothing of the API documents is forgotten: each field of a
VMM's configuration is sent here or is kiln's own to say, each operation and each field of another body is sent by a test
or refused with a reason (api/operations.tsv).

usage: api_test.py API-PRINT DOCUMENTS FOLDER      KILN_GOLDEN_UPDATE=1 writes the files instead"""
import json
import os
import pathlib
import subprocess
import sys

PRINT, DOCUMENTS, FOLDER = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
CONFIG = {"firecracker": "FullVmConfiguration", "cloud-hypervisor": "VmConfig"}
# Of Firecracker's, what is configured but is in no configuration file of older versions.
MORE = {"firecracker": {"serial": "SerialDevice"}, "cloud-hypervisor": {}}


def run(*args, good=True):
    result = subprocess.run([PRINT, *args], capture_output=True, text=True, check=False)
    assert (result.returncode == 0) == good, f"{args}: {result.stderr}"
    return result.stdout if good else result.stderr


class Document:
    def __init__(self, backend):
        self.json = json.loads((DOCUMENTS / f"{backend}.json").read_text())
        self.schemas = self.json.get("definitions") or self.json["components"]["schemas"]

    def resolve(self, schema):
        while "$ref" in schema:
            schema = self.schemas[schema["$ref"].rsplit("/", 1)[1]]
        return schema

    def paths(self, schema, path=""):
        """Each field of a schema, and of what is in it: "drives", "drives[]", "drives[].rate_limiter" ..."""
        schema = self.resolve(schema)
        if path:
            yield path
        if schema.get("type") == "array" and "properties" in self.resolve(schema["items"]):
            yield from self.paths(schema["items"], path + "[]")
        for name, inner in schema.get("properties", {}).items():
            yield from self.paths(inner, f"{path}.{name}" if path else name)

    def sample(self, schema, owned, path="", ids=()):
        """A value with every field but those that kiln says; None: there is none."""
        schema = self.resolve(schema)
        if path in owned and not path.endswith("[]"):
            return None
        kind = schema.get("type")
        if kind == "array":
            item = self.sample(schema["items"], owned, path + "[]", ids)
            return None if item is None else [item]
        if kind == "object" or "properties" in schema:
            value = {name: self.sample(inner, owned, f"{path}.{name}" if path else name, ids)
                     for name, inner in schema.get("properties", {}).items()}
            value = {name: inner for name, inner in value.items() if inner is not None}
            if "additionalProperties" in schema and not value:
                value = {"any": "text"}
            for name in ids:
                if path in owned and name in value:  # an element that is there
                    value[name] = {"drives[]": "root", "disks[]": "root"}.get(path, "net0")
            return value
        if "enum" in schema:
            return schema["enum"][0]
        return {"integer": schema.get("minimum", 1), "boolean": True}.get(kind, "text")

    def operations(self):
        for path, entry in self.json["paths"].items():
            for method in entry:
                if method in ("get", "put", "patch", "post", "delete"):
                    yield f"{method.upper()} {path}", entry[method]

    def body(self, operation):
        for parameter in operation.get("parameters", []):
            if parameter.get("in") == "body":
                return parameter["schema"]
        content = operation.get("requestBody", {}).get("content", {})
        return content["application/json"]["schema"] if content else None


def golden(backend):
    for name in ("minimal", "full"):
        text = run(backend, name)
        path = FOLDER / f"{backend}-{name}.json"
        if os.environ.get("KILN_GOLDEN_UPDATE"):
            path.write_text(text)
        assert path.read_text() == text, f"{path} is not what is sent:\n{text}"


def fields(backend):
    document = Document(backend)
    table = dict(line.split("\t")[:2] for line in run(backend, "fields").splitlines())
    schema = dict(document.schemas[CONFIG[backend]])
    schema["properties"] = {**schema["properties"],
                            **{name: {"$ref": f"x/{ref}"} for name, ref in MORE[backend].items()}}
    known = set(document.paths(schema))
    extra = set(table) - known - {"mmds"}
    assert known <= set(table), f"{backend}: not in its table: {sorted(known - set(table))}"
    assert not extra, f"{backend}: in its table, but not in its document: {sorted(extra)}"
    owned = {path for path, instead in table.items() if instead}
    sample = document.sample(schema, owned, ids=("drive_id", "iface_id", "id"))
    sent = json.loads(run(backend, "full", json.dumps(sample)))
    lines = json.dumps(sent)
    for path in sorted(set(table) - owned - {"mmds"}):
        if any(path.startswith(one + ".") for one in owned if not one.endswith("[]")):
            continue  # within what kiln says
        name = path.removesuffix("[]").rsplit(".", 1)[-1]
        # Firecracker's sections are targets of requests, and sent if their fields are.
        assert f'"{name}"' in lines or (backend == "firecracker" and "." not in path), f"{path} is not sent"
    for path in sorted(owned):
        if path.endswith("[]") or "." not in path:
            continue
        value = "x"
        for part in reversed(path.split(".")):
            value = {part.removesuffix("[]"): [value] if part.endswith("[]") else value}
        if path.split(".")[0].endswith("[]"):
            element = value[path.split("[]")[0]][0]
            element.update({"drives": {"drive_id": "root"}, "disks": {"id": "root"}, "network-interfaces": {"iface_id": "net0"},
                            "net": {"id": "net0"}}[path.split("[]")[0]])
        assert "told by kiln" in run(backend, "full", json.dumps(value), good=False), path
    assert "no field" in run(backend, "full", '{"nonesuch": 1}', good=False)


RUNTIME = {"drives[]": "PATCH /drives/{drive_id}", "pmem[]": "PATCH /pmem/{id}", "network-interfaces[]": "PATCH /network-interfaces/{iface_id}",
           "balloon": "PATCH /balloon/statistics", "balloon-hinting.start": "PATCH /balloon/hinting/start"}
# Of run-time bodies, what kiln does not send, and why.
UNSENT = {"PUT /snapshot/load": {"enable_diff_snapshots": "the older name of track_dirty_pages, for versions before 1.13", "mem_file_path": "the older name of mem_backend",
                                 "clock_realtime": "the guest's clock is set by its agent",
                                 "huge_pages": "as the snapshot has it"},
          "PATCH /machine-config": dict.fromkeys(("cpu_template", "smt", "mem_size_mib", "track_dirty_pages", "vcpu_count", "huge_pages"),
                                                 "before the start alone, where PUT says it")}


def leaves(value):
    if isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner)


def runtime():
    """Each field of each body that Firecracker takes while it runs, and of a snapshot's: sent, or not for a reason."""
    document = Document("firecracker")
    own = {}
    for section, operation in RUNTIME.items():
        name = section.removesuffix("[]")
        value = document.sample(document.body(dict(document.operations())[operation]), set())
        outer, _, inner = name.partition(".")
        own[outer] = [value] if section.endswith("[]") else {inner: value} if inner else value
    own["balloon-hinting"]["stop"] = {}
    own["mmds"] = {"any": "text"}
    text = run("firecracker", "runtime", json.dumps(own))
    path = FOLDER / "firecracker-runtime.json"
    if os.environ.get("KILN_GOLDEN_UPDATE"):
        path.write_text(text)
    assert path.read_text() == text, f"{path} is not what is sent:\n{text}"
    sent = json.loads(text)
    for name, operation in document.operations():
        method, target = name.split(" ")
        body = document.body(operation)
        if (method != "PATCH" and "/snapshot/" not in target) or not body or target == "/vm":
            continue  # PATCH /vm: pause and resume, by the contract suite
        prefix = target.split("{")[0]
        names = {one for step in sent if step["method"] == method and step["target"].startswith(prefix) for one in leaves(step.get("body", {}))}
        for field in document.paths(body):
            last = field.removesuffix("[]").rsplit(".", 1)[-1]
            assert last in names or field in UNSENT.get(name, {}), f"{name}: {field} is not sent"
    table = {line.split("\t")[0] for line in run("firecracker", "runtime-fields").splitlines()}
    for bad, word in (({"machine-config": {"smt": True}}, "told by kiln"), ({"balloon": {"amount_mib": 1}}, "told by kiln"),
                      ({"nonesuch": 1}, "no field"), ({"drives": [{"drive_id": "../vm"}]}, "drives[0].drive_id"),
                      ({"pmem": [{}]}, "pmem[0].id")):
        assert word in run("firecracker", "runtime", json.dumps(bad), good=False), bad
    assert "drives[].rate_limiter.ops.size" in table


def operations(backend):
    document = Document(backend)
    rows = [line.split("\t") for line in (FOLDER / "operations.tsv").read_text().splitlines() if line and line[0] != "#"]
    table = {row[1]: row[2:] for row in rows if row[0] == backend}
    known = dict(document.operations())
    assert set(table) == set(known), f"{backend}: {sorted(set(table) ^ set(known))}"
    for name, (how, why) in table.items():
        assert how in ("sent", "refused") and why, name
    return sum(how == "sent" for how, _ in table.values()), len(table)


runtime()
for vmm in CONFIG:
    golden(vmm)
    fields(vmm)
    print(vmm, "operations sent: %d of %d" % operations(vmm))
