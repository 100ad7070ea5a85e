#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""SGmonitor on Xen, end to end, in QEMU: `./dev xen demo` tells it, `./dev xen test` tries it.

A Xen with the hypercall in it, a dom0 that nobody trusts, and a domU; the authority and the owner
are outside of that machine. Every line that says `ok` was tried just now; the exit status is 0 only
if none says FAILED.
"""

import argparse
import contextlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1] / "demo"), str(HERE.parent / "vm"), str(HERE)]

import boots
import capture
import initramfs
import packages
from common import REPOSITORY, Missing, Trouble, main_of, program, wait_until
from demo import Report, painted
from dom0_parties import XenParties, dom0_programs
from machine import CPU, DomU, Machine
from processes import differences, rows_of

IMAGE = REPOSITORY / "build/xen/xen-sgmonitor"
TEST_IMAGE = REPOSITORY / "build/xen-test/xen-sgmonitor"
DOMAINS = {
    "pvh": "6f1c0b4e-1d2a-4c55-9a37-0c8d5e2b7f10",
    "pv": "6f1c0b4e-1d2a-4c55-9a37-0c8d5e2b7f11",
}
ATTACK_DOMAIN = "6f1c0b4e-1d2a-4c55-9a37-0c8d5e2b7f12"
LISTED_DOMAIN = "6f1c0b4e-1d2a-4c55-9a37-0c8d5e2b7f13"  # in sgm_protect=
WATCH_SECONDS = 600
ATTACH_SECONDS = 120
# How often a domain is destroyed while it is being read.
DESTROYED = 5
MARK = "seen-by-owner"
LISTS = 3  # of each method that is compared


def compile_attacks(directory):
    """The programs that attack Xen from dom0 (attacks/), for its file system."""
    headers = packages.get().tree / "usr/include"
    files = {}
    for name in ("garbage", "paths", "registers"):
        out = directory / name
        subprocess.run(
            ["cc", "-std=gnu11", "-O2", "-static", "-I", REPOSITORY, "-I", headers,
             HERE / f"attacks/{name}.c", "-o", out],
            check=True,
        )  # fmt: skip
        files[f"opt/sgmonitor/{name}"] = out
    return files


def domu_that_attacks(directory, attacks):
    """The file system of a domU that makes the hypercall (attacks/domu.sh), for dom0's."""
    xen = packages.get()
    sources = {
        "init": HERE / "attacks/domu.sh",
        "bin/busybox": xen.busybox,
        "xen-privcmd.ko": xen.module("xen-privcmd"),
        "garbage": attacks["opt/sgmonitor/garbage"],
    }
    image = directory / "attacker.img"
    image.write_bytes(initramfs.pack({to: Path(path).read_bytes() for to, path in sources.items()}))
    # The module is of dom0's kernel, not of the cloud kernel that the other domUs have.
    return {"boot/attacker.img": image, "boot/vmlinuz-generic": xen.kernel}


def side_by_side(seen, own, rows=4):
    """The beginning and end of two lists of processes, one beside the other."""
    theirs = {row["pid"]: row for row in own}
    lines = [f"{'the owner sees':<36}  the domU says itself"]
    for row in seen[:rows] + [None] + seen[-rows:]:
        if row is None:
            lines.append("  ...")
            continue
        pair = (row, theirs.get(row["pid"]))
        lines.append("  ".join(
            f"{one['pid']:>6} {one['uid']:>5} {one['state']} {one['comm'].decode(errors='replace'):<21}"
            if one else "-" for one in pair
        ).rstrip())  # fmt: skip
    return "\n".join(lines)


def search_options(ranges):
    """bench_xen's. To search all of a domU takes a PVH dom0 many minutes here: each page of it comes
    into dom0's memory and goes, with a flush of nested page tables."""
    return " ".join(f"--search {start:x}-{end:x}" for start, end in ranges)


