#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Named volumes and disks in VMs: kept from one to the next, one writer or any number of readers."""
import json
import subprocess
import sys

import kilntest
from kilntest import main, need_qemu, shown


def run(home, *args):
    return home.kiln("run", "--rootfs", kilntest.busybox_root(), *args)


def test_what_is_written_to_a_volume_stays(home):
    need_qemu()
    first = run(home, "-v", "data:/srv/data", "--", "sh", "-c", "echo kept > /srv/data/file; df -k /srv/data | tail -1; mount | grep srv")
    assert first.code == 0, first
    assert 15_000_000 < int(first.out.split()[1]) < 17_000_000, f"it is not grown to its size: {first}"
    assert "ext4 (rw" in first.out, first
    again = run(home, "-v", "data:/other:ro", "--", "sh", "-c", "cat /other/file; echo x > /other/file && exit 9; exit 3")
    assert again.code == 3 and again.out == "kept\n", again
    listed = json.loads(home.ok("volume", "ls", "--format", "json"))
    assert [v["name"] for v in listed] == ["data"] and listed[0]["allocated"] < 2 << 20 and not listed[0]["in_use"], listed
    check = next((p for p in ("/usr/sbin/e2fsck", "/sbin/e2fsck") if subprocess.run(["test", "-x", p], check=False).returncode == 0), None)
    if check:
        done = subprocess.run([check, "-fn", listed[0]["mountpoint"]], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done
    assert home.ok("volume", "rm", "data") == "data\n" and home.ok("volume", "ls", "-q") == ""
    home.assert_clean()


def test_one_vm_writes_or_several_read(home):
    need_qemu()
    writer = home.ok("run", "-d", "--name", "writer", "--rootfs", kilntest.busybox_root(), "-v", "data:/data", "--", "sleep", "1000")
    assert writer
    for options in (["-v", "data:/data"], ["-v", "data:/data:ro"]):
        refused = run(home, *options, "--", "true")
        assert refused.code == 125 and 'volume "data" is in use by the VM "writer"' in refused.err, refused
    # A disk by its path meets the lock itself, which the names above only tell of.
    path = json.loads(home.ok("volume", "inspect", "data"))[0]["mountpoint"]
    for option in (f"{path}", f"{path}:ro"):
        refused = run(home, "--disk", option, "--", "true")
        assert refused.code == 125 and "disks[0]" in refused.err and "in use by another VM" in refused.err, refused
    told = json.loads(home.ok("disk", "info", "--format", "json", path))[0]
    assert told["in_use"] and told["used_by"] == "writer", told
    for words in (["clone", path, str(home.dir / "copy")], ["resize", path, "20G"]):
        refused = home.kiln("disk", *words)
        assert refused.code == 125 and "is in use" in refused.err, refused
    assert not (home.dir / "copy").exists()
    refused = home.kiln("volume", "rm", "--force", "data")
    assert refused.code == 125 and 'in use by the VM "writer"' in refused.err, refused
    home.ok("kill", "writer")
    refused = home.kiln("volume", "rm", "data")
    assert refused.code == 125 and "belongs to 1 VM" in refused.err, refused
    home.ok("rm", "writer")
    refused = run(home, "-v", "data:/data:ro", "--", "true")
    assert refused.code == 125 and "was killed" in refused.err and "/data" in refused.err, refused
    mended = run(home, "-v", "data:/data", "--", "true")
    assert mended.code == 0, mended
    for name in ("a", "b"):
        home.ok("run", "-d", "--name", name, "--rootfs", kilntest.busybox_root(), "-v", "data:/data:ro", "--", "sleep", "1000")
    refused = run(home, "-v", "data:/data", "--", "true")
    assert refused.code == 125 and "in use by the VM" in refused.err and ":ro" in refused.err, refused
    home.ok("rm", "-f", "a", "b")
    home.ok("disk", "clone", path, home.dir / "copy")
    home.ok("volume", "prune", "--force")
    shown("a volume is one VM's to write or several VMs' to read; what would be two is refused by the name of the VM")
    home.assert_clean()


def test_a_read_only_root_has_volumes_and_memory_to_write_to(home):
    need_qemu()
    held = run(home, "--read-only", "--tmpfs", "/scratch:size=1M", "-v", "data:/new/data", "--", "sh", "-c",
               "touch /x 2>/dev/null && exit 9; echo a >/new/data/f && echo b >/scratch/f && cat /new/data/f /scratch/f")
    assert held.code == 0 and held.out == "a\nb\n", held
    home.assert_clean()


def test_a_volume_that_is_only_read_is_not_made(home):
    need_qemu()
    refused = run(home, "-v", "none:/data:ro", "--", "true")
    assert refused.code == 125 and 'there is no volume "none"' in refused.err and "kiln volume create none" in refused.err, refused
    home.ok("volume", "create", "--size", "64M", "small")
    held = run(home, "-v", "small:/data", "--", "sh", "-c", "df -k /data | tail -1 | awk '{print $2}'; dd if=/dev/zero of=/data/x bs=1M count=100 2>/dev/null; echo $?")
    size, result = held.out.split()
    assert 40_000 < int(size) < 65536 and result == "1", held
    home.assert_clean()


if __name__ == "__main__":
    main(sys.modules[__name__])
