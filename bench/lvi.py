#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What fences against load value injection cost (SGM_LVI_HARDENING): one process list by the sealed
request, with an enclave that has them over the same without. Builds both, lets them take turns, and
prints the ratio. Each turn is held against the unprotected list of its own run, which has no enclave
in it, so that load of the machine cancels."""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TREES = {"plain": ROOT / "build/release", "hardened": ROOT / "build/lvi"}
TARGETS = ["bench_list", "bench_costs"]


def build():
    for name, tree in TREES.items():
        if not (tree / "build.ninja").exists():
            subprocess.run(["cmake", "--preset", "release", "-B", tree,
                            f"-DSGM_LVI_HARDENING={'ON' if name == 'hardened' else 'OFF'}"],
                           cwd=ROOT, check=True, stdout=sys.stderr)  # fmt: skip
        subprocess.run(["cmake", "--build", tree, "--target", *TARGETS],
                       check=True, stdout=sys.stderr)  # fmt: skip


def medians(tree, program, *arguments):
    out = subprocess.run([tree / "bin" / program, "--json", *arguments],
                         check=True, stdout=subprocess.PIPE).stdout  # fmt: skip
    report = json.loads(out)
    return {(row["name"], json.dumps(row.get("params", {}))): row["median"]
            for row in report["results"] + report["ratios"]}  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--no-build", action="store_true", help="both trees are up to date")
    arguments = parser.parse_args()
    if not arguments.no_build:
        build()
    ratios = {}
    for turn in range(arguments.turns):
        print(f"turn {turn + 1} of {arguments.turns}", file=sys.stderr, flush=True)
        lists, costs = {}, {}
        for name in sorted(TREES, reverse=turn % 2 == 1):
            lists[name] = medians(TREES[name], "bench_list", "--rounds", "20", "--lists-by-field", "0")
            costs[name] = medians(TREES[name], "bench_costs", "--rounds", "100")
        for key in lists["plain"]:
            if key[0] == "f_over_a":
                ratios.setdefault("sealed list of 166 processes", []).append(
                    lists["hardened"][key] / lists["plain"][key])
        for key, plain in costs["plain"].items():
            parameters = json.loads(key[1])
            if parameters.get("where") == "enclave" and parameters.get("bytes") == 16384:
                ratios.setdefault(f"{key[0]} 16 KiB inside", []).append(costs["hardened"][key] / plain)
            elif key[0] in ("ecall", "ocall"):
                ratios.setdefault(key[0], []).append(costs["hardened"][key] / plain)
    rows = {name: {"median": statistics.median(values), "least": min(values), "most": max(values),
                   "n": len(values)} for name, values in ratios.items()}  # fmt: skip
    if arguments.json:
        print(json.dumps({"hardened_over_plain": rows, "cpu_count": os.cpu_count()}))
        return
    print(f"{'HARDENED OVER PLAIN':32}  MEDIAN  LEAST   MOST  N")
    for name, row in rows.items():
        print(f"{name:32}  {row['median']:6.2f} {row['least']:6.2f} {row['most']:6.2f} {row['n']:2}")


if __name__ == "__main__":
    main()
