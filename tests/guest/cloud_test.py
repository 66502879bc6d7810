#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Cloud images: firmware boots what is on the disk, and cloud-init in it obeys the seed and brings the agent.

The image is made of Debian's own packages (cloud/image.sh), once.
"""
import hashlib
import json
import pathlib
import shutil
import socket
import subprocess
import sys
import time

import kilntest
from kilntest import CACHE, SOAK, Skip, main, need_qemu, shown

sys.path.insert(0, str(kilntest.SOURCE / "tests" / "image"))
from vendor import Vendor # pylint: disable=wrong-import-position

PATIENCE = 900


def image():
    path = CACHE / "cloud" / "debian-12.raw"
    if not path.exists():
        for program in ("mmdebstrap", "grub-mkimage", "sfdisk", "mformat"):
            if not shutil.which(program, path="/usr/sbin:/sbin:/usr/bin:/bin"):
                raise Skip(f"{program} is not installed, and there is no cloud image yet")
        subprocess.run([pathlib.Path(__file__).parent / "cloud" / "image.sh", path], check=True)
    return path


def key(home):
    if not shutil.which("ssh-keygen"):
        raise Skip("ssh-keygen is not installed")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "a test", "-f", home.dir / "key"], check=True)
    return home.dir / "key"


def pulled(home):
    """The name of the image, which its vendor has told by checksums, packed as vendors do."""
    if not shutil.which("qemu-img") or not shutil.which("openssl"):
        raise Skip("qemu-img or openssl is not installed")
    packed = home.dir / "debian-12.qcow2"
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", image(), packed], check=True)
    vendor = Vendor(home.dir)
    with packed.open("rb") as file:
        digest = hashlib.file_digest(file, "sha512").hexdigest()
    vendor.answers.update({"/image.qcow2": packed, "/SHA512SUMS": f"{digest}  image.qcow2\n".encode()})
    catalogue = home.dir / "catalogue.json"
    catalogue.write_text(json.dumps({"images": [{"name": "debian-12", "arch": "x86_64", "url": f"{vendor.base}/image.qcow2",
                                                 "checksums": f"{vendor.base}/SHA512SUMS", "digest": "sha512"}]}))
    home.env.update(KILN_CLOUD_IMAGES=str(catalogue), SSL_CERT_FILE=str(vendor.authority))
    home.ok("disk", "pull", "--arch", "x86_64", "debian-12", timeout=PATIENCE)
    vendor.close()
    packed.unlink()
    return "debian-12"


def boot(home, firmware, *options):
    disk = home.dir / "disk.raw"
    if not disk.exists():
        home.ok("disk", "clone", "--size", "3G", pulled(home), disk, timeout=PATIENCE)
    begin = time.monotonic()
    home.ok("run", "-d", "--name", "cloud", "--firmware", firmware, "--disk", disk, "-m", "1G", "--stop-timeout", "300", *options, timeout=PATIENCE)
    print(f"      ready by {firmware} after {time.monotonic() - begin:.0f} s", flush=True)
    return disk


def guest(home, text):
    return home.kiln("exec", "cloud", "--", "sh", "-c", text, timeout=PATIENCE)


def test_a_cloud_image_obeys_its_seed(home):
    need_qemu()
    secret = key(home)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = home.dir / "shared"
    shared.mkdir()
    (shared / "file").write_text("of the host\n")
    disk = boot(home, "bios", "--hostname", "web-1", "--add-user", "ann", "--ssh-key", f"{secret}.pub", "--network", "user", "-p", f"{port}:22",
                "--address", "10.0.2.15/24", "--gateway", "10.0.2.2", "--dns", "10.0.2.3",
                "--share", shared, "--seed-mount", "share0:/srv/shared", "--seed-env", "GREETING=it's $HOME; \"q\" `id`", "--run-command", "echo \"$GREETING\" >/root/greeting", "-v", "data:/data")
    done = guest(home, "cloud-init status --wait >/dev/null; cloud-init status --long")
    assert "status: done" in done.out, done
    assert guest(home, "hostname").out == "web-1\n"
    assert guest(home, "cat /root/greeting").out == "it's $HOME; \"q\" `id`\n"
    assert guest(home, "cat /home/ann/.ssh/authorized_keys").out == pathlib.Path(f"{secret}.pub").read_text()
    assert guest(home, "cloud-init query platform subplatform; cloud-init query ds").code == 0
    mounted = guest(home, "findmnt -no SOURCE,FSTYPE /data; echo kept >/data/file; sync")
    assert mounted.code == 0 and "ext4" in mounted.out, mounted
    root = guest(home, "df -k --output=size / | tail -1")
    assert int(root.out) > 2_000_000, f"the root is not grown to its disk: {root}"
    assert guest(home, "cat /srv/shared/file").out == "of the host\n", guest(home, "cat /etc/fstab; mount")
    address = guest(home, "ip -4 -o addr show scope global; ip route show default; cat /run/systemd/network/* /etc/netplan/*")
    assert "10.0.2.15/24" in address.out and "dynamic" not in address.out.split("default")[0] and "via 10.0.2.2" in address.out, address
    # The seed is in nobody's way, and has what it should.
    assert guest(home, "blkid -o value -s LABEL /dev/disk/by-id/virtio-kiln-seed").out.strip().lower() == "cidata"
    # Over SSH, by a port of the host's.
    login = subprocess.run(["ssh", "-i", secret, "-p", str(port), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
                            "-o", "BatchMode=yes", "ann@127.0.0.1", "sudo", "id", "-un"], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert login.stdout == "root\n", login
    # The disk is this VM's.
    told = json.loads(home.ok("disk", "info", "--format", "json", disk))[0]
    assert told["used_by"] == "cloud" and told["in_use"], told
    refused = home.kiln("disk", "clone", disk, home.dir / "other.raw")
    assert refused.code == 125 and "is in use" in refused.err, refused
    refused = home.kiln("run", "--firmware", "bios", "--disk", disk, "--", "true")
    assert refused.code == 125 and str(disk) in refused.err and "in use" in refused.err, refused
    home.ok("stop", "cloud", timeout=PATIENCE)
    assert "stopped (poweroff)" in home.ok("events", "cloud"), home.ok("events", "cloud")
    shown("cloud-init of a Debian booted by firmware obeys the seed: user, key, environment, command, volume; exec and SSH work in it")
    if SOAK:
        # The second boot: the agent is installed, what was done once stays done, the volume has what was written to it.
        home.ok("start", "cloud", timeout=PATIENCE)
        assert guest(home, "cat /data/file; hostname").out == "kept\nweb-1\n"
        home.ok("stop", "cloud", timeout=PATIENCE)
    home.ok("rm", "cloud")
    home.assert_clean()


def test_uefi_boots_it_and_a_command_runs_in_it(home):
    need_qemu()
    if not SOAK:
        raise Skip("a second boot by emulation: make soak")
    (home.dir / "user-data").write_text("#cloud-config\nbootcmd:\n - echo mine >/root/mine\n")
    disk = home.dir / "disk.raw"
    home.ok("disk", "clone", image(), disk)
    result = home.kiln("run", "--firmware", "uefi", "--disk", disk, "-m", "1G", "--user-data", home.dir / "user-data", "--",
                       "sh", "-c", "test -d /sys/firmware/efi && cloud-init status --wait >/dev/null; cat /root/mine; exit 7", timeout=PATIENCE)
    assert result.code == 7 and result.out == "mine\n", result
    home.assert_clean()


if __name__ == "__main__":
    main(sys.modules[__name__])
