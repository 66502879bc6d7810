# SPDX-License-Identifier: Apache-2.0
"""Checks JSON against the schemas of an OpenAPI document (2.0 or 3.0), and says what is wrong in the words that
serde, the library of both VMMs, uses for the same."""
import json

from . import settings

_RANGES = {"int8": (0, 255), "uint8": (0, 255), "int16": (0, 65535), "uint16": (0, 65535),
           "int32": (0, 2**32 - 1), "uint32": (0, 2**32 - 1), "int64": (0, 2**64 - 1)}
_TYPES = {"integer": "an integer", "string": "a string", "boolean": "a boolean", "array": "a sequence",
          "object": "a map", "number": "a number"}


class Bad(Exception):
    """A value that is not what the document says."""


class Document:
    def __init__(self, name):
        self.root = json.loads(settings.packed(name))
        self.paths = self.root["paths"]

    def resolve(self, schema):
        while "$ref" in schema:
            node = self.root
            for step in schema["$ref"][2:].split("/"):
                node = node[step]
            schema = node
        return schema

    def find(self, path):
        """The path's entry, and the values of its parameters; None: there is no such path."""
        wanted = path.split("/")
        for template, entry in self.paths.items():
            parts = template.split("/")
            if len(parts) == len(wanted) and all(part == want or part.startswith("{")
                                                 for part, want in zip(parts, wanted)):
                return entry, [want for part, want in zip(parts, wanted) if part.startswith("{")], template
        return None, [], None

    def body(self, operation):
        """The schema of an operation's body and whether there must be one; None: it has none."""
        for parameter in operation.get("parameters", []):
            if parameter["in"] == "body":
                return parameter["schema"], parameter.get("required", False)
        body = operation.get("requestBody")
        if body:
            return body["content"]["application/json"]["schema"], body.get("required", False)
        return None, False

    def check(self, schema, value, partial=False, hidden=()):
        """Raises Bad. @partial: nothing is required at the top. @hidden: top fields of a later version."""
        schema = self.resolve(schema)
        if "enum" in schema and value not in schema["enum"]:
            raise Bad(f"unknown variant `{value}`, expected {_one_of(schema['enum'])}")
        kind = schema.get("type", "object")
        self._check_type(kind, value)
        if kind == "integer":
            self._check_integer(schema, value)
        elif kind == "string":
            if len(value) < schema.get("minLength", 0):
                raise Bad(f"invalid length {len(value)}, expected a longer string")
        elif kind == "array":
            for item in value:
                self.check(schema["items"], item)
        elif kind == "object":
            self._check_object(schema, value, partial, hidden)

    @staticmethod
    def _check_type(kind, value):
        types = {"integer": int, "string": str, "boolean": bool, "array": list, "object": dict, "number": (int, float)}
        if not isinstance(value, types[kind]) or (kind in ("integer", "number") and isinstance(value, bool)):
            raise Bad(f"invalid type: {_unexpected(value)}, expected {_TYPES[kind]}")

    @staticmethod
    def _check_integer(schema, value):
        low, high = _RANGES.get(schema.get("format"), (0, 2**64 - 1))
        low, high = max(low, schema.get("minimum", low)), min(high, schema.get("maximum", high))
        if not low <= value <= high:
            raise Bad(f"invalid value: integer `{value}`, expected an integer from {low} to {high}")

    def _check_object(self, schema, value, partial, hidden):
        properties = schema.get("properties", {})
        extra = schema.get("additionalProperties", not properties)
        for key, item in value.items():
            if key in properties and key not in hidden:
                self.check(properties[key], item)
            elif not extra:
                raise Bad(f"unknown field `{key}`, expected {_one_of([p for p in properties if p not in hidden])}")
            elif isinstance(extra, dict):
                self.check(extra, item)
        for key in schema.get("required", ()):
            if key not in value and not partial:
                raise Bad(f"missing field `{key}`")


def _one_of(names):
    names = [f"`{name}`" for name in names]
    if len(names) < 3:
        return " or ".join(names)
    return "one of " + ", ".join(names)


def _unexpected(value):
    if value is None:
        return "null"
    if isinstance(value, bool):
        return f"boolean `{str(value).lower()}`"
    if isinstance(value, str):
        return f'string "{value}"'
    if isinstance(value, int):
        return f"integer `{value}`"
    if isinstance(value, float):
        return f"floating point `{value}`"
    return "map" if isinstance(value, dict) else "sequence"


def parse(raw):
    """JSON; raises Bad with serde's words, near enough."""
    def pairs(items):
        seen = {}
        for key, value in items:
            if key in seen:
                raise Bad(f"duplicate field `{key}`")
            seen[key] = value
        return seen

    def constant(name):
        raise ValueError(name)

    try:
        return json.loads(raw.decode("utf-8"), object_pairs_hook=pairs, parse_constant=constant)
    except json.JSONDecodeError as why:
        raise Bad(f"expected value at line {why.lineno} column {why.colno}") from None
    except (ValueError, RecursionError) as why:
        raise Bad(str(why) or "expected value") from None
