#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs the libFuzzer targets of build/fuzz, each for so many seconds, as many at a time as there
are processors. What a target has learnt stays in build/fuzz/corpus/TARGET and is where the next run
begins; what broke it stays in build/fuzz/crashers.

Usage: run.py [SECONDS] [TARGET ...]      60 seconds and all targets otherwise"""

import argparse
import concurrent.futures
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "fuzz"
CRASHERS = BUILD / "crashers"
MEMORY_MIB = 2048
SECONDS_FOR_ONE_INPUT = 20

STATUS = re.compile(r"^#\d+\s+\w+\s+cov: (\d+) ft: \d+ corp: (\d+)", re.MULTILINE)
RUNS = re.compile(r"stat::number_of_executed_units:\s+(\d+)")
CRASHER = re.compile(r"Test unit written to (\S+)")


def targets():
    return {path.name.removeprefix("fuzz_"): path for path in sorted(BUILD.glob("bin/fuzz_*"))}


class Progress:
    """One line that is rewritten, on a terminal only."""

    def __init__(self, total):
        self.total, self.started = total, time.monotonic()
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.show)

    def show(self):
        while not self.stopped.wait(1):
            done = min(time.monotonic() - self.started, self.total)
            print(f"\r{done:.0f} of about {self.total:.0f} s ", end="", file=sys.stderr, flush=True)

    def __enter__(self):
        if sys.stderr.isatty():
            self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        if self.thread.is_alive():
            self.thread.join()
            print("\r" + " " * 30 + "\r", end="", file=sys.stderr)


def fuzz(name, program, seconds):
    """A line of the table, and whether nothing broke."""
    seeds, corpus = BUILD / "seeds" / name, BUILD / "corpus" / name
    log = BUILD / "logs" / f"{name}.log"
    for directory in (corpus, CRASHERS, log.parent):
        directory.mkdir(parents=True, exist_ok=True)
    subprocess.run([program, f"--write-seeds={seeds}"], check=True)
    # Corpora first: what is found goes into the first directory.
    begin = [corpus, seeds, *(path for path in [ROOT / "fuzz" / "seeds" / name] if path.is_dir())]
    with log.open("w") as output:
        status = subprocess.run(
            [program, f"-max_total_time={seconds}", f"-timeout={SECONDS_FOR_ONE_INPUT}",
             f"-rss_limit_mb={MEMORY_MIB}", "-print_final_stats=1", "-use_value_profile=1",
             f"-artifact_prefix={CRASHERS}/{name}-", *begin],
            stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, check=False,
            env={**os.environ, "UBSAN_OPTIONS": "print_stacktrace=1"}).returncode
    text = log.read_text(errors="replace")
    runs = RUNS.search(text)
    coverage, corpus_size = (STATUS.findall(text) or [("-", "-")])[-1]
    line = (f"{name:14} {int(runs.group(1)) if runs else 0:>12,} {coverage:>9} {corpus_size:>7}  ")
    if status == 0:
        return line + "nothing broke", True
    crasher = CRASHER.search(text)
    if not crasher:
        return line + f"FAILED with status {status}: see {log}", False
    return line + f"BROKE, see {log}; again with:\n    {program} {crasher.group(1)}", False


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("arguments", nargs="*", metavar="SECONDS | TARGET")
    arguments = parser.parse_args().arguments
    seconds = int(arguments.pop(0)) if arguments and arguments[0].isdigit() else 60
    known = targets()
    unknown = [name for name in arguments if name not in known]
    if unknown or not known or seconds < 1:
        print(f"error: no target {', '.join(unknown) or 'is built'}: "
              f"there are {', '.join(known) or 'none'}", file=sys.stderr)
        return 2
    chosen = {name: known[name] for name in arguments or known}
    jobs = os.cpu_count() or 1
    sound = True
    print(f"{len(chosen)} targets, {seconds} s each, {jobs} at a time\n")
    print(f"{'target':14} {'inputs run':>12} {'coverage':>9} {'corpus':>7}  result")
    with Progress(seconds * -(-len(chosen) // jobs)), \
            concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        running = [pool.submit(fuzz, name, path, seconds) for name, path in chosen.items()]
        for done in concurrent.futures.as_completed(running):
            line, intact = done.result()
            sound = sound and intact
            print(line, flush=True)
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
