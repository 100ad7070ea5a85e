#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The main job, end to end, on a real guest: run by `./dev demo [--keep]`.

Four parties watch a Linux guest, and then the host between them plays foul. Every line that says
`ok` was tried just now; the exit status is 0 only if none says FAILED.
"""

import argparse
import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/vm"))

import capture
import kernels
from common import BUILD, REPOSITORY, Trouble, end, main_of, spawn, wait_until
from guest import MEMORY_MIB, Guest
from parties import DOMAIN, INTERVAL_MS, Parties, Party
from processes import differences, rows_of

INTERVAL = INTERVAL_MS / 1000
FORBIDDEN = "xmrig: miner"
SOFTWARE_SGX = "SOFTWARE SGX: no protection from this host's root"
RULES = f"""\
version = 1

[[rule]]
name = "no miners"
action = "deny"
comm = "{FORBIDDEN}"
"""

COLOUR = sys.stdout.isatty()


def painted(code, text):
    return f"\033[{code}m{text}\033[0m" if COLOUR else text


class Report:
    """What people see, and whether every line held."""

    def __init__(self):
        self.began = time.monotonic()
        self.failures = 0
        self.skipped = []

    def step(self, number, title):
        print(painted(1, f"\n{number}. {title}") + f"  ({self.seconds():.0f} s)", flush=True)

    def progress(self, text):
        print(painted(2, f"   ..      {text}"), flush=True)

    def show(self, text):
        for line in text.rstrip("\n").split("\n"):
            print(f"           {line}", flush=True)

    def outcome(self, held, text, otherwise=""):
        """One line: what was tried, and whether it came out as it must."""
        if held:
            print(f"   {painted('32', 'ok')}      {text}", flush=True)
        else:
            self.failures += 1
            print(f"   {painted('31', 'FAILED')}  {text}", flush=True)
            if otherwise:
                self.show(str(otherwise))
        return held

    def skip(self, text):
        """What could not be tried here: neither held nor failed."""
        self.skipped.append(text)
        print(f"   {painted('33', 'SKIP')}    {text}", flush=True)

    def seconds(self):
        return time.monotonic() - self.began


class Watcher:
    """The owner's terminal: `sgmonitor remote watch`, kept open all the time."""

    def __init__(self, parties):
        self.path = parties.path("watch.log")
        with open(self.path, "wb") as log:
            self.process = spawn(parties.remote_command("watch"), stdout=log, stderr=log)

    def stop(self):
        end(self.process)

    def lines(self):
        return self.path.read_text(errors="replace").splitlines()

    def await_line(self, *words, seconds, after=0):
        """The first line with all these words, from line number `after` on."""

        def look():
            for line in self.lines()[after:]:
                if all(word in line for word in words):
                    return line
            return None

        return wait_until(look, seconds)


def boot_guest(stack, report):
    report.step(1, "A Linux guest, which may be compromised, and says itself what runs in it")
    guest = stack.enter_context(Guest("6.1", DOMAIN, progress=report.progress))
    report.outcome(
        len(guest.processes()) >= 166,
        f"Debian's {kernels.release('6.1')} runs in QEMU ({guest.accelerator}), KASLR on, "
        f"{MEMORY_MIB} MiB of RAM in {guest.ram}",
    )
    return guest


def start_parties(parties, report):
    report.step(2, "Four parties, each a process with only what it needs")
    mrenclave = parties.initialise()
    parties.set_rules(RULES)
    for name, holds in (
        ("sgmonitor-hypervisor", "the guest's memory and its X25519 key"),
        ("sgmonitor-authority", "its Ed25519 key and the policy"),
        ("sgmonitor-remote", "the owner's keys and rules"),
    ):
        parties.start(name)
        report.outcome(parties.runs(name), f"{name:<20}  holds {holds}")
    parties.start_relay()
    parties.start("sgmonitord")
    report.outcome(parties.runs("sgmonitord"), f"{'sgmonitord':<20}  holds the signed enclave, and relays: nobody trusts it")
    return mrenclave


def register(parties, mrenclave, report):
    report.step(3, "The enclave proves what it is, and gets a session with the hypervisor")
    report.progress("waiting for the quote, the attestation result and the first scan")
    status = parties.await_watching()
    report.outcome(
        status["mrenclave"] == mrenclave,
        f"the authority approved MRENCLAVE {mrenclave[:16]}..., and the owner hears from it",
        status,
    )
    report.outcome(
        status["software_sgx"] and SOFTWARE_SGX in parties.remote_text("status"),
        f"it says what it is:  {SOFTWARE_SGX}",
        status,
    )


