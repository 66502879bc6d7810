#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""cli_completion_test.py KILN: completion scripts are accepted by their shells (those that are here) and offer what --help shows."""
import os
import re
import shutil
import subprocess
import sys

kiln = os.path.abspath(sys.argv[1])
env = dict(os.environ, PATH=os.path.dirname(kiln) + ":" + os.environ["PATH"])


def script(shell):
    return subprocess.run([kiln, "completion", shell], capture_output=True, text=True, check=True).stdout


def names(verb):
    text = subprocess.run([kiln, verb, "--help"], capture_output=True, text=True, check=True).stdout
    return set(re.findall(r"^  (?:-\w, |    )(--[a-z-]+)", text, flags=re.M))


def bash_offers(*words):
    code = script("bash") + "\nCOMP_WORDS=(kiln \"$@\"); COMP_CWORD=$#; _kiln; printf '%s\\n' \"${COMPREPLY[@]}\""
    out = subprocess.run(["bash", "--norc", "-c", code, "bash", *words], capture_output=True, text=True, env=env, check=True)
    return set(out.stdout.split())


verbs = subprocess.run([kiln, "--help"], capture_output=True, text=True, check=True).stdout
verbs = re.findall(r"^  (\w+)  ", verbs.split("Commands:")[1], flags=re.M)
assert set(verbs) | {"help"} == bash_offers(""), bash_offers("")
for verb in verbs:
    assert bash_offers(verb, "--") == names(verb), (verb, bash_offers(verb, "--") ^ names(verb))
assert bash_offers("run", "--progress", "") == {"auto", "none", "plain"}
assert bash_offers("completion", "") == {"bash", "zsh", "fish"}

for shell, check in (("zsh", ["zsh", "-n", "/dev/stdin"]), ("fish", ["fish", "-n", "/dev/stdin"])):
    for verb in verbs:
        for name in names(verb):
            wanted = name if shell == "zsh" else f"-l {name[2:]} "
            assert wanted in script(shell), (shell, verb, name)
    if shutil.which(shell):
        subprocess.run(check, input=script(shell), text=True, check=True)
    else:
        print(f"{shell} is not here: its script was not run")
