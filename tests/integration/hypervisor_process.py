#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The hypervisor process as an operator runs it: VMs of others are attached, listed and detached
while it runs, confined, under real QEMUs whose guests are stopped before their first instruction."""

import json
import os
import shutil
import socket
import sys
import tempfile
import unittest
from pathlib import Path

VM = Path(__file__).resolve().parents[1] / "vm"
sys.path.insert(0, str(VM))

from common import end, program, spawn
from parties import Party, run

USER = "nobody"


class HypervisorProcess(unittest.TestCase):
    def setUp(self):
        if shutil.which("qemu-system-x86_64") is None:
            self.skipTest("qemu-system-x86_64 is not installed")
        temporary = tempfile.TemporaryDirectory(prefix="sgmonitor-test-")
        self.addCleanup(temporary.cleanup)
        self.directory = Path(temporary.name)
        run("sgmonitor-authority", "init", "--dir", self.directory / "authority")

    def start(self, *options):
        own = self.directory / "hypervisor"
        run("sgmonitor-hypervisor", "init", "--dir", own,
            "--authority-key", self.directory / "authority" / "authority.pub", *options)  # fmt: skip
        self.config = own / "hypervisor.toml"
        if "--user" in options:
            self.directory.chmod(0o755)
            shutil.chown(own, USER)
        self.party = Party("sgmonitor-hypervisor", self.directory, "--config", self.config)
        self.addCleanup(self.party.stop)
        self.party.await_ready()

    def qemu(self, number, *options):
        """A QEMU that somebody else has started, and its QMP socket. It listens before QEMU has
        started, so nobody has to wait; in QEMU's process, which its clients ask the socket for."""
        qmp = self.directory / f"qmp-{number}"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(qmp))
            process = spawn(
                ["qemu-system-x86_64", "-S", "-nodefaults", "-display", "none", "-accel", "tcg",
                 "-uuid", uuid(number), "-mon", "chardev=qmp,mode=control",
                 "-chardev", f"socket,id=qmp,fd={listener.fileno()},server=on,wait=off", *options],
                before=listener.listen,
                pass_fds=[listener.fileno()],
            )  # fmt: skip
        self.addCleanup(end, process)
        return qmp

    def attach(self, qmp, *options):
        return json.loads(run("sgmonitor-hypervisor", "attach", "--config", self.config,
                              "--qmp", qmp, "--json", *options))  # fmt: skip

    def listed(self):
        told = json.loads(run("sgmonitor-hypervisor", "ls", "--config", self.config, "--json"))
        return {vm["uuid"]: vm for vm in told["vms"]}

    def test_vms_are_attached_listed_and_detached_while_it_runs(self):
        self.start()
        self.assertEqual(self.listed(), {})
        shared = self.qemu(1, *ram("512M"))
        private = self.qemu(2, "-m", "128")
        self.assertEqual(self.attach(shared)["readability"], "readable")
        told = self.attach(private)
        self.assertEqual(told["readability"], "private")
        self.assertIn("share=on", told["reason"])
        vms = self.listed()
        self.assertEqual(set(vms), {uuid(1), uuid(2)})
        self.assertEqual(vms[uuid(1)]["ram"] >> 20, 511)
        self.assertEqual(vms[uuid(1)]["sessions"], 0)
        self.assertIn("private", run("sgmonitor-hypervisor", "ls", "--config", self.config))
        epoch = vms[uuid(1)]["epoch"]
        run("sgmonitor-hypervisor", "detach", "--config", self.config, "--domain", uuid(1))
        self.assertEqual(set(self.listed()), {uuid(2)})
        self.attach(shared)
        self.assertGreater(self.listed()[uuid(1)]["epoch"], epoch)

    def test_memory_may_be_named_by_path_and_another_uuid_is_refused(self):
        self.start()
        memory = Path("/dev/shm") / f"sgmonitor-test-{os.getpid()}"
        self.addCleanup(memory.unlink)
        qmp = self.qemu(1, *ram("64M", f"memory-backend-file,mem-path={memory},share=on"))
        self.assertEqual(self.attach(qmp, "--memory", f"ram={memory}")["readability"], "readable")
        run("sgmonitor-hypervisor", "detach", "--config", self.config, "--domain", uuid(1))
        with self.assertRaisesRegex(Exception, "runs the VM"):
            self.attach(qmp, "--domain", uuid(7))

    def test_it_is_confined_and_serves_all_the_same(self):
        if os.geteuid() != 0:
            self.skipTest("only root can become another user")
        self.start("--user", USER)
        status = Path(f"/proc/{self.party.process.pid}/status").read_text(encoding="ascii")
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        self.assertNotIn("0", fields["Uid"].split())
        self.assertEqual(fields["Seccomp"], "2")
        self.assertEqual(fields["NoNewPrivs"], "1")
        self.assertEqual(int(fields["CapPrm"], 16), 0)
        limits = Path(f"/proc/{self.party.process.pid}/limits").read_text(encoding="ascii")
        self.assertRegex(limits, r"Max core file size +0 +0 ")
        qmp = self.qemu(1, *ram("64M"))
        self.assertEqual(self.attach(qmp)["readability"], "readable")
        self.assertEqual(self.listed()[uuid(1)]["readability"], "readable")
        control = self.config.parent / "control.sock"
        self.assertEqual(control.stat().st_mode & 0o777, 0o600)

    def test_root_is_refused_unless_it_is_told(self):
        if os.geteuid() != 0:
            self.skipTest("only root can be refused")
        own = self.directory / "hypervisor"
        run("sgmonitor-hypervisor", "init", "--dir", own,
            "--authority-key", self.directory / "authority" / "authority.pub")  # fmt: skip
        config = own / "hypervisor.toml"
        text = config.read_text(encoding="utf-8").replace('user = "root"\n', "")
        config.write_text(text, encoding="utf-8")
        with self.assertRaisesRegex(Exception, "started as root"):
            run("sgmonitor-hypervisor", "run", "--config", config)

    def test_nonsense_on_the_control_socket_ends_nothing(self):
        self.start()
        for nonsense in (b"\n", b"{}\n", b"[1]\n", b'{"command": "attach"}\n', b"\xff" * 100000):
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(self.config.parent / "control.sock"))
                try:
                    connection.sendall(nonsense)
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(4096):
                        pass
                except OSError:
                    pass  # it hung up on us
        self.assertEqual(self.listed(), {})


def uuid(number):
    return f"6f1c0b4e-1d2a-4c55-9a37-{number:012x}"


def ram(size, kind="memory-backend-memfd,share=on"):
    return ["-m", size, "-machine", "q35,memory-backend=ram", "-object", f"{kind},id=ram,size={size}"]


if __name__ == "__main__":
    unittest.main(verbosity=2)