class Run:
    """One boot of Xen, and what is tried in it."""

    def __init__(self, stack, directory, options, report):
        self.stack = stack
        self.directory = directory
        self.dom0 = options.dom0
        self.image = Path(options.image)
        self.report = report
        self.talks = options.what == "test"  # a line for each attack

    # --- 1

    def boot(self):
        report = self.report
        report.step(1, "Xen with SGmonitor in it, and a dom0 that nobody trusts")
        first = None
        self.parties = {}
        self.mrenclave = {}
        for kind, uuid in DOMAINS.items():
            parties = XenParties(self.directory / kind, uuid, first and first.path("authority"))
            self.mrenclave[kind] = parties.initialise()
            self.parties[kind] = parties
            first = first or parties
        attacks = compile_attacks(self.directory)
        extra = dom0_programs() | attacks | domu_that_attacks(self.directory, attacks)
        self.machine = self.stack.enter_context(
            Machine(self.image, dom0=self.dom0, extra=extra, progress=report.progress,
                    xen_options=f"sgm_authority={first.authority_hex} sgm_allow_software=1 "
                    f"sgm_protect={LISTED_DOMAIN}")
        )  # fmt: skip
        report.outcome(
            self.machine.lives(), f"{self.image.name} runs, {self.dom0.upper()} dom0 is up"
        )
        keys = {parties.enrol(self.machine) for parties in self.parties.values()}
        report.outcome(
            len(keys) == 1,
            f"Xen's console says its public key, which the authority enrols: {keys.pop()[:16]}...",
        )
        if self.machine.retried:
            report.progress("this was the second QEMU: the first did not boot (its log is kept)")

    # --- 2, 3

    def watch(self, kind, number):
        """A domU, watched by its owner: sealed lists before and after it is protected."""
        report = self.report
        report.step(number, f"A {kind.upper()} domU, and the owner looks into it")
        domu = DomU(self.machine, kind, kind, DOMAINS[kind]).create()
        count = len(domu.processes())
        report.outcome(count >= 166, f"it says itself that {count} processes run in it")
        parties = self.stack.enter_context(self.parties[kind])
        for name in ("sgmonitor-authority", "sgmonitor-remote"):
            parties.start(name)
        parties.start_relay()
        parties.start("sgmonitord")
        report.progress("waiting for the quote, the attestation result and the first scan")
        status = parties.await_watching(WATCH_SECONDS)
        report.outcome(
            status["mrenclave"] == self.mrenclave[kind],
            f"registered by hypercalls; MRENCLAVE {status['mrenclave'][:16]}... watches",
            status,
        )
        report.outcome(
            status["protection"] == "unprotected",
            "the heartbeat tells the owner what Xen says, sealed: dom0 can still read this domU",
            status,
        )
        names = self.compare(parties, domu, "the sealed list", shown=True)
        self.protect(parties, domu, names)
        self.search_recorded(parties, names)
        parties.stop()
        domu.destroy()
        report.outcome(self.machine.lives(), "the domU is destroyed; Xen and dom0 go on")

    def compare(self, parties, domu, what, shown=False):
        """The owner's list against the domU's own, which are `shown`; returns the names."""
        for _attempt in range(5):  # a kernel thread may come or go during one comparison
            before = domu.processes()
            seen = rows_of(parties.remote("ps", "--timeout", "120"))
            told = differences(seen, before, domu.processes())
            if not told:
                break
        if shown:
            self.report.show(side_by_side(seen, before))
        self.report.outcome(
            not told,
            f"{what}: {len(seen)} processes, all equal to the domU's own list",
            "\n".join(told[:10]),
        )
        return [row["comm"] for row in before]

    def read_conventionally(self, domu, searched=()):
        """What anybody in dom0 can read of a PVH domU without us: (names, what was said)."""
        _status, output = self.machine.try_run(
            f"bench_xen conventional --domid {domu.domid} {search_options(searched)}"
        )
        names = [line.split(" ", 1)[1] for line in output.splitlines() if re.match(r"\d+ ", line)]
        return names, output

    def protect(self, parties, domu, names):
        report = self.report
        if domu.kind == "pvh":
            read, output = self.read_conventionally(domu, domu.searched())
            report.outcome(
                len(read) == len(names) and "worker-165" in read,
                f"unprotected, dom0 reads the same {len(read)} names by foreign mappings",
                output[-2000:],
            )
        status, output = self.machine.try_run(f"sgmonitord xen-protect --domid {domu.domid}")
        report.outcome(status == 0, f"protected: {output.strip()}", output)
        told = parties.await_status(lambda now: now["protection"] == "protected", 60)
        report.outcome(
            told, "the next heartbeat says so to the owner: Xen keeps dom0 out", parties.remote("status")
        )
        pid = domu.start(MARK, uid=1005)
        report.outcome(pid > 0, "its console, a grant of its own, works on")
        names = self.compare(parties, domu, "protected, the sealed list")
        report.outcome(MARK.encode() in names, "and shows what was started after that")
        if domu.kind == "pvh":
            read, output = self.read_conventionally(domu)
            report.outcome(
                not read and "cannot be read" in output,
                f"dom0's foreign mappings fail: {output.strip()[:160]}",
                output[-2000:],
            )
        status, output = self.machine.try_run(
            f"xl save {domu.name} /tmp/saved; ls -l /tmp/saved; rm -f /tmp/saved", 300
        )
        report.outcome(
            self.machine.try_run(f"xl list {domu.name}")[0] == 0 and "rror" in output,
            "xl save is refused, and the domU goes on",
            output,
        )

    def search_recorded(self, parties, names):
        """No buffer that passed through dom0 has a process name in it."""
        report = self.report
        path = parties.path("record")
        path.write_bytes(self.machine.get(f"{parties.dom0_directory}/record"))
        hypercalls = capture.streams(path)
        stats = parties.relay_stats()
        network = capture.streams(parties.capture)
        words = {name for name in names if len(name) >= 5}
        streams = {("hypercall", *key): data for key, data in hypercalls.items()}
        streams |= {("network", *key): data for key, data in network.items()}
        found = capture.found(streams, words)
        answers = max(hypercalls.values(), key=len)
        report.show("what dom0 saw of it, for example:  " + answers[-48:].hex(" ", 4))
        # A search that finds nothing must be able to find.
        control = capture.found(network, [b"POST /v1/messages"]) and capture.found(
            hypercalls, [b"SGM1"]
        )
        total = sum(map(len, streams.values()))
        report.outcome(
            not found and control and stats["complete"] and len(words) >= 150,
            f"none of {len(words)} process names is in the {total:,} bytes that passed through dom0 "
            f"({sum(map(len, hypercalls.values())):,} of them to and from Xen)",
            found or stats,
        )

    # --- 4

    def attack(self, number):
        """dom0 turns on the hypercall and on a protected domU (attacks/)."""
        report = self.report
        report.step(number, "dom0 attacks: garbage hypercalls, and every way into a protected domU")
        self.run_attack("garbage")
        for kind in ("pvh", "pv"):
            attacker = DomU(self.machine, f"attacker-{kind}", kind, ATTACK_DOMAIN,
                            kernel="/boot/vmlinuz-generic", ramdisk="/boot/attacker.img")  # fmt: skip
            attacker.create()
            status, output = attacker.await_answer("garbage --domu")
            self.judge_attack(f"garbage --domu, in a {kind.upper()} domU", int(status), output)
            attacker.destroy()
        self.read_listed_domain()
        for kind in ("pvh", "pv"):
            report.progress(f"a {kind.upper()} domU")
            domu = DomU(self.machine, f"attacked-{kind}", kind, ATTACK_DOMAIN).create()
            self.run_attack(f"paths {domu.domid}")
            domu.destroy()
        report.outcome(self.machine.lives(), "Xen and dom0 are alive after it")

    def read_listed_domain(self):
        """A domain that Xen's command line protects, from before its first instruction on."""
        domu = DomU(self.machine, "listed", "pvh", LISTED_DOMAIN).create()
        state = self.state(domu.domid)
        self.report.outcome(
            state["protected"] and state["foreign_mappings"] == 0 and domu.processes(),
            "a domU that sgm_protect= names is protected without anybody's call, and its console works",
            state,
        )
        read, output = self.read_conventionally(domu)
        self.report.outcome(
            not read and "cannot be read" in output,
            f"dom0's foreign mappings of it fail: {output.strip()[:160]}",
            output[-2000:],
        )
        domu.destroy()

    def run_attack(self, command):
        status, output = self.machine.try_run(command, 300)
        self.judge_attack(command, status, output)

    def judge_attack(self, command, status, output):
        lines = [line for line in output.splitlines() if line.startswith(("PASS", "FAIL"))]
        skipped = [line[5:] for line in output.splitlines() if line.startswith("SKIP")]
        for line in skipped:
            self.report.skip(line)
        for line in lines:
            if line.startswith("FAIL"):
                self.report.outcome(False, line[5:])
            elif self.talks:
                self.report.outcome(True, line[5:])
        self.report.outcome(
            status == 0 and lines and all(line.startswith("PASS") for line in lines),
            f"`{command}`: {len(lines)} lines passed, {len(skipped)} could not be tried here",
            output[-2000:],
        )

    # --- 5

    def destroy_while_read(self, number):
        """The domU goes in the middle of requests, again and again."""
        report = self.report
        report.step(number, f"The domU is destroyed in the middle of requests, {DESTROYED} times")
        parties = self.parties["pvh"]
        for name in ("sgmonitor-authority", "sgmonitor-remote"):
            parties.start(name)
        parties.start_relay()
        for _time in range(DESTROYED):
            domu = DomU(self.machine, "pvh", "pvh", DOMAINS["pvh"]).create()
            parties.start("sgmonitord")
            # It attaches by many requests on end: the destruction comes somewhere among them.
            calls = self.state()["calls"]
            if not wait_until(lambda n=calls: self.state()["calls"] >= n + 5, ATTACH_SECONDS):
                raise Trouble(f"sgmonitord made no 5 calls in {ATTACH_SECONDS} s:\n"
                              + parties.running["sgmonitord"].last_words())  # fmt: skip
            domu.destroy()
            parties.running.pop("sgmonitord").stop()
        parties.stop()
        listed = self.machine.run("xl list")
        report.outcome(
            self.machine.lives() and len(listed.strip().splitlines()) == 2,
            "Xen and dom0 are alive, and no domU is left behind (its pages were all given back)",
            listed,
        )

    def state(self, domid=None):
        of = "" if domid is None else f"--domid {domid}"
        return json.loads(self.machine.run(f"sgmonitord xen-state {of} --json"))

    def all(self):
        self.boot()
        self.watch("pvh", 2)
        self.watch("pv", 3)
        self.attack(4)
        if self.talks:
            self.destroy_while_read(5)


