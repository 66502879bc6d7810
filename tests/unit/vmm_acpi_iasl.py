#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The firmware tables before a judge that is not ours: ACPICA's iasl takes each apart, puts it
together again without a complaint and with the same bytes, and finds the devices in it.
Usage: vmm_acpi_iasl.py PROGRAM-THAT-WRITES-THE-TABLES"""
import os, re, shutil, subprocess, sys, tempfile, unittest

program = os.path.abspath(sys.argv.pop(1))

ALWAYS = {"PCI0": ["PNP0A08", "PNP0A03", "WordBusNumber", "0xC0000000", "0x20000000"],
          "BRD0": ["PNP0C02", "0xE0000000", "0x00100000", "0x0600"],
          "PWRB": ["PNP0C0C"],
          "SLPB": ["PNP0C0E"],
          "GED0": ["ACPI0013", "Edge, ActiveHigh, Exclusive", "0x00000010",
                   "OperationRegion (EREG, SystemIO, 0x0604, 0x04)", "Field (EREG, DWordAcc, NoLock, Preserve)",
                   "EVTS,   32", "Method (_EVT, 1, Serialized)", "Notify (\\_SB.PWRB, 0x80)",
                   "Notify (\\_SB.SLPB, 0x80)"]}
ASKED = {"pvpanic": ("PEVT", ["QEMU0001", "0x0505"]),
         "serial": ("COM1", ["PNP0501", "0x03F8", "0x08", "0x00000011"]),
         "rtc": ("RTC0", ["PNP0B00", "0x0070", "0x02"])}


def iasl(directory, *args):
    run = subprocess.run(["iasl", *args], cwd=directory, capture_output=True, text=True)
    return run.returncode, run.stdout + run.stderr


def devices(dsl):
    """The text of each device by its name."""
    parts = re.split(r"Device \((\w+)\)", dsl)[1:]
    return dict(zip(parts[::2], parts[1::2]))


class Tables(unittest.TestCase):
    def check(self, cpus, *asked):
        directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, directory)
        subprocess.run([program, directory, str(cpus), *asked], check=True)
        tables = sorted(os.listdir(directory))
        self.assertEqual(tables, ["APIC.aml", "DSDT.aml", "FACP.aml", "MCFG.aml", "XSDT.aml"])
        for table in tables:
            code, output = iasl(directory, "-d", table)
            self.assertEqual(code, 0, output)
            for word in ("Invalid", "Error", "Warning", "incorrect"):
                self.assertNotIn(word, output, table)
        for table in ("DSDT", "APIC", "FACP", "MCFG"):
            code, output = iasl(directory, "-oa", "-p", "again", table + ".dsl")
            self.assertEqual(code, 0, output)
            self.assertIn("0 Errors", output)
            if table == "DSDT":
                self.assertRegex(output, r"0 Errors, 0 Warnings")
            with open(f"{directory}/{table}.aml", "rb") as ours, open(f"{directory}/again.aml", "rb") as theirs:
                ours, theirs = ours.read(), theirs.read()
            # But for who compiled it, and so the checksum.
            self.assertEqual(ours[10:28], theirs[10:28])
            self.assertEqual(ours[36:], theirs[36:], table)
        with open(f"{directory}/DSDT.dsl") as file:
            dsl = file.read()
        expected = ALWAYS | dict(ASKED[one] for one in asked)
        found = devices(dsl)
        self.assertEqual(sorted(found), sorted(expected))
        for name, words in expected.items():
            for word in words:
                self.assertIn(word, found[name], name)
        self.assertRegex(dsl, r"Name \(\\_S5, Package \(0x04\)[^{]*\{\s*0x05,")
        with open(f"{directory}/APIC.dsl") as file:
            self.assertEqual(file.read().count("[Processor Local APIC]"), cpus)

    def test_plain(self):
        self.check(1)

    def test_each_device_that_can_be_asked_for(self):
        for one in ASKED:
            self.check(2, one)

    def test_all_at_once(self):
        self.check(64, "pvpanic", "serial", "rtc")


if not shutil.which("iasl"):
    print("skipped: iasl is missing (package acpica-tools)")
    sys.exit(77)
unittest.main()
