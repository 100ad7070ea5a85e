# SPDX-License-Identifier: MIT
"""The four parties around a guest, each a process of its own with only what it needs, set up the
way an operator would: through the command line and the configuration files. The host's
connections go through the hostile relay, which relays faithfully until it is told otherwise."""

import json
import socket
import subprocess
from pathlib import Path

from common import Trouble, end, program, spawn, tail, wait_until

DOMAIN = "6f1c0b4e-1d2a-4c55-9a37-0c8d5e2b7f10"
INTERVAL_MS = 1000
READY_SECONDS = 15


def free_ports(count):
    """Ports that nobody listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def run(name, *arguments):
    """One command of a party to its end; its output. Trouble tells what it said."""
    command = [str(word) for word in (program(name), *arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().removeprefix("error: ")
        raise Trouble(f"{name} {arguments[0]}: {said}")
    return done.stdout


class Party:
    """One running program. Its log is a file; it is up when it has said `ready:`."""

    def __init__(self, name, directory, *arguments, command="run"):
        self.name = name
        self.log = directory / f"{name}.log"
        with open(self.log, "wb") as log:
            self.process = spawn([program(name), command, *arguments], stdout=log, stderr=log)

    def await_ready(self):
        return self.await_log("ready: ", READY_SECONDS, "ready")

    def await_log(self, text, seconds, what):
        """The first log line with this text."""

        def look():
            ended = self.process.poll() is not None  # before the look: its last words count
            for line in self.log.read_text(errors="replace").splitlines():
                if text in line:
                    return line
            return "" if ended else None

        line = wait_until(lambda: look() is not None and (look() or "ended"), seconds)
        if line == "ended":
            raise Trouble(
                f"{self.name} ended with status {self.process.returncode} before it was {what}:\n"
                + tail(self.log)
            )
        if not line:
            raise Trouble(f"{self.name} was not {what} within {seconds} s:\n" + tail(self.log))
        return line

    def last_words(self):
        return tail(self.log)

    def stop(self):
        return end(self.process)


class Parties:
    """Use as a context manager, inside that of the guest."""

    def __init__(self, directory, guest, domain=DOMAIN):
        self.directory = Path(directory)
        self.guest = guest
        self.domain = domain
        self.running = {}
        self.ports = dict(
            zip(("authority", "remote", "authority_relay", "remote_relay"), free_ports(4))
        )
        self.capture = self.directory / "relayed"
        self.control = self.directory / "control"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        # The host first: the others then see it leave and not the other way round.
        for name in ("sgmonitord", *reversed(list(self.running))):
            if name in self.running:
                self.running.pop(name).stop()

    def path(self, *parts):
        return self.directory.joinpath(*parts)

    # --- set up

    def initialise(self):
        """Every party writes its own keys and configuration; only public parts change hands."""
        self.initialise_hypervisor()
        run(
            "sgmonitor-remote", "init", "--dir", self.path("remote"), "--domain", self.domain,
            "--authority-key", self.authority_key, "--port", self.ports["remote"],
            "--interval-ms", INTERVAL_MS, "--allow-software-sgx",
        )  # fmt: skip
        run(
            "sgmonitor-authority", "init", "--dir", self.path("authority"), "--domain", self.domain,
            "--port", self.ports["authority"],
            "--hypervisor-key", self.path("hypervisor", "hypervisor.pub"),
            "--owner-signing-key", self.path("remote", "owner-signing.pub"),
            "--owner-sealing-key", self.path("remote", "owner-sealing.pub"),
            "--software-sgx-root", self.path("host", "platform", "root.pem"),
        )  # fmt: skip
        mrenclave = self.initialise_host("host", "approved")
        with open(self.path("authority", "authority.toml"), "a", encoding="utf-8") as policy:
            policy.write(f'\n[[approve]]\nmrenclave = "{mrenclave}"\n')
        return mrenclave

    @property
    def authority_key(self):
        return self.path("authority", "authority.pub")

    def initialise_hypervisor(self):
        run(
            "sgmonitor-hypervisor", "init", "--dir", self.path("hypervisor"),
            "--domain", self.domain, "--ram", self.guest.ram, "--qmp", self.guest.qmp,
            "--socket", self.path("hypervisor", "hypervisor.sock"),
            "--authority-key", self.authority_key, "--allow-software-sgx",
        )  # fmt: skip

    def host_options(self):
        """How the host reaches the hypervisor, the authority and the owner."""
        return (
            "--hypervisor-socket", self.path("ring"),
            "--authority-url", f"http://127.0.0.1:{self.ports['authority_relay']}",
            "--remote-url", f"http://127.0.0.1:{self.ports['remote_relay']}",
        )  # fmt: skip

    def initialise_host(self, name, label):
        """Configuration for this host, with an enclave whose measured page carries this label:
        another label is another MRENCLAVE, which is returned."""
        directory = self.path(name)
        run(
            "sgmonitord", "init", "--dir", directory, "--domain", self.domain,
            "--enclave", directory / "ids.elf", *self.host_options(), "--allow-software-sgx",
        )  # fmt: skip
        signed = run(
            "sgmonitor-enclave", "sign", "--enclave", program("ids.elf"), "--json",
            "--authority-key", self.authority_key, "--label", label,
            "--key", directory / "signer.pem", "--new-key", "--out", directory / "ids",
        )  # fmt: skip
        # One machine has one software SGX, whatever enclave it runs.
        settings = directory / "host.toml"
        text = settings.read_text(encoding="utf-8").replace(
            'platform_directory = "platform"',
            f'platform_directory = "{self.path("host", "platform")}"',
        )
        settings.write_text(text, encoding="utf-8")
        return json.loads(signed)["mrenclave"]

    def set_rules(self, text):
        self.path("remote", "rules.toml").write_text(text, encoding="utf-8")

    # --- run

    def start(self, name):
        """Starts one party and waits until it serves."""
        configuration = {
            "sgmonitor-hypervisor": ("hypervisor", "hypervisor.toml"),
            "sgmonitor-authority": ("authority", "authority.toml"),
            "sgmonitor-remote": ("remote", "remote.toml"),
            "sgmonitord": ("host", "host.toml"),
        }[name]
        party = Party(name, self.directory, "--config", self.path(*configuration))
        self.running[name] = party
        party.await_ready()

    def runs(self, name):
        return self.running[name].process.poll() is None

    def start_relay(self):
        party = Party(
            "sgm-hostile-relay", self.directory, self.path("ring"),
            "--hypervisor", self.path("hypervisor", "hypervisor.sock"),
            "--proxy", f"{self.ports['authority_relay']}:{self.ports['authority']}",
            "--proxy", f"{self.ports['remote_relay']}:{self.ports['remote']}",
            "--capture", self.capture, "--control", self.control, command="--ring",
        )  # fmt: skip
        self.running[party.name] = party
        party.await_ready()

    def start_all(self):
        for name in ("sgmonitor-hypervisor", "sgmonitor-authority", "sgmonitor-remote"):
            self.start(name)
        self.start_relay()
        self.start("sgmonitord")

    # --- what people do

    def remote_command(self, command, *options):
        """`sgmonitor remote COMMAND`, as the owner types it."""
        return [program("sgmonitor"), "remote", command,
                "--config", self.path("remote", "remote.toml"), *options]  # fmt: skip

    def remote_text(self, command):
        return run("sgmonitor", *self.remote_command(command)[1:])

    def remote(self, command, *options):
        return json.loads(run("sgmonitor", *self.remote_command(command, "--json", *options)[1:]))

    def await_status(self, condition, seconds=10):
        """The owner's status as soon as condition(status) holds; None when it never does."""

        def look():
            status = self.remote("status")
            return status if condition(status) else None

        return wait_until(look, seconds, every=0.05)

    def await_watching(self, seconds=20):
        """The owner's status once the IDS has completed a scan under the owner's rules."""

        def watching(now):
            scanned = now["running"] and now.get("ids") == "watching"
            return scanned and now["ids_rules_version"] == now["rules_version"]

        status = self.await_status(watching, seconds)
        if status is None:
            said = self.remote("status").get("ids", "it has not been heard")
            raise Trouble(
                f"the IDS does not watch after {seconds} s ({said}); the host's log ends:\n"
                + self.running["sgmonitord"].last_words()
            )
        return status

    def await_beat(self):
        """The owner's status when the next heartbeat has come."""
        last = self.remote("status")["beat"]
        status = self.await_status(lambda now: now["beat"] > last)
        if status is None:
            raise Trouble("no heartbeat came:\n" + self.running["sgmonitord"].last_words())
        return status

    def relay(self, command):
        """One command to the hostile relay; its answer."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(str(self.control))
            connection.sendall(command.encode() + b"\n")
            return connection.makefile().readline().strip()

    def relay_stats(self):
        """What was relayed so far; all of it is in the capture file now."""
        return json.loads(self.relay("stats"))