def show_table(stack, directory, options, report, number):
    """The original experiment's comparison, in a Xen that also answers what is not sealed."""
    report.step(number, "What it costs: a process list by each method (a test build of Xen)")
    parties = XenParties(directory / "table", DOMAINS["pvh"])
    parties.initialise()
    extra = dom0_programs() | {
        f"opt/sgmonitor/{name}": program(name) for name in ("bench_enclave.elf",)
    }
    machine = stack.enter_context(
        Machine(TEST_IMAGE, dom0=options.dom0, extra=extra, progress=report.progress,
                xen_options=f"sgm_authority={parties.authority_hex} sgm_allow_software=1")
    )  # fmt: skip
    domu = DomU(machine, "pvh", "pvh", DOMAINS["pvh"]).create()
    searched = search_options(domu.searched())
    machine.put("/root/authority.key", parties.path("authority", "authority.key").read_bytes())
    machine.run("chmod 600 /root/authority.key")
    report.progress(f"each method lists the processes {LISTS} times, a slow one less often; the "
                    "median counts")  # fmt: skip
    report.table = json.loads(machine.run(
        f"bench_xen table --domid {domu.domid} --domain {domu.uuid} "
        f"--authority-key /root/authority.key --lists {LISTS} {searched}",
        600,
    ))  # fmt: skip
    report.show(rendered(report.table))
    counts = {row["processes"] for row in report.table}
    report.outcome(
        len(report.table) == 5 and min(counts) >= 166 and max(counts) - min(counts) <= 2,
        "five methods list the same domU; under TCG, so it is the counts that carry over, and of "
        "the times no more than their order",
        report.table,
    )


