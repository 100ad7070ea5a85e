#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A Debian guest in QEMU whose processes are known: its RAM is a shared file, KASLR is on, and
its own process list can be asked for at any time (tests/vm/init.c).

    guest.py SERIES [DIRECTORY]     boots one and keeps it until Ctrl-C: writes `processes.jsonl`
                                    (the guest's own list), prints where its RAM and QMP lie
                                    (--help tells more)
"""

import argparse
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import kernels
from common import BUILD, CACHE, Trouble, end, main_of, spawn, tail, wait_until

QEMU = os.environ.get("SGM_QEMU", "qemu-system-x86_64")
SHARED_MEMORY = Path(os.environ.get("SGM_SHM", "/dev/shm"))
MEMORY_MIB = 512
BOOT_SECONDS = 90  # 2.5 to 8 s are usual under TCG on two idle cores
PREFIX = "sgmonitor-guest-"


def qemu():
    path = shutil.which(QEMU)
    if path is None:
        raise Trouble(f"{QEMU} is not installed: run ./dev setup")
    return path


def kvm_works(kernel):
    """Whether this very kernel starts under KVM here: a /dev/kvm that exists, opens and hangs
    is common in virtual machines. Tried once for each boot of the machine."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    verdicts = CACHE / "kvm"
    verdict = verdicts / f"{boot}-{kernels.sha256(kernel)[:16]}"
    if verdict.exists():
        return verdict.read_text() == "works\n"
    command = [qemu(), "-accel", "kvm", "-machine", "q35", "-m", "256", "-nodefaults"]
    command += ["-no-reboot", "-display", "none", "-serial", "stdio", "-kernel", kernel]
    command += ["-append", "console=ttyS0 earlyprintk=serial panic=-1"]
    # Without a root file system it panics, and QEMU ends, in about a second. What hangs, hangs
    # before its first line.
    probe = spawn(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        output, _ = probe.communicate(timeout=4)
        works = b"Linux version" in output
    except subprocess.TimeoutExpired:
        works = False
    finally:
        end(probe, grace=0.5)
        probe.stdout.close()
    verdicts.mkdir(parents=True, exist_ok=True)
    for old in verdicts.iterdir():
        if not old.name.startswith(boot):
            old.unlink()
    verdict.write_text("works\n" if works else "hangs\n")
    return works


def remove_leftovers():
    """RAM of guests whose test was killed so hard that it could not clean up."""
    for directory in SHARED_MEMORY.glob(PREFIX + "*"):
        owner = re.match(r"\d+", directory.name.removeprefix(PREFIX))
        if owner and not Path("/proc", owner[0]).exists():
            shutil.rmtree(directory, ignore_errors=True)


class Commands:
    """What the guest's /init does for whoever can send it a command (init.c)."""

    # The guest's own list: dicts of pid, tgid, ppid, uid, state, start_ticks (10 ms since boot)
    # and comm (bytes).
    def processes(self):
        *lines, _count = self.command("list")
        rows = [json.loads(line) for line in lines]
        for row in rows:
            row["comm"] = row["comm"].encode("latin-1")
        return rows

    def start(self, name, uid=0):
        """Starts a process of this name in the guest; returns its pid."""
        return int(self.command(f"start {uid} {name}")[-1])

    def stop(self, name):
        """Ends the processes of this name that start() made; returns how many."""
        return int(self.command(f"stop {name}")[-1])

    def searched(self):
        """Where a search from outside finds VMCOREINFO and the kernel's tables: (start, end),
        guest-physical. The page with the text was taken a moment before that of the note."""
        vmcoreinfo, rodata, _ok = self.command("where")
        note = int(vmcoreinfo.split()[1], 16)
        start, end = (int(number, 16) for number in rodata.split()[1].split("-"))
        return [(max(0, note - (1 << 20)), note + (1 << 20)), (start, end + 1)]


class Guest(Commands):
    """Use as a context manager: on leaving, QEMU and all that it wrote are gone."""

    def __init__(
        self,
        series,
        uuid="00000000-0000-4000-8000-000000000001",
        *,
        initramfs=None,
        append="",
        progress=lambda _line: None,
        boot_seconds=BOOT_SECONDS,
        memory_mib=MEMORY_MIB,
    ):
        self.series = series
        self.uuid = uuid
        self.progress = progress
        self.process = None
        self._commands = None
        self._initramfs = initramfs or BUILD / "vm/initramfs.cpio"
        self._append = append
        self._boot_seconds = boot_seconds
        self._memory_mib = memory_mib

    def __enter__(self):
        path = qemu()
        kernel = kernels.get(self.series, self.progress)
        if not Path(self._initramfs).exists():
            raise Trouble(f"{self._initramfs} is not built: run ./dev build")
        remove_leftovers()
        self._check_room()
        # RAM and sockets of this guest; the name tells whose it is. Only we may look inside.
        self.directory = Path(
            tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=SHARED_MEMORY)
        )
        self.ram = self.directory / "ram"
        self.qmp = self.directory / "qmp"
        self.serial_log = self.directory / "serial.log"
        try:
            self._boot(path, kernel)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self._commands:
            self._commands.close()
            self._commands = None
        if self.process:
            end(self.process, grace=1)
        shutil.rmtree(self.directory, ignore_errors=True)

    def command(self, line, seconds=30):
        """Lines of the answer; the last is what follows `ok`."""
        if self._commands is None:
            self._commands = socket.socket(socket.AF_UNIX)
            self._commands.settimeout(seconds)
            self._commands.connect(str(self.directory / "commands"))
            self._answers = self._commands.makefile("r", encoding="latin-1", newline="\n")
        try:
            self._commands.sendall(line.encode() + b"\n")
            answer = []
            while True:
                text = self._answers.readline()
                if not text:
                    raise Trouble(f"the guest went away during `{line}`")
                answer.append(text.rstrip("\n"))
                if text.startswith("ok "):
                    answer[-1] = text[3:].rstrip("\n")
                    return answer
                if text.startswith("error "):
                    raise Trouble(f"the guest did not do `{line}`: {text[6:].strip()}")
        except TimeoutError as error:
            raise Trouble(f"the guest did not answer `{line}` in {seconds} s") from error

    def _check_room(self):
        try:
            room = shutil.disk_usage(SHARED_MEMORY).free >> 20
        except OSError as error:
            raise Trouble(f"{SHARED_MEMORY} cannot hold the guest's RAM: {error.strerror}") from error
        if room < self._memory_mib:
            raise Trouble(
                f"the guest's RAM needs {self._memory_mib} MiB in {SHARED_MEMORY} and {room} MiB are "
                f"free: enlarge it (mount -o remount,size=1G {SHARED_MEMORY})"
            )

    def _boot(self, path, kernel):
        if kvm_works(kernel):
            self.accelerator = "KVM"
            accelerator = ["-accel", "kvm"]
        else:
            self.accelerator = "TCG"
            accelerator = ["-accel", "tcg,thread=single"]
        self.progress(f"booting {kernels.release(self.series)} ({self.accelerator})")
        command = [path, *accelerator, "-machine", "q35,memory-backend=ram"]
        command += ["-m", self._memory_mib, "-uuid", self.uuid, "-object"]
        command += [
            f"memory-backend-file,id=ram,size={self._memory_mib}M,mem-path={self.ram},share=on"
        ]
        command += ["-nodefaults", "-no-reboot", "-display", "none"]
        command += ["-serial", f"file:{self.serial_log}"]
        command += ["-serial", f"unix:{self.directory}/commands,server=on,wait=off"]
        command += ["-qmp", f"unix:{self.qmp},server=on,wait=off"]
        command += ["-kernel", kernel, "-initrd", self._initramfs]
        command += ["-append", f"console=ttyS0 quiet panic=-1 {self._append}"]
        complaints = self.directory / "qemu.log"
        started = time.monotonic()
        with open(complaints, "wb") as log:
            self.process = spawn(command, stdout=log, stderr=log)

        def booted():
            text = self.serial_log.read_bytes() if self.serial_log.exists() else b""
            if b"READY" in text:
                return "ready"
            return "ended" if self.process.poll() is not None else None

        outcome = wait_until(booted, self._boot_seconds)
        if outcome == "ready":
            self.progress(f"the guest is up after {time.monotonic() - started:.1f} s")
        elif outcome == "ended":
            raise Trouble(
                "the guest did not boot: QEMU ended before the guest was ready; its last words:\n"
                + (tail(self.serial_log) or tail(complaints))
            )
        else:
            raise Trouble(
                f"the guest did not boot within {self._boot_seconds} s; its last words:\n"
                + (tail(self.serial_log) or "    (none)")
            )


def main():
    parser = argparse.ArgumentParser(description="Boots a guest and keeps it until Ctrl-C.")
    parser.add_argument("series", choices=kernels.SUITES)
    parser.add_argument("directory", nargs="?", help="where the guest's own list is written")
    parser.add_argument("--initramfs", help="another than ours")
    parser.add_argument("--boot-seconds", type=int, default=BOOT_SECONDS)
    parser.add_argument("--memory-mib", type=int, default=MEMORY_MIB)
    options = parser.parse_args()
    with Guest(
        options.series,
        initramfs=options.initramfs,
        boot_seconds=options.boot_seconds,
        memory_mib=options.memory_mib,
        progress=lambda line: print(line, file=sys.stderr),
    ) as guest:
        directory = Path(options.directory or guest.directory)
        truth = directory / "processes.jsonl"
        directory.mkdir(parents=True, exist_ok=True)
        with open(truth, "w", encoding="utf-8") as file:
            for row in guest.processes():
                row["comm"] = row["comm"].decode("latin-1")
                file.write(json.dumps(row) + "\n")
        for name, value in (
            ("ram", guest.ram),
            ("qmp", guest.qmp),
            ("serial", guest.serial_log),
            ("processes", truth),
        ):
            print(f"{name}: {value}", flush=True)
        guest.process.wait()
    return 0


if __name__ == "__main__":
    main_of(main)
