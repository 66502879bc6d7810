#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""cli_man_test.py KILN MANDIR: commands and options of --help and of the man pages are the same, in the same words."""
import pathlib
import re
import shlex
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

# Examples: each begins on a line of its own (scdoc fills what is no literal block, and indents what follows a "++"), and is a command that there is.
commands = 0
for path in sorted(pages.glob("*.scd")):
    examples = section(page(path.name), "EXAMPLES") if "\n# EXAMPLES\n" in page(path.name) else ""
    verb = path.name[len("kiln-"):-len(".1.scd")]
    if verb in ("disk", "image", "login", "pull", "run", "volume") and not examples.strip():
        failures.append(f"{path.name}: no examples")
    if "++\n" in examples:
        failures.append(f"{path.name}: an example's line ends in ++")
    for line in re.sub(r"\\+\n\s*", "", examples).splitlines():
        if not re.match(r"(\t|[^\s].*\| )?kiln ", line):
            continue
        words = shlex.split(line[line.index("kiln "):].replace("\\_", "_"), comments=True)
        words = words[:words.index("--")] if "--" in words else words
        commands += 1
        if words[1] not in verbs:
            failures.append(f"{path.name}: there is no {words[1]!r}: {line.strip()}")
            continue
        known = {name for option in options_of_help(run_help(words[1])) for name in option[:2] if name}
        given = {part for word in words[2:] if re.match(r"--?[a-z]", word, flags=re.I)
                 for part in ([word.split("=")[0]] if word.startswith("--") else ["-" + letter for letter in word[1:]])}
        differ(f"{path.name}: example {line.strip()!r}", set(), given - known)
        if words[1] in ("disk", "image", "volume") and not re.search(rf"^\*{words[2]}\*", page(f"kiln-{words[1]}.1.scd"), flags=re.M):
            failures.append(f"{path.name}: kiln {words[1]} has no {words[2]!r}")
if commands < 25:
    failures.append(f"only {commands} examples were understood by this test")

print("\n".join(failures) or f"{len(verbs)} pages agree with --help")
sys.exit(1 if failures else 0)