def rendered(table):
    columns = f"{'process list by':<38}{'ms':>10}{'processes':>11}{'hypercalls':>12}{'OCALLs':>8}"
    lines = [f"{row['method']:<38}{row['ms']:>10.2f}{row['processes']:>11}{row['hypercalls']:>12}"
             f"{row['ocalls']:>8}" for row in table]  # fmt: skip
    return "\n".join([columns, *lines])


class Recorder(Report):
    """What people see, kept for programs."""

    def __init__(self):
        super().__init__()
        self.lines = []
        self.table = []

    def outcome(self, held, text, otherwise=""):
        self.lines.append({"held": bool(held), "text": text})
        return super().outcome(held, text, otherwise)


def tell_story(directory, options, report):
    """Parts 1 to 4, and 5 of the test."""
    with contextlib.ExitStack() as stack:
        run = Run(stack, directory, options, report)
        try:
            run.all()
        except Trouble as trouble:
            report.outcome(False, str(trouble))
        if report.failures and hasattr(run, "machine"):
            run.machine.keep_log()
            for parties in run.parties.values():
                with contextlib.suppress(Trouble):
                    if "sgmonitord" in parties.running:
                        report.show(parties.running["sgmonitord"].last_words())


def run_once(options):
    report = Recorder()
    directory = Path(tempfile.mkdtemp(prefix="sgmonitor-xen-suite-"))
    try:
        if options.what == "demo":
            tell_story(directory, options, report)
            with contextlib.ExitStack() as stack:
                try:
                    show_table(stack, directory, options, report, 5)
                except Trouble as trouble:
                    report.outcome(False, str(trouble))
        else:
            images = {False: options.image, True: TEST_IMAGE}
            attacks = compile_attacks(directory)
            with boots.Boots(images, attacks, options.dom0) as others:
                tell_story(directory, options, report)
                report.step(6, "Where SGmonitor must stay off, and dom0's registers where it is on")
                others.tell(report)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    if report.failures:
        print(f"\n{report.failures} lines did not hold ({report.seconds():.0f} s)", flush=True)
    else:
        print(painted(1, f"\nEvery line held ({report.seconds():.0f} s)."), flush=True)
    if report.skipped:
        print(f"{len(report.skipped)} could not be tried on this machine (SKIP above).", flush=True)
    return report