def compare_lists(parties, guest, report):
    report.step(4, "The owner looks into the guest")
    report.progress("sgmonitor remote ps")
    table = parties.remote_text("ps").rstrip("\n").split("\n")
    report.show("\n".join(table[:5] + ["..."] + table[-5:]))
    for _attempt in range(5):  # a kernel thread may come or go during one comparison
        before = guest.processes()
        seen = rows_of(parties.remote("ps"))
        told = differences(seen, before, guest.processes())
        if not told:
            break
    report.outcome(
        not told,
        f"{len(seen)} processes, all equal to the guest's own list",
        "\n".join(told[:10]),
    )
    return [row["comm"] for row in before]


def break_a_rule(parties, guest, watcher, report):
    report.progress(f"starting '{FORBIDDEN}' in the guest; the owner's rules deny it")
    # The next scan sees it. The last one is a quarter of an interval old, because the finding
    # has a way to go too.
    parties.await_beat()
    time.sleep(INTERVAL / 4)
    began = time.monotonic()
    pid = guest.start(FORBIDDEN, uid=1005)
    details = f"[pid {pid} {FORBIDDEN}, uid 1005, parent 1 init, rule no miners]"
    raised = watcher.await_line("finding raised", FORBIDDEN, seconds=5 * INTERVAL)
    took = time.monotonic() - began
    if raised:
        report.show(raised)
    report.outcome(
        raised and took <= INTERVAL and details in raised,
        f"the finding is on the owner's terminal after {took:.2f} s, with pid, parent and rule",
        "nothing came" if not raised else "",
    )
    began = time.monotonic()
    guest.stop(FORBIDDEN)
    cleared = watcher.await_line("finding cleared", FORBIDDEN, seconds=5 * INTERVAL)
    took = time.monotonic() - began
    report.outcome(cleared, f"the program ended, and the finding cleared after {took:.2f} s")


def await_heartbeats(parties, report):
    report.step(5, "Heartbeats, and a host that plays foul")
    previous = parties.remote("status")
    for _beat in range(3):
        status = parties.await_beat()
        report.outcome(
            status["scan"] > previous["scan"] and status["state"] == "alive",
            f"heartbeat {status['beat']}: scan {status['scan']} completed, "
            f"{status['processes']} processes, {status['open_findings']} findings open",
            status,
        )
        previous = status


def search_relayed(parties, names, report):
    stats = parties.relay_stats()
    streams = capture.streams(parties.capture)
    answers = max(streams.values(), key=len)
    report.show("what the host saw, for example:  " + answers[-48:].hex(" ", 4))
    words = {name for name in names if len(name) >= 5} | {FORBIDDEN.encode(), b"no miners"}
    found = capture.found(streams, words)
    # A search that finds nothing must be able to find: HTTP's own words are in the clear.
    control = capture.found(streams, [b"POST /v1/messages"])
    report.outcome(
        not found and control and stats["complete"],
        f"none of {len(words)} process names is in the {stats['bytes']:,} bytes that the host "
        "relayed",
        found or stats,
    )


def tamper(parties, watcher, report):
    for command, deed in (
        ("flip", "flipped one bit of an answer"),
        ("replay", "replayed an old answer"),
    ):
        before = parties.remote("status")
        seen = len(watcher.lines())
        parties.relay(command)
        status = parties.await_status(
            lambda now, before=before: now["refused_answers"] > before["refused_answers"]
            and now["registrations"] > before["registrations"]
        )
        told = watcher.await_line("finding event", "changed, replayed", seconds=5, after=seen)
        if told:
            report.show(told)
        report.outcome(
            status and told,
            f"the host {deed}: refused, session closed, registered anew, the owner told",
            parties.remote("status"),
        )


def start_unapproved(parties, report):
    report.progress("signing the same IDS with another label: another MRENCLAVE")
    parties.initialise_host("unapproved", "not approved by anyone")
    host = Party(
        "sgmonitord", parties.path("unapproved"), "--config",
        parties.path("unapproved", "host.toml"),
    )  # fmt: skip
    parties.running["unapproved"] = host
    refusal = host.await_log("registration failed", 15, "refused")
    host.stop()
    report.show(refusal)
    report.outcome(
        "approve" in refusal.lower(), "the authority refused the unapproved IDS, and says why"
    )


