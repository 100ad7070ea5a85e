# SPDX-License-Identifier: MIT
"""The four parties around a domU: the authority and the owner here, outside of the machine; Xen
itself; and sgmonitord in dom0, which reaches the others over its network."""

import re
import shlex
import shutil

from common import BUILD, Trouble, program, wait_until
from parties import Parties

HERE_FROM_DOM0 = "10.0.2.2"  # QEMU's user network
RECORDER = BUILD / "lib/libsgm-record-hypercalls.so"
KEY_LINE = re.compile(r"SGmonitor: hypervisor key ([0-9a-f]{64})")


def dom0_programs():
    """What of ours is in dom0's file system."""
    if not RECORDER.exists():
        raise Trouble(f"{RECORDER} is not built: run ./dev build")
    files = {
        f"opt/sgmonitor/{name}": program(name)
        for name in ("sgmonitord", "sgm-soft-monitor", "bench_xen")
    }
    return files | {"opt/sgmonitor/record.so": RECORDER}


class Dom0Party:
    """sgmonitord in dom0, with a library in it that records every buffer of a hypercall."""

    def __init__(self, machine, directory):
        self.machine = machine
        self.directory = directory
        self.pid = machine.run(
            f"cd {directory}; SGM_RECORD={directory}/record "
            f"LD_PRELOAD=/opt/sgmonitor/record.so sgmonitord run --config host.toml "
            f">{directory}/log 2>&1 & echo $!"
        ).strip()

    def await_ready(self):
        return self.await_log("ready: ", 420, "ready")

    def await_log(self, text, seconds, what):
        quoted = shlex.quote(text)

        def look():
            _status, out = self.machine.try_run(
                f"kill -0 {self.pid} && echo lives; grep -F -m 1 -e {quoted} {self.directory}/log"
            )
            lines = out.strip().splitlines()
            if lines and lines[-1] != "lives" and text in lines[-1]:
                return lines[-1]
            return None if "lives" in lines else "ended"

        line = wait_until(look, seconds, every=0.5)
        if line is None or line == "ended":
            raise Trouble(f"sgmonitord in dom0 was not {what} ({line or 'it took too long'}):\n"
                          + self.last_words())  # fmt: skip
        return line

    def last_words(self):
        return self.machine.try_run(f"tail -n 15 {self.directory}/log")[1]

    def stop(self):
        self.machine.try_run(
            f"kill {self.pid}; while kill -0 {self.pid} 2>/dev/null; do usleep 100000; done"
        )


class XenParties(Parties):
    """Those of one domU. `authority`: whose key the authority has; None: it makes one."""

    def __init__(self, directory, domain, authority=None):
        super().__init__(directory, None, domain)
        self.machine = None
        self._authority = authority

    @property
    def authority_hex(self):
        return self.authority_key.read_text().split()[-1]

    def initialise(self):
        self.directory.mkdir(parents=True, exist_ok=True)
        return super().initialise()

    def initialise_host(self, name, label):
        # Before the enclave is signed: its measured page names the authority.
        if self._authority:
            for key in ("authority.key", "authority.pub"):
                shutil.copy(self._authority / key, self.path("authority", key))
        return super().initialise_host(name, label)

    def initialise_hypervisor(self):
        pass  # Xen makes its key at boot; enrol() takes it from there

    def host_options(self):
        return (
            "--hypervisor", "xen",
            "--authority-url", f"http://{HERE_FROM_DOM0}:{self.ports['authority_relay']}",
            "--remote-url", f"http://{HERE_FROM_DOM0}:{self.ports['remote_relay']}",
        )  # fmt: skip

    def enrol(self, machine):
        """Takes the hypervisor's key from Xen's console."""
        self.machine = machine
        line = machine.await_console("SGmonitor: ")
        match = KEY_LINE.search(machine.console())
        if not match:
            raise Trouble(f"Xen has no key to enrol: {line}")
        self.path("hypervisor").mkdir(exist_ok=True)
        self.path("hypervisor", "hypervisor.pub").write_text(
            f"sgmonitor x25519 public\n{match[1]}\n"
        )
        return match[1]

    @property
    def dom0_directory(self):
        return f"/root/{self.domain[:8]}"

    def start(self, name):
        if name != "sgmonitord":
            super().start(name)
            return
        host = self.path("host")
        for path in host.rglob("*"):
            if path.is_file() and path.name != "signer.pem":
                data = path.read_bytes()
                if path.name == "host.toml":
                    data = data.replace(str(host).encode(), self.dom0_directory.encode())
                self.machine.put(f"{self.dom0_directory}/{path.relative_to(host)}", data)
        self.machine.run(f"chmod -R go= {self.dom0_directory}")
        party = Dom0Party(self.machine, self.dom0_directory)
        self.running[name] = party
        party.await_ready()

    def runs(self, name):
        if name != "sgmonitord":
            return super().runs(name)
        return self.machine.try_run(f"kill -0 {self.running[name].pid}")[0] == 0