def main():
    parser = argparse.ArgumentParser(prog="./dev xen", description=__doc__.split("\n\n")[0])
    parser.add_argument("what", choices=("demo", "test"))
    parser.add_argument("--dom0", choices=CPU, default="pv")
    parser.add_argument("--runs", type=int, default=1, help="how often; all must pass")
    parser.add_argument("--json", action="store_true",
                        help="on stdout, what came of each line; what people read is on stderr")
    parser.add_argument("--image", default=IMAGE, help="Xen's image")
    options = parser.parse_args()
    for image, command in (options.image, "build"), (TEST_IMAGE, "build --test-build"):
        if not Path(image).exists():
            raise Missing(f"{image} is not there: run ./dev xen {command}")
    runs = []
    with contextlib.redirect_stdout(sys.stderr if options.json else sys.stdout):
        for number in range(1, options.runs + 1):
            if options.runs > 1:
                print(f"\n=== run {number} of {options.runs}", flush=True)
            runs.append(run_once(options))
        passed = sum(run.failures == 0 for run in runs)
        if options.runs > 1:
            print(f"\n{passed} of {options.runs} runs passed", flush=True)
    if options.json:
        print(json.dumps([{"what": options.what, "dom0": options.dom0, "held": run.failures == 0,
                           "lines": run.lines, "table": run.table} for run in runs]))  # fmt: skip
    if passed != options.runs:
        raise Trouble(f"{options.runs - passed} of {options.runs} runs failed")
    return 0


if __name__ == "__main__":
    main_of(main)
