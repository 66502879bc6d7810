#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The programs of examples/, as somebody who has only libkiln would run them."""
import os
import subprocess
import sys

import kilntest
from kilntest import BUILD, SOURCE, TINYVM_OUTPUT, busybox_root, need_kvm, need_qemu


def example(home, name, *args):
    """Runs an example of this build; what is installed elsewhere otherwise is named by environment."""
    env = dict(home.env, KILN_RUNNER=str(BUILD / "kiln-runner"), KILN_IMAGE=str(BUILD / "kiln-image"),
               KILN_GUEST=str(BUILD / "guest" / "kiln-guest-x86_64"))
    return kilntest.Result(subprocess.run([BUILD / "examples" / f"example-{name}", *args], env=env, text=True,
                                          capture_output=True, stdin=subprocess.DEVNULL,
                                          timeout=kilntest.DEADLINE, check=False))


def test_exec_boots_a_vm_and_execs_in_it(home):
    need_qemu()
    r = example(home, "exec", busybox_root(), "sh", "-c", "uname -s; echo err >&2; exit 3")
    assert r.code == 3 and r.out == "Linux\n" and r.err == "err\n", r
    home.assert_clean()


def test_exec_says_what_is_wrong_and_leaves_nothing(home):
    need_qemu()
    r = example(home, "exec", busybox_root(), "no-such-command")
    assert r.code == 125 and "no-such-command" in r.err, r
    home.assert_clean()


def test_tinyvm_runs_both_of_its_programs_to_their_end(home):
    need_kvm()
    r = example(home, "tinyvm")
    assert (r.code, r.out, r.err) == (0, TINYVM_OUTPUT, ""), r


def test_examples_are_short(home):
    for name, limit in (("exec", 60), ("tinyvm", 120)):
        lines = (SOURCE / "examples" / (name + ".c")).read_text().count("\n")
        assert lines < limit, (name, lines)


if __name__ == "__main__":
    kilntest.main(sys.modules[__name__])
