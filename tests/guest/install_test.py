#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`make install`: what it puts where, and that it works from there: the command, the library, the pages."""
import os
import pathlib
import shutil
import subprocess
import sys

import kilntest
from kilntest import BUILD, SOURCE, TINYVM_OUTPUT, busybox_root, need_kvm, need_qemu, shown

EXAMPLE = SOURCE / "examples" / "exec.c"


def run(*argv, **kwargs):
    """A program to its end, which must be a success; its output."""
    done = subprocess.run([str(arg) for arg in argv], capture_output=True, text=True, timeout=kilntest.DEADLINE,
                          check=False, **kwargs)
    assert done.returncode == 0, (argv, done.returncode, done.stdout[-2000:], done.stderr[-2000:])
    return done.stdout


def install(home):
    """Installs below a directory of the test's; where things lie there."""
    root = home.dir / "root"
    run("make", "--no-print-directory", "-C", SOURCE, "install", f"BUILD={BUILD}", f"DESTDIR={root}",
        env=dict(os.environ, MAKEFLAGS=""))
    programs = list(root.rglob("bin/kiln"))
    assert len(programs) == 1, programs
    return root, programs[0].parents[1]


def only(prefix, pattern):
    found = list(prefix.rglob(pattern))
    assert len(found) == 1, (pattern, found)
    return found[0]


def kiln_at(home, program, *args, **env):
    """The installed program: nothing but the home is named to it."""
    clean = {name: value for name, value in home.env.items()
             if name not in ("KILN_RUNNER", "KILN_IMAGE", "KILN_GUEST")}
    return kilntest.Result(subprocess.run([str(program), *map(str, args)], env=dict(clean, **env), text=True,
                                          capture_output=True, stdin=subprocess.DEVNULL,
                                          timeout=kilntest.DEADLINE, check=False))


def test_the_installed_command_finds_its_helpers(home):
    need_qemu()
    _, prefix = install(home)
    for helper in ("kiln-runner", "kiln-image", "kiln-guest-" + os.uname().machine):
        path = prefix / "libexec" / "kiln" / helper
        assert os.access(path, os.X_OK), path
    images = kiln_at(home, prefix / "bin" / "kiln", "disk", "ls")
    assert images.code == 0 and "debian-12" in images.out, images
    fresh = home.dir / "fresh"  # no image of it is cached: kiln-image is needed
    shutil.copytree(busybox_root(), fresh, symlinks=True)
    (fresh / "fresh").write_text(str(home.dir))
    r = kiln_at(home, prefix / "bin" / "kiln", "run", "-d", "--name", "vm", "--rootfs", fresh, "--", "sleep", "1000")
    assert r.code == 0, r
    runners = [os.readlink(f"/proc/{pid}/exe") for pid, command in home.processes() if "kiln-runner" in command]
    assert runners == [str(prefix / "libexec" / "kiln" / "kiln-runner")], runners
    r = kiln_at(home, prefix / "bin" / "kiln", "exec", "vm", "--", "cat", "/fresh")
    assert r.out == str(home.dir), r
    assert kiln_at(home, prefix / "bin" / "kiln", "rm", "-f", "vm").code == 0
    home.assert_clean()


def test_a_missing_helper_is_named(home):
    _, prefix = install(home)
    if pathlib.Path("/usr/local/libexec/kiln").exists():
        raise kilntest.Skip("kiln is installed on this system")
    (prefix / "libexec" / "kiln" / "kiln-runner").unlink()
    r = kiln_at(home, prefix / "bin" / "kiln", "run", "--backend", "fake", "--", "true")
    assert r.code == 125 and "kiln-runner is not installed" in r.err and "KILN_RUNNER" in r.err, r
    home.assert_clean()


def pkg_config(root, prefix, *args):
    folder = only(prefix, "kiln.pc").parent
    env = dict(os.environ, PKG_CONFIG_PATH=str(folder), PKG_CONFIG_SYSROOT_DIR=str(root))
    return run("pkg-config", *args, "kiln", env=env).split()


def test_programs_compile_and_link_with_pkg_config(home):
    need_qemu()
    root, prefix = install(home)
    library = only(prefix, "libkiln.so").parent
    flags = ["-Wall", "-Werror", *pkg_config(root, prefix, "--cflags")]
    for header in (prefix / "include" / "kiln").iterdir():  # each by itself
        run("cc", *flags, "-std=c11", "-pedantic", "-fsyntax-only", "-x", "c", header)
        if shutil.which("c++"):
            run("c++", *flags, "-fsyntax-only", "-x", "c++", header)
    shared, static = prefix / "bin" / "exec-shared", prefix / "bin" / "exec-static"
    run("cc", *flags, EXAMPLE, "-o", shared, *pkg_config(root, prefix, "--libs"))
    assert "libkiln.so.0" in run("readelf", "-d", shared)
    run("cc", "-static", *flags, EXAMPLE, "-o", static, *pkg_config(root, prefix, "--static", "--libs"))
    assert "NEEDED" not in run("readelf", "-d", static)
    for program, env in ((shared, {"LD_LIBRARY_PATH": str(library)}), (static, {})):
        r = kiln_at(home, program, busybox_root(), "sh", "-c", "echo from the guest; exit 5", **env)
        assert (r.code, r.out) == (5, "from the guest\n"), (program, r)
        home.assert_clean()
    shown("examples/exec.c, compiled against the installed tree by pkg-config, shared and static, boots a VM")


def test_tinyvm_compiles_and_runs_with_what_is_installed(home):
    need_kvm()
    root, prefix = install(home)
    flags = ["-Wall", "-Wextra", "-Werror", *pkg_config(root, prefix, "--cflags")]
    source, shared, static = SOURCE / "examples" / "tinyvm.c", home.dir / "tinyvm", home.dir / "tinyvm-static"
    run("cc", *flags, source, "-o", shared, *pkg_config(root, prefix, "--libs"))
    run("cc", "-static", *flags, source, "-o", static, *pkg_config(root, prefix, "--static", "--libs"))
    library = str(only(prefix, "libkiln.so").parent)
    assert run(shared, env=dict(os.environ, LD_LIBRARY_PATH=library)) == TINYVM_OUTPUT
    assert run(static) == TINYVM_OUTPUT
    shown("examples/tinyvm.c, compiled against the installed tree, runs real-mode and 64-bit code on /dev/kvm")


def test_pages_and_completions_are_installed(home):
    _, prefix = install(home)
    if not shutil.which("scdoc"):
        raise kilntest.Skip("scdoc is not installed")
    pages = {path.name.removesuffix(".scd") for path in (SOURCE / "docs" / "man").glob("kiln*.scd")}
    installed = {path.name: path for path in (prefix / "share" / "man").rglob("*.[1-8]")}
    assert set(installed) == pages, set(installed) ^ pages
    for name, path in installed.items():
        assert path.parent.name == "man" + name[-1] and ".TH " in path.read_text()[:400], path
    for shell, place in (("bash", "bash-completion/completions/kiln"), ("zsh", "zsh/site-functions/_kiln"),
                         ("fish", "fish/vendor_completions.d/kiln.fish")):
        path = prefix / "share" / place
        assert path.stat().st_size > 500, path
        if shutil.which(shell):
            run(shell, "-n", path)


if __name__ == "__main__":
    kilntest.main(sys.modules[__name__])
