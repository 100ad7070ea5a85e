#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs the model to completion with every check in place, then once for each check that can be left
out: there spin must find the attack. Fails when the whole model does not hold, when an attack is
not found, or when README.md cites a line of the source that is not there.

Usage: check.py BUILD_DIR [--attacks]"""

import argparse
import re
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
MODEL = HERE / "session.pml"

# What is left out -> the property that is lost, in the words of the assertion's comment.
BROKEN = {
    "NO_SIGNATURE_CHECK": "only an approved IDS gets a session",
    "NO_MEASUREMENT_CHECK": "only an approved IDS gets a session",
    "NO_BINDING_CHECK": "only an approved IDS gets a session",
    "NO_NONCE_CHECK": "a registration is good once",
    "NO_HYPERVISOR_CHECK": "it is the enrolled hypervisor's",
    "NO_COUNTER_CHECK": "each request is answered once",
    "NO_ANSWER_COUNTER_CHECK": "an answer is for its own request",
    "NO_COUNTER_STEP": "an answer is accepted once",
    "NO_SESSION_KEYS": "an answer is of its own session",
    "NO_DIRECTION": "only the hypervisor answers",
    "NO_END_AT_CLOSE": "a closed session never speaks",
    "NO_END_AT_LOSS": "a lost session is not used again",
}
# Not a check but a question: that this "property" is lost shows that the honest parties can do
# their whole work in the model.
REACHABLE = {"HONEST_RUN": "no two IDS ever finish their work"}

ASSERTION = re.compile(r"assert\(.*\);? */\* (.+) \*/$")
CITED = re.compile(r"^\|.*\| \[`[^`]+`\]\(([^)]+)\) \| `(.+)` \|$")


class Failed(Exception):
    pass


def run(command, cwd, timeout=900):
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout)
    if done.returncode != 0:
        raise Failed(f"{' '.join(map(str, command))}: {done.stderr or done.stdout}")
    return done.stdout


def explore(work, macro, breadth_first):
    """States, seconds, and the line of the assertion that failed with the way there."""
    work.mkdir(parents=True, exist_ok=True)
    for trail in work.glob("*.trail"):
        trail.unlink()
    defines = [f"-D{macro}"] if macro else []
    run(["spin", *defines, "-a", MODEL], work)
    run(["gcc", "-O1", "-w", "-DSAFETY", "-DNOFAIR", "-DMEMLIM=4096",
         *(["-DBFS"] if breadth_first else []), "-o", "pan", "pan.c"], work)
    started = time.monotonic()
    report = run(["./pan", "-m10000"], work)
    seconds = time.monotonic() - started
    states = int(re.search(r"(\d+) states, stored", report).group(1))
    if "max search depth too small" in report or "out of memory" in report:
        raise Failed(f"{macro or 'the whole model'}: the search was not complete")
    if "errors: 0" in report:
        return states, seconds, None, []
    trace = run(["spin", *defines, "-t", "-k", work / "session.pml.trail", MODEL], work)
    line = re.search(r"session\.pml:(\d+), Error: assertion violated", trace)
    if not line:
        raise Failed(f"{macro or 'the whole model'}: not an assertion:\n{report}")
    steps = [step.strip() for step in trace.split("\n")
             if re.match(r" +(the |IDS |\.\.\. )", step)]
    return states, seconds, int(line.group(1)), steps


def properties():
    """Line -> property, from the comments at the model's assertions."""
    return {number: found.group(1)
            for number, text in enumerate(MODEL.read_text().split("\n"), 1)
            if (found := ASSERTION.search(text))}


def check_citations():
    """Every line of the source that README.md cites is there, word for word."""
    cited, missing = 0, []
    for line in (HERE / "README.md").read_text().split("\n"):
        found = CITED.match(line)
        if not found:
            continue
        path, code = (HERE / found.group(1)).resolve(), found.group(2).replace("\\|", "|")
        cited += 1
        text = re.sub(r"\s+", " ", path.read_text()) if path.is_file() else ""
        if re.sub(r"\s+", " ", code) not in text:
            missing.append(f"{path.relative_to(ROOT)} has not: {code}")
    if missing or cited == 0:
        raise Failed("README.md cites lines of the source that changed (does the model still "
                     "say what they do?):\n  " + "\n  ".join(missing or ["none at all"]))
    return cited


def report(name, states, seconds, words):
    print(f"{name:26} {states:>10,} {seconds:>6.1f}  {words}", flush=True)


def check(build, attacks):
    known = properties()
    claims = set(known.values()) - set(REACHABLE.values())
    untested = claims - set(BROKEN.values())
    if untested:
        raise Failed(f"nothing breaks these properties: {', '.join(sorted(untested))}")
    print(f"{check_citations()} lines of the source are where README.md says\n")
    print(f"{'left out':26} {'states':>10} {'s':>6}  result")

    states, seconds, line, steps = explore(build / "whole", None, False)
    if line:
        print("\n".join(steps))
        raise Failed(f"with all checks in place: not true that {known.get(line, line)}")
    report("nothing", states, seconds, f"all {len(claims)} properties hold in every state")

    for macro, expected in {**BROKEN, **REACHABLE}.items():
        states, seconds, line, steps = explore(build / macro.lower(), macro, macro in BROKEN)
        lost = known.get(line, line)
        if lost != expected:
            raise Failed(f"{macro}: expected the end of '{expected}', found " +
                         (f"that of '{lost}'" if lost else "nothing"))
        report(macro.lower(), states, seconds,
               f"an attack of {len(steps)} steps on: {lost}" if macro in BROKEN
               else f"the honest parties do all their work, in {len(steps)} steps")
        if attacks:
            print("\n".join(f"    {step}" for step in steps))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("build", type=Path, help="directory for what spin generates")
    parser.add_argument("--attacks", action="store_true", help="print each attack, step by step")
    arguments = parser.parse_args()
    try:
        check(arguments.build.resolve(), arguments.attacks)
    except Failed as failure:
        print(f"error: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
