#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Bad input gives one clear sentence and a non-zero exit, and leaves nothing running."""

import os
import socket
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

VM = Path(__file__).resolve().parents[1] / "vm"
sys.path.insert(0, str(VM))

import btf
import initramfs
from common import SKIPPED, Missing, program
from guest import PREFIX, SHARED_MEMORY, Guest
from parties import DOMAIN, Parties, run

SECONDS = 60


class BadInput(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory(prefix="sgmonitor-test-")
        self.addCleanup(temporary.cleanup)
        self.directory = Path(temporary.name)

    def refused(self, command, *words, **environment):
        """The command ends by itself, with a non-zero status and one `error:` line that has all
        these words; afterwards nothing of it runs, and no guest's RAM is left."""
        process = subprocess.Popen(
            [str(word) for word in command],
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            said, _ = process.communicate(timeout=SECONDS)
        finally:
            process.kill()
        if process.returncode == SKIPPED:
            self.skipTest(said)
        self.assertGreater(process.returncode, 0, said)
        self.assertNotIn("Traceback", said)
        sentences = [line for line in said.splitlines() if line.startswith("error: ")]
        self.assertEqual(len(sentences), 1, said)
        for word in words:
            self.assertIn(str(word), said)
        guest = f"{PREFIX}{process.pid}-"
        self.assertEqual(running(str(self.directory), guest), [])
        self.assertEqual(list(SHARED_MEMORY.glob(guest + "*")), [])

    def boot(self, *options):
        return [sys.executable, VM / "guest.py", "6.1", self.directory, *options]

    # --- the guest

    def test_a_missing_qemu(self):
        self.refused(self.boot(), "no-qemu is not installed", "./dev setup", SGM_QEMU="no-qemu")

    def test_no_room_for_the_guests_ram(self):
        # A file system without any free space, on every machine.
        self.refused(self.boot(), "512 MiB in /proc", "0 MiB are free", SGM_SHM="/proc")

    def test_a_guest_whose_kernel_panics(self):
        broken = self.directory / "initramfs.cpio"
        broken.write_bytes(initramfs.pack({"init": b"not a program"}))
        self.refused(self.boot("--initramfs", broken), "did not boot", "Kernel panic")

    def test_a_guest_that_never_boots(self):
        self.refused(self.boot("--boot-seconds", 1), "did not boot within 1 s")

    # --- the parties

    def authority(self, *options):
        directory = self.directory / "authority"
        run("sgmonitor-authority", "init", "--dir", directory, *options)
        return directory

    def remote(self, authority_key, *options):
        directory = self.directory / "remote"
        run("sgmonitor-remote", "init", "--dir", directory, "--domain", DOMAIN,
            "--authority-key", authority_key, *options)  # fmt: skip
        return [program("sgmonitor-remote"), "run", "--config", directory / "remote.toml"]

    def host(self):
        """A host that has a sound enclave."""
        directory = self.directory / "host"
        run("sgmonitord", "init", "--dir", directory, "--domain", DOMAIN,
            "--enclave", directory / "ids.elf", "--allow-software-sgx",
            "--hypervisor-socket", self.directory / "nobody")  # fmt: skip
        run("sgmonitor-enclave", "sign", "--enclave", program("ids.elf"),
            "--authority-key", self.authority() / "authority.pub",
            "--key", directory / "signer.pem", "--new-key", "--out", directory / "ids")  # fmt: skip
        return directory, [program("sgmonitord"), "run", "--config", directory / "host.toml"]

    def test_a_port_in_use(self):
        with socket.socket() as holder:
            holder.bind(("127.0.0.1", 0))
            holder.listen()
            port = holder.getsockname()[1]
            authority = self.authority("--port", port)
            run_authority = [program("sgmonitor-authority"), "run"]
            self.refused([*run_authority, "--config", authority / "authority.toml"], port)
            self.refused(self.remote(authority / "authority.pub", "--port", port), port)

    def test_a_truncated_enclave_file(self):
        directory, command = self.host()
        enclave = directory / "ids.elf"
        os.truncate(enclave, enclave.stat().st_size // 2)
        self.refused(command, enclave)

    def test_a_truncated_signature_of_an_enclave(self):
        directory, command = self.host()
        os.truncate(directory / "ids.sig", 1000)
        self.refused(command, directory / "ids.elf", "SIGSTRUCT has 1808 bytes")

    def test_an_enclave_that_was_changed_after_signing(self):
        directory, command = self.host()
        enclave = directory / "ids.elf"
        contents = bytearray(enclave.read_bytes())
        # Another authority in the measured configuration page (wire/enclave_abi.hpp).
        contents[contents.index(b"SSGMCFG1") + 8] ^= 1
        enclave.write_bytes(contents)
        self.refused(command, enclave, "one of the two was changed")

    def test_a_key_of_the_wrong_kind(self):
        command = self.remote(self.directory / "remote/owner-sealing.pub")
        self.refused(command, "owner-sealing.pub", "ed25519")

    def test_a_private_key_that_others_may_read(self):
        authority = self.authority()
        os.chmod(authority / "authority.key", 0o644)
        command = [program("sgmonitor-authority"), "run", "--config", authority / "authority.toml"]
        self.refused(command, "authority.key", "chmod")

    def test_a_kernel_without_btf(self):
        try:
            guest = self.enterContext(Guest("6.1", DOMAIN))
        except Missing as missing:
            self.skipTest(str(missing))
        self.assertGreater(btf.remove(guest.ram), 0)
        parties = self.enterContext(Parties(self.directory, guest))
        parties.initialise()
        parties.start_all()
        status = parties.await_status(
            lambda now: now.get("ids", "").startswith("unsupported kernel: ")
        )
        self.assertIsNotNone(status, parties.remote("status"))
        self.assertIn("BTF", status["ids"])
        ps = subprocess.run(
            [str(word) for word in parties.remote_command("ps")],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        self.assertGreater(ps.returncode, 0)
        self.assertIn("unsupported kernel: ", ps.stderr)
        self.assertEqual(ps.stdout, "")


def running(*words):
    """Command lines of processes that have any of these words."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue  # ended meanwhile
        if any(word in command for word in words):
            found.append(command)
    return found


if __name__ == "__main__":
    unittest.main(verbosity=2)
