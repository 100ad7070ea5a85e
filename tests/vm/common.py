# SPDX-License-Identifier: MIT
"""What all test and demo programs share: trouble told in one sentence, where things lie, and
child processes that never outlive their parent."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("SGM_BUILD", REPOSITORY / "build/release"))
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sgmonitor"

SKIPPED = 77  # exit status that ctest shows as "Skipped"


class Trouble(Exception):
    """One sentence for people: what happened, to what, and what to do next."""


class Missing(Trouble):
    """Something that a test needs and that this machine cannot get now: skipped, not failed."""


def program(name):
    path = BUILD / "bin" / name
    if not path.exists():
        raise Trouble(f"{path} is not built: run ./dev build")
    return path


_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1  # include/uapi/linux/prctl.h


def _die_with_parent():
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def spawn(command, before=None, **options):
    """Popen whose process ends with ours, however ours ends, and gets no terminal's Ctrl-C: we
    end it ourselves, in our order. `before` is called in it, before the command."""

    def prepare():
        _die_with_parent()
        if before:
            before()

    options.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.Popen(
        [str(word) for word in command],
        preexec_fn=prepare,
        process_group=0,
        **options,
    )


def end(process, grace=5):
    """SIGTERM, and SIGKILL for one that does not listen. Returns the exit status."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(grace)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait()


def wait_until(condition, seconds, every=0.02):
    """The first true value of condition(), or its last value when the time is over."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value or time.monotonic() > deadline:
            return value
        time.sleep(every)


def tail(path, lines=15):
    try:
        text = Path(path).read_bytes()[-8192:].decode(errors="replace").replace("\r", "")
    except OSError:
        return ""
    return "\n".join("    | " + line for line in text.splitlines()[-lines:])


def main_of(main):
    """Runs main() as a program: Trouble becomes one sentence and a non-zero exit, Ctrl-C and
    SIGTERM unwind through every `finally`."""

    def on_signal(number, _frame):
        signal.signal(number, signal.SIG_IGN)  # once is enough: the clean-up must not be cut short
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    try:
        sys.exit(main())
    except Missing as missing:
        print(f"skipped: {missing}", file=sys.stderr)
        sys.exit(SKIPPED)
    except Trouble as trouble:
        print(f"error: {trouble}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted: everything that was started is stopped", file=sys.stderr)
        sys.exit(130)
