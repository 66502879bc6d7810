#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""cli_man_test.py KILN MANDIR: commands and options of --help and of the man pages are the same, in the same words."""
import pathlib
import re
import subprocess
import sys

kiln, pages = sys.argv[1], pathlib.Path(sys.argv[2])
failures = []


def differ(what, help_only, page_only):
    for item in sorted(help_only):
        failures.append(f"{what}: {item!r} is in --help only")
    for item in sorted(page_only):
        failures.append(f"{what}: {item!r} is in the man page only")


def run_help(*args):
    return subprocess.run([kiln, *args, "--help"], capture_output=True, text=True, check=True).stdout


def page(name):
    """A page's source with what it includes."""
    def include(match):
        return (pages / match.group(1)).read_text()
    return re.sub(r"^include (\S+)$", include, (pages / name).read_text(), flags=re.M)


def options_of_help(text):
    """{("-m", "--memory", "SIZE"), ...}"""
    return {(letter or "", name, (arg or "").strip()) for letter, name, arg in
            re.findall(r"^  (?:(-\w), |    )(--[a-z-]+)( \S+)?(?:  .*)?$", text, flags=re.M)}


def options_of_page(text):
    return {(letter or "", name, arg or "") for letter, name, arg in
            re.findall(r"^(?:\*(-\w)\*, )?\*(--[a-z-]+)\*(?: _(.+)_)?$", text, flags=re.M)}


def section(text, name):
    return re.search(rf"^# {name}$(.*?)(?=^# |\Z)", text, flags=re.M | re.S).group(1)


verbs = dict(re.findall(r"^  (\w+) +(.+)$", run_help().split("Commands:")[1].split('"kiln COMMAND')[0], flags=re.M))
described = set(re.findall(r"^\*(\w+)\*(?:, \*\w+\*)?$", section(page("kiln.1.scd"), "COMMANDS"), flags=re.M))
differ("kiln", set(verbs) - described, described - set(verbs))
existing = {p.name[len("kiln-"):-len(".1.scd")] for p in pages.glob("kiln-*.1.scd")}
differ("pages", set(verbs) - existing, existing - set(verbs))

for verb in sorted(set(verbs) & existing):
    shown, text = run_help(verb), page(f"kiln-{verb}.1.scd")
    ours, theirs = options_of_help(shown), options_of_page(text)
    if not any(name == "--help" for _, name, _ in ours):
        failures.append(f"{verb}: --help was not understood by this test")
    differ(verb, ours - theirs, theirs - ours)
    usage = shown.splitlines()[0][len("Usage: "):].strip()
    synopsis = [line.replace("*", "").strip() for line in section(text, "SYNOPSIS").splitlines()]
    if usage not in synopsis:
        failures.append(f"{verb}: the synopsis is not {usage!r}")

print("\n".join(failures) or f"{len(verbs)} pages agree with --help")
sys.exit(1 if failures else 0)