def kill_ids(parties, watcher, report):
    """Suspect after two intervals of silence, dead after three, each told at the owner's terminal."""
    seen = len(watcher.lines())
    began = time.monotonic()
    os.killpg(parties.running["sgmonitord"].process.pid, signal.SIGKILL)
    alarm = watcher.await_line("warning suspect", seconds=10 * INTERVAL, after=seen)
    took = time.monotonic() - began
    if alarm:
        report.show(alarm)
    report.outcome(
        alarm and took <= 3 * INTERVAL,
        f"the host killed the IDS: the owner's first alarm came after {took:.2f} s "
        f"({3 * INTERVAL:.0f} s are three intervals)",
    )
    dead = watcher.await_line("critical dead", seconds=10 * INTERVAL, after=seen)
    took = time.monotonic() - began
    if dead:
        report.show(dead)
    report.outcome(
        dead,
        f"the IDS is given up for dead after three intervals of silence: told after {took:.2f} s",
    )


def leftovers(directory, guest):
    """Processes and files of ours that are still there."""
    left = [str(path) for path in (directory, guest.directory) if path.exists()]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue  # ended meanwhile
        if str(directory) in command or str(guest.directory) in command:
            left.append(command.replace("\0", " "))
    return left


def keep_logs(directory):
    kept = BUILD / "demo-logs"
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(parents=True)
    for log in directory.rglob("*.log"):
        shutil.copy(log, kept / f"{log.parent.name}-{log.name}")
    print(f"\nthe parties' logs are in {kept}", flush=True)


def look_around(parties, report):
    report.progress("starting the IDS again")
    parties.start("sgmonitord")
    report.outcome(parties.await_watching(), "the IDS watches again")
    sgmonitor = os.path.relpath(BUILD / "bin/sgmonitor", REPOSITORY)
    configuration = parties.path("remote", "remote.toml")
    print("\nIt goes on running. To look around:\n")
    for command in ("ps", "status", "alerts", "watch"):
        print(f"   {sgmonitor} remote {command} --config {configuration}")
    print(f"\n   configuration and logs: {parties.directory}")
    print(f"   to end it all:          kill {os.getpid()}", flush=True)


def in_background(channel, failures):
    """Ends the command that the people at the terminal gave, and goes on without the terminal.
    Our children end when we do, so it is their parent that has to stay."""
    os.write(channel, b"\1" if failures else b"\0")
    os.close(channel)
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(nothing, descriptor)
    signal.pause()


def demonstrate(stay):
    """The whole demo. `stay`, if any, is called where the demo would begin to clean up."""
    report = Report()
    print(painted(1, "SGmonitor: an IDS in an enclave watches a VM, and its host sees ciphertext"))
    directory = Path(tempfile.mkdtemp(prefix="sgmonitor-demo-"))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        try:
            guest = boot_guest(stack, report)
            parties = stack.enter_context(Parties(directory, guest))
            mrenclave = start_parties(parties, report)
            watcher = Watcher(parties)
            stack.callback(watcher.stop)
            register(parties, mrenclave, report)
            names = compare_lists(parties, guest, report)
            break_a_rule(parties, guest, watcher, report)
            await_heartbeats(parties, report)
            search_relayed(parties, names, report)
            tamper(parties, watcher, report)
            start_unapproved(parties, report)
            kill_ids(parties, watcher, report)
            if stay:
                look_around(parties, report)
        except Trouble:
            report.failures += 1
            raise
        finally:
            if report.failures:
                keep_logs(directory)
        if stay:
            stay(report.failures)
        report.step(6, "Cleaning up")
    left = leftovers(directory, guest)
    report.outcome(not left, "nothing that was started is left", "\n".join(left))
    if report.failures:
        raise Trouble(f"{report.failures} of the lines above did not hold")
    print(painted(1, f"\nEvery line held ({report.seconds():.0f} s)."))
    return 0


def main():
    parser = argparse.ArgumentParser(prog="./dev demo", description=__doc__.split("\n\n")[0])
    parser.add_argument("--keep", action="store_true", help="leave it running at the end")
    if not parser.parse_args().keep:
        return demonstrate(None)
    # The demo runs in a child, which stays; we end with its status as soon as it has one.
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(receive)
        return demonstrate(lambda failures: in_background(send, failures))
    os.close(send)
    try:
        status = os.read(receive, 1)
        if status:
            return status[0]
    except KeyboardInterrupt:
        os.kill(child, signal.SIGINT)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    main_of(main)
