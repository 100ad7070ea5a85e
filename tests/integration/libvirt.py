#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The domain XML of docs/libvirt.md: valid for libvirt, and a VM that libvirt starts from it can be
attached and looked into. libvirt's QEMU driver runs inside virsh (qemu:///embed), so no daemon is needed."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "vm"))

from common import wait_until
from parties import Party, run

DOMAIN = "6f1c0b4e-1d2a-4c55-9a37-0c8d5e2b7f10"
SECONDS = 40
# Without a daemon for logs, and without the host's security drivers.
SETTINGS = 'stdio_handler = "file"\nsecurity_driver = "none"\n'
# Eight bytes that QEMU puts into the VM's memory, above all that its firmware uses before there is
# something to boot.
ADDRESS, WORD = 0x1000000, 0x1122334455667788
MARK = f"""<qemu:commandline>
    <qemu:arg value='-device'/>
    <qemu:arg value='loader,addr={ADDRESS:#x},data={WORD:#x},data-len=8'/>"""
DRIVER = "/usr/lib/x86_64-linux-gnu/libvirt/connection-driver/libvirt_driver_qemu.so"


def documented_xml():
    text = (ROOT / "docs" / "libvirt.md").read_text(encoding="utf-8")
    return re.search(r"```xml\n(.*?)```", text, re.DOTALL).group(1)


class Libvirt(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory(prefix="sgmonitor-test-")
        self.addCleanup(temporary.cleanup)
        self.directory = Path(temporary.name)

    def test_the_documented_xml_is_valid(self):
        if shutil.which("virt-xml-validate") is None:
            self.skipTest("virt-xml-validate is not installed (libvirt-clients)")
        xml = self.directory / "watched.xml"
        xml.write_text(documented_xml(), encoding="utf-8")
        done = subprocess.run(["virt-xml-validate", xml, "domain"], capture_output=True, text=True,
                              check=False, timeout=SECONDS)  # fmt: skip
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def start(self):
        """The VM of the page, by libvirt as a user without rights; its QMP socket."""
        own = self.directory / "libvirt"
        (own / "root" / "etc").mkdir(parents=True)
        (own / "root" / "etc" / "qemu.conf").write_text(SETTINGS, encoding="utf-8")
        qmp = own / "watched.qmp"
        xml = documented_xml().replace("/run/watched.qmp", str(qmp))
        # TCG serves the same purpose everywhere.
        xml = xml.replace("<domain type='kvm'", "<domain type='qemu'")
        xml = xml.replace("<qemu:commandline>", MARK)
        (own / "watched.xml").write_text(xml, encoding="utf-8")
        command = ["virsh", "-c", f"qemu:///embed?root={own / 'root'}"]
        if os.geteuid() == 0:
            self.directory.chmod(0o755)
            for path in (own, *own.rglob("*")):
                shutil.chown(path, "nobody")
            command = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", *command]
        log = open(self.directory / "virsh.log", "wb")
        self.addCleanup(log.close)
        virsh = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log,
                                 env={**os.environ, "HOME": str(own)}, cwd=own)  # fmt: skip
        self.addCleanup(self.end, virsh)
        virsh.stdin.write(b"define watched.xml\nstart watched\n")
        virsh.stdin.flush()
        said = self.directory / "virsh.log"
        # `start` returns once QEMU has answered libvirt; its own sockets are there before.
        wait_until(lambda: b"error:" in said.read_bytes() or b"started" in said.read_bytes(), SECONDS)
        if b"started" not in said.read_bytes():
            self.fail(said.read_text(errors="replace"))
        return qmp

    @staticmethod
    def end(virsh):
        try:
            virsh.communicate(b"destroy watched\nquit\n", timeout=SECONDS)
        finally:
            virsh.kill()

    def test_a_vm_that_libvirt_started_is_attached_and_read(self):
        if shutil.which("virsh") is None or not Path(DRIVER).exists():
            self.skipTest("virsh or libvirt's QEMU driver is not installed")
        qmp = self.start()
        authority = self.directory / "authority"
        run("sgmonitor-authority", "init", "--dir", authority)
        own = self.directory / "hypervisor"
        run("sgmonitor-hypervisor", "init", "--dir", own,
            "--authority-key", authority / "authority.pub")  # fmt: skip
        config = own / "hypervisor.toml"
        party = Party("sgmonitor-hypervisor", self.directory, "--config", config)
        self.addCleanup(party.stop)
        party.await_ready()
        told = json.loads(
            run("sgmonitor-hypervisor", "attach", "--config", config, "--qmp", qmp, "--json")
        )
        self.assertEqual(told["uuid"], DOMAIN, "libvirt's own")
        self.assertEqual(told["readability"], "readable", told)
        listed = json.loads(run("sgmonitor-hypervisor", "ls", "--config", config, "--json"))
        self.assertEqual([vm["readability"] for vm in listed["vms"]], ["readable"])
        self.assertEqual(round(listed["vms"][0]["ram"] / 2**20), 512)
        seen = json.loads(
            run("sgm-hypervisor-probe", own / "hypervisor.sock", authority / "authority.key", DOMAIN,
                hex(ADDRESS))  # fmt: skip
        )
        self.assertEqual((seen["domain"], seen["vcpus"]), (DOMAIN, 1))
        self.assertEqual(seen["word"], WORD)
        self.assertNotEqual(seen["cr0"], 0, "the vCPU's registers")
        self.assertTrue(seen["held"], "the vCPU stood still meanwhile")
        # What the IDS did is counted.
        listed = json.loads(run("sgmonitor-hypervisor", "ls", "--config", config, "--json"))
        self.assertEqual(listed["vms"][0]["sessions"], 1)
        self.assertEqual(listed["vms"][0]["refusals"], {})
        self.assertGreater(listed["vms"][0]["bytes"], 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
