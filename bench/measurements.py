# SPDX-License-Identifier: MIT
"""What is measured, each in one function: (quick, progress) -> measurements. A program that was
not built is an error, never a shorter list."""

import json
import math
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from common import Trouble, end, program, spawn, tail
from guest import Guest
from parties import DOMAIN, Parties

SERIES = "6.1"
PAGE = 4096


def summary(name, unit, samples, **params):
    """One row, as the programs of this directory write it; `samples` not empty."""
    ordered = sorted(samples)

    def at(fraction):
        place = fraction * (len(ordered) - 1)
        below = int(place)
        above = min(below + 1, len(ordered) - 1)
        return ordered[below] + (ordered[above] - ordered[below]) * (place - below)

    row = {"name": name, "unit": unit, "n": len(ordered)}
    # As in report.hpp: the median lies from low to high with 95 % confidence.
    beyond = max(0, round((len(ordered) - 1.96 * math.sqrt(len(ordered))) / 2) - 1)
    row |= {"median": at(0.5), "p5": at(0.05), "p95": at(0.95),
            "low": ordered[beyond], "high": ordered[-1 - beyond], "params": params}  # fmt: skip
    if not unit:
        del row["unit"]
    return row


def run(name, title, program_name, *arguments):
    command = [str(word) for word in (program(program_name), *arguments, "--json")]
    # Its stderr is ours: it says there how far it is.
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise Trouble(f"{program_name} did not measure (status {done.returncode}); it said why above")
    return {"name": name, "title": title} | json.loads(done.stdout)


# --- The programs of this directory ----------------------------------------------------------


def process_lists(quick, _progress):
    # A smoke test by c and d makes a few hundred requests, each of which may wait for a processor.
    sizes, original = ("5,10", 5) if quick else ("10,166,1000,10000", 166)
    # A list by c or d takes half a second at 166 processes: in a few rounds, and on no large guest.
    turns = ("--rounds", 2) if quick else ("--rounds", 40, "--by-field-every", 4)
    return [
        run("list", "The process list, six ways", "bench_list",
            *turns, "--processes", sizes, "--by-field-up-to", original),
        run("list", "The same with 20,000 cycles for each transition, as SGX hardware has them",
            "bench_list", "--rounds", 2 if quick else 12, "--by-field-every", 2,
            "--processes", original, "--transition-cycles", 20000),
    ]  # fmt: skip


def costs(quick, _progress):
    few = ("--rounds", 20) if quick else ()
    return [run("costs", "What a request is made of", "bench_costs", *few)]


class HeldGuest:
    """A guest that stands still: measuring what is read, not who competes for the core."""

    def __init__(self, memory_mib, progress):
        self.guest = Guest(SERIES, memory_mib=memory_mib, progress=progress)

    def __enter__(self):
        self.guest.__enter__()
        self.guest.processes()
        self.guest.process.send_signal(signal.SIGSTOP)  # all of QEMU
        return self.guest

    def __exit__(self, *_):
        self.guest.process.send_signal(signal.SIGCONT)
        self.guest.close()


def copy_all_used(source, target):
    """The RAM of a guest that has used every page: what was never written holds noise."""
    noise = random.Random(1).randbytes(1 << 20)
    shutil.copyfile(source, target)
    with open(source, "rb") as holes, open(target, "r+b") as out:
        size = os.fstat(holes.fileno()).st_size
        at = 0
        while at < size:
            at = os.lseek(holes.fileno(), at, os.SEEK_HOLE)
            try:
                stop = os.lseek(holes.fileno(), at, os.SEEK_DATA)
            except OSError:
                stop = size
            while at < stop:
                at += os.pwrite(out.fileno(), noise[: stop - at], at)


def attach(quick, progress):
    title = "From nothing to the first list"
    if quick:
        return [run("attach", title, "bench_attach", "--rounds", 2, "--enclaves", 1)]
    measured = []
    for mib, label in ((512, "512 MiB"), (2048, "2 GiB")):
        with HeldGuest(mib, progress) as guest:
            measured.append(run("attach", f"{title}: {label}", "bench_attach",
                                "--ram", guest.ram, "--guest", label))  # fmt: skip
            if mib == 2048:
                used = guest.directory / "all-used"
                copy_all_used(guest.ram, used)
                measured.append(run("attach", f"{title}: {label}, all used", "bench_attach", "--ram",
                                    used, "--guest", f"{label}, all used", "--rounds", 5))  # fmt: skip
    return measured


