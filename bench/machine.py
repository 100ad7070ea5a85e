# SPDX-License-Identifier: MIT
"""What a run was made on: numbers without this cannot be compared."""

import os
import re
import subprocess
from pathlib import Path

from common import REPOSITORY
from guest import QEMU


def _first_line(*command):
    try:
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    except OSError:
        return "not there"
    return (done.stdout or done.stderr).strip().split("\n")[0]


def _mitigations():
    """Those that are in force or missing; a processor that is not affected needs none."""
    told = []
    for path in sorted(Path("/sys/devices/system/cpu/vulnerabilities").glob("*")):
        state = path.read_text(encoding="utf-8").strip()
        if state != "Not affected":
            told.append(f"{path.name}: {state}")
    return "; ".join(told)


def describe():
    cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8")

    def field(name):
        found = re.search(rf"^{name}\s*: (.*)$", cpuinfo, re.MULTILINE)
        return found[1] if found else "unknown"

    return {
        "cpu": field("model name"),
        "cores": len(os.sched_getaffinity(0)),
        "microcode": field("microcode"),
        "virtualised": "yes" if " hypervisor" in field("flags") else "no",
        "kernel": os.uname().release,
        "mitigations": _mitigations(),
        "qemu": _first_line(QEMU, "--version"),
        "gcc": _first_line("c++", "--version"),
        "commit": _first_line("git", "describe", "--always", "--dirty"),
    }
