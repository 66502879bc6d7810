#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""pack.py OUT MODULE SELF FILE...: a stand-in as one executable file.

A zip archive that Python runs: the package standin, compiled and, for a Python of another version, as it is, the OpenAPI documents and the vsock
device's program. Nothing in it has a time or a path of this machine.
"""
import importlib.util
import io
import marshal
import os
import pathlib
import sys
import zipfile

SHEBANG = b"#!/usr/bin/python3 -IS\n"


def compiled(path):
    code = compile(path.read_bytes(), f"standin/{path.name}", "exec", dont_inherit=True)
    # PEP 552: an unchecked hash-based file.
    return importlib.util.MAGIC_NUMBER + b"\x01\0\0\0" + importlib.util.source_hash(path.read_bytes()) + marshal.dumps(code)


def main():
    out, module, *paths = sys.argv[1:]
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as zipped:
        def add(name, content):
            zipped.writestr(zipfile.ZipInfo(name), content)

        add("__main__.py", f"from standin.{module} import main\nmain()\n")
        add("standin/__init__.py", b"")
        add("standin/__init__.pyc", importlib.util.MAGIC_NUMBER + b"\x01\0\0\0" + b"\0" * 8 + marshal.dumps(compile("", "standin", "exec")))
        for path in map(pathlib.Path, paths[1:]):
            if path.suffix == ".py":
                add(f"standin/{path.name}", path.read_bytes())
                add(f"standin/{path.stem}.pyc", compiled(path))
            else:
                add(path.name, path.read_bytes())
    target = pathlib.Path(out)
    target.write_bytes(SHEBANG + archive.getvalue())
    os.chmod(target, 0o755)


if __name__ == "__main__":
    main()