def scan(quick, progress):
    title = "A whole scan: list, all checks, digest, sealed heartbeat"
    if quick:
        return [run("scan", title, "bench_scan", "--scans", 5)]
    with HeldGuest(512, progress) as guest:
        return [run("scan", title, "bench_scan", "--ram", guest.ram)]


# --- The product on a running guest ------------------------------------------------------------


def cpu_ns(pids):
    """Time on a processor of all threads of these processes."""
    total = 0
    for pid in pids:
        for stat in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            try:
                total += int(stat.read_text().split()[0])
            except OSError:
                pass  # the thread ended
    return total


def family(pid):
    """The process and all that descend from it."""
    found = [pid]
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text().split():
            found += family(int(child))
    return found


class Product(Parties):
    """The parties without anybody between them."""

    def start_all(self, interval_ms):
        settings = self.path("host", "host.toml")
        text = settings.read_text(encoding="utf-8")
        text = text.replace(str(self.path("ring")), str(self.path("hypervisor", "hypervisor.sock")))
        for name in ("authority", "remote"):
            text = text.replace(f":{self.ports[name + '_relay']}", f":{self.ports[name]}")
        text = text.replace("interval_ms = 1000", f"interval_ms = {interval_ms}")
        settings.write_text(text, encoding="utf-8")
        for name in ("sgmonitor-hypervisor", "sgmonitor-authority", "sgmonitor-remote", "sgmonitord"):
            self.start(name)


# Two processes, an enclave and 64 MiB of guest for each.
FLEET = 40


def share(quick, progress):
    if quick:
        progress("share needs a guest and is left out of a smoke test")
        return []
    windows = {1000: (6, 5.0), 100: (6, 2.0)}  # interval in ms -> how many, seconds each
    results = []
    with Guest(SERIES, DOMAIN, progress=progress) as guest:
        for interval_ms, (count, seconds) in windows.items():
            with (
                tempfile.TemporaryDirectory(prefix="sgmonitor-bench-") as directory,
                Product(directory, guest) as parties,
            ):
                parties.initialise()
                parties.start_all(interval_ms)
                parties.await_watching()
                results += product_share(parties, 1000 / interval_ms, count, seconds)
    many = run("share", f"{FLEET} VMs at once, each listed once a second", "bench_scan", "--fleet", FLEET)
    return [{"name": "share", "title": "What watching one VM takes of a core",
             "program": "sgmonitord, sgmonitor-hypervisor", "results": results, "ratios": []}, many]  # fmt: skip


def product_share(parties, rate, count, seconds):
    hypervisor = family(parties.running["sgmonitor-hypervisor"].process.pid)
    host = family(parties.running["sgmonitord"].process.pid)
    shares = {"hypervisor": [], "enclave and relay": [], "all": []}
    scans, carried = [], []
    for _window in range(count):
        first = parties.remote("status")["scan"]
        began = time.monotonic_ns(), cpu_ns(hypervisor), cpu_ns(host)
        time.sleep(seconds)
        passed, by_hypervisor, by_host = (now - then for now, then in zip(
            (time.monotonic_ns(), cpu_ns(hypervisor), cpu_ns(host)), began))  # fmt: skip
        scanned = parties.remote("status")["scan"] - first
        if scanned == 0:
            raise Trouble("the IDS did not scan: " + tail(parties.running["sgmonitord"].log))
        scans.append(scanned / seconds)
        shares["hypervisor"].append(100 * by_hypervisor / passed)
        shares["enclave and relay"].append(100 * by_host / passed)
        shares["all"].append(100 * (by_hypervisor + by_host) / passed)
        carried.append(passed / (by_hypervisor + by_host))
    results = [summary(f"share of a core: {who}", "%", values, scans_a_second=rate)
               for who, values in shares.items()]  # fmt: skip
    results.append(summary("scans a second", "/s", scans, scans_a_second=rate))
    if rate == 1:
        results.append(summary("VMs a core carries", "VMs", carried, scans_a_second=rate))
    return results


# --- What the guest feels ------------------------------------------------------------------------


