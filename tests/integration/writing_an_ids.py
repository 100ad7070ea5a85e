#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""docs/writing-an-ids.md, step by step: a third party's enclave is built from an empty directory,
refused as long as nobody approved it, and then lists the guest's processes for the owner."""

import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "vm"))

import capture
from common import REPOSITORY, Trouble, end, main_of, spawn, tail, wait_until
from guest import Guest
from parties import DOMAIN, Parties
from processes import differences, rows_of

PAGE = REPOSITORY / "docs/writing-an-ids.md"
EXAMPLE = REPOSITORY / "examples/process_list"
BLOCK = re.compile(r"^```(\w+)(?: (\w+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ATTEMPTS = 5  # a kernel thread may come or go during a comparison


class Page:
    """The commands of the page, run in one shell's surroundings, each block by its name."""

    def __init__(self, directory, parties):
        blocks = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
        self.commands = {name: text for language, name, text in blocks if language == "sh"}
        self.excerpts = [(language, text) for language, _, text in blocks if language != "sh"]
        self.directory = directory
        self.begin = f"set -eu\nexport SGMONITOR={REPOSITORY} PARTIES={parties.directory}\n"

    def shell(self, name):
        """The block in bash, after what a reader has typed before: the first block sets the PATH
        and leaves them in their directory."""
        start = self.commands["start"]
        if name != "start":
            start = start.split("\n")[0] + "\ncd my-ids\n"
        return ["bash", "-c", self.begin + start + (self.commands[name] if name != "start" else "")]

    def run(self, name):
        print(f"{name}:", flush=True)
        done = subprocess.run(self.shell(name), cwd=self.directory, capture_output=True, text=True,
                              check=False)  # fmt: skip
        if done.returncode != 0:
            raise Trouble(f"step `{name}` of {PAGE.name} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def check_excerpts(self):
        """What the page shows of the program is in the program."""
        files = {"cpp": "process_list.cpp", "cmake": "CMakeLists.txt"}
        for language, text in self.excerpts:
            source = (EXAMPLE / files[language]).read_text(encoding="utf-8")
            lines = [line.strip() for line in source.split("\n")]
            for line in text.split("\n"):
                if line.strip() not in lines:
                    raise Trouble(f"{PAGE.name} shows `{line}`, which {files[language]} has not")


class Host:
    """The page's `run` step, in the background."""

    def __init__(self, page, directory):
        self.log = Path(directory) / "my-host.log"
        with open(self.log, "wb") as log:
            self.process = spawn(page.shell("run"), cwd=page.directory, stdout=log, stderr=log)

    def await_log(self, text):
        if not wait_until(lambda: text in self.log.read_text(errors="replace"), 20):
            raise Trouble(f"the host never said '{text}':\n" + tail(self.log))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.killpg(self.process.pid, signal.SIGTERM)  # the shell and the host
        end(self.process)


def refused(page, parties, directory):
    with Host(page, directory) as host:
        host.await_log("is not approved")
    if parties.remote("status").get("mrenclave"):
        raise Trouble("the owner heard from an enclave that nobody approved")
    print("  refused: nobody approved it yet")


def asked(page, guest, parties):
    for _attempt in range(ATTEMPTS):
        before = guest.processes()
        seen = rows_of(parties.remote("ps"))
        told = differences(seen, before, guest.processes())
        if not told:
            break
    if told:
        raise Trouble(f"the owner's list is not the guest's: {told[0]}")
    if len(page.run("ask").rstrip("\n").split("\n")) <= len(seen):
        raise Trouble("the owner's table has fewer lines than there are processes")
    print(f"  {len(seen)} processes, all equal to the guest's own list")
    return {row["comm"] for row in before if len(row["comm"]) >= 5}


def main():
    with (
        Guest("6.1", DOMAIN, progress=lambda line: print(line, flush=True)) as guest,
        tempfile.TemporaryDirectory(prefix="sgmonitor-test-") as directory,
        Parties(directory, guest) as parties,
    ):
        parties.initialise()
        parties.path("owner").symlink_to("remote")  # as the documentation calls it
        reader = parties.path("reader")
        reader.mkdir()
        page = Page(reader, parties)
        page.check_excerpts()
        for name in ("start", "build"):
            page.run(name)
        mrenclave = re.search(r"^MRENCLAVE: +(\w+)", page.run("sign"), re.MULTILINE)[1]
        page.run("host")
        for name in ("sgmonitor-hypervisor", "sgmonitor-authority", "sgmonitor-remote"):
            parties.start(name)
        parties.start_relay()
        refused(page, parties, directory)
        page.run("approve")
        parties.running.pop("sgmonitor-authority").stop()
        parties.start("sgmonitor-authority")
        with Host(page, directory) as host:
            host.await_log("registered with the hypervisor")
            if not parties.await_status(lambda now: now.get("mrenclave") == mrenclave):
                raise Trouble("the owner did not hear from the approved enclave")
            names = asked(page, guest, parties)
        parties.relay_stats()
        found = capture.found(capture.streams(parties.capture), names)
        if found:
            raise Trouble(f"the host saw names of processes: {found}")
        print(f"none of {len(names)} names is in what the host carried")
        return 0


if __name__ == "__main__":
    main_of(main)
