# SPDX-License-Identifier: Apache-2.0
"""What a test wants of a stand-in, by the environment (STANDIN_NAME=value), or, where the jailer has cleared
that, by /standin.json, which the jailer's stand-in writes. README.md lists the names."""
import json
import os
import sys
import zipfile

JAIL_FILE = "/standin.json"


def _jailed():
    try:
        with open(JAIL_FILE, encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError):
        return {}


_SETTINGS = {**_jailed(), **{key[8:]: value for key, value in os.environ.items() if key.startswith("STANDIN_")}}


def get(name, default=None):
    return _SETTINGS.get(name, default)


def every():
    return dict(_SETTINGS)


def version(default):
    """The version reported, as text; and as numbers, for what came with which."""
    text = get("VERSION", default).lstrip("v")
    numbers = tuple(int(part) for part in text.split("-")[0].split("."))
    return text, numbers


def packed(name):
    """A file of this program's own archive."""
    with zipfile.ZipFile(sys.argv[0]) as archive:
        return archive.read(name)


def tsc_khz():
    """The speed of the host's TSC, which an emulated kernel can only mismeasure; None: unknown."""
    told = get("TSC_KHZ")
    if told:
        return int(told)
    try:
        with open("/proc/cpuinfo", encoding="ascii") as cpuinfo:
            for line in cpuinfo:
                if line.startswith("cpu MHz"):
                    return int(float(line.split(":")[1]) * 1000)
    except OSError:
        pass
    return None