class Load:
    """A process in the guest that counts its work in a page of its own; the count is read from
    the guest's RAM file, without the guest doing anything for it."""

    def __init__(self, guest, kind):
        self.guest, self.kind = guest, kind
        token = "".join(random.SystemRandom().choices("0123456789abcdef", k=16))
        guest.command(f"load {kind} {token}")
        self.ram = os.open(guest.ram, os.O_RDONLY)
        self.place = self._find(token.encode()) + len(token)

    def stop(self):
        self.guest.command(f"stop load-{self.kind}")
        os.close(self.ram)

    def rate(self, seconds):
        """Work a second, from now on for so long; sleeps meanwhile."""
        began, done = time.monotonic_ns(), self._count()
        time.sleep(seconds)
        passed, more = time.monotonic_ns() - began, self._count() - done
        return more / passed * 1e9

    def _count(self):
        return int.from_bytes(os.pread(self.ram, 8, self.place), "little")

    def _find(self, token):
        size = os.fstat(self.ram).st_size
        at = 0
        while at < size:
            try:
                at = os.lseek(self.ram, at, os.SEEK_DATA)
            except OSError:
                break
            stop = os.lseek(self.ram, at, os.SEEK_HOLE)
            data = os.pread(self.ram, stop - at, at)
            for page in range(0, len(data), PAGE):
                if data.startswith(token, page):
                    return at + page
            at = stop
        raise Trouble(f"the page in which the guest counts its {self.kind} work was not found")


class PacedScanner:
    """An enclave that lists the guest's processes at a rate that changes."""

    def __init__(self, ram, log):
        self.log = log
        with open(log, "wb") as errors:
            self.process = spawn([program("bench_scan"), "--paced", "--ram", ram], text=True,
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)  # fmt: skip
        self._answer()

    def _answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise Trouble("bench_scan ended:\n" + tail(self.log))
        return json.loads(line)

    def begin(self, rate, seconds):
        self.process.stdin.write(f"{rate} {seconds}\n")
        self.process.stdin.flush()

    def finish(self):
        return self._answer()["lists"]

    def stop(self):
        self.process.stdin.close()
        end(self.process)
        self.process.stdout.close()


# Scans a second -> how many pairs of phases, and the seconds of each: at least two scans in one. At
# once a second the effect is the smallest and the noise of a guest the same.
SLOWDOWN_PHASES = {1: (14, 2.0), 10: (8, 1.0), 100: (8, 1.0)}


def slowdown(quick, progress):
    if quick:
        progress("slowdown needs a guest and is left out of a smoke test")
        return []
    ratios = []
    with Guest(SERIES, DOMAIN, progress=progress) as guest:
        scanner = PacedScanner(guest.ram, guest.directory / "scanner.log")
        try:
            for kind in ("cpu", "fork"):
                load = Load(guest, kind)
                load.rate(0.5)
                for rate, (pairs, seconds) in SLOWDOWN_PHASES.items():
                    progress(f"  {kind} load, {rate} scans a second")
                    ratios.append(slowed(scanner, load, rate, pairs, seconds))
                load.stop()
        finally:
            scanner.stop()
    return [{"name": "slowdown", "title": "The guest's work with scans, over without",
             "program": "bench_scan --paced", "results": [], "ratios": ratios}]  # fmt: skip


def slowed(scanner, load, rate, pairs, seconds):
    """Phases with and without scans in pairs, which share none, so that each ratio is a sample of
    its own. Their order changes from pair to pair, so that what drifts cancels."""

    def phase(scans_a_second):
        scanner.begin(scans_a_second, seconds)
        work = load.rate(seconds * 0.98)
        lists = scanner.finish()
        if lists < scans_a_second * seconds * 0.9:
            raise Trouble(f"{lists} lists in {seconds} s where {scans_a_second} a second were asked for")
        return work

    ratios = []
    for pair in range(pairs):
        order = (0, rate) if pair % 2 == 0 else (rate, 0)
        work = {scans_a_second: phase(scans_a_second) for scans_a_second in order}
        ratios.append(work[rate] / work[0])
    return summary("work", "", ratios, load=load.kind, scans_a_second=rate)


ALL = {
    "list": process_lists,
    "costs": costs,
    "attach": attach,
    "scan": scan,
    "share": share,
    "slowdown": slowdown,
}
