#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""All measurements in one run, one table and one picture: `./dev bench`. README.md says what each
number means and what bounds it."""

import argparse
import json
import math
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/vm"))

import machine
import measurements
import picture
import targets
from common import REPOSITORY, Trouble, main_of

OUTPUT = REPOSITORY / "build/bench"


def readable(row, *keys):
    """Values of a row in a unit that suits its median, and that unit."""
    divisor, unit = 1, row.get("unit", "")
    if unit == "ns":
        for limit, divisor, unit in ((1e3, 1, "ns"), (1e6, 1e3, "us"), (1e9, 1e6, "ms"), (math.inf, 1e9, "s")):
            if row["median"] < limit:
                break
    digits = 1 if row.get("unit") == "ns" else 3
    return [f"{row[key] / divisor:,.{digits}f}" for key in keys], unit


def with_parameters(row):
    return ", ".join(f"{name} {value}" for name, value in row.get("params", {}).items())


def print_table(rows):
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = [cell.rjust(widths[i]) if 0 < i < 4 else cell.ljust(widths[i])
                 for i, cell in enumerate(row)]  # fmt: skip
        print("  ".join(cells).rstrip())


def show(measurement):
    print(f"\n{measurement['title']}  ({measurement['program']})")
    rows = [("WHAT", "MEDIAN", "P5", "P95", "UNIT", "N", "WITH")]
    for row in measurement["results"] + measurement["ratios"]:
        values, unit = readable(row, "median", "p5", "p95")
        rows.append((row["name"], *values, unit, str(row["n"]), with_parameters(row)))
    print_table(rows)


def show_targets(rows):
    print("\nWhat is aimed at")
    table = [("TARGET", "VALUE", "LOW", "HIGH", "LIMIT", "", "OUTCOME")]
    for row in rows:
        values = [f"{row[key]:.3f}" if row[key] is not None else "-" for key in ("value", "low", "high")]
        table.append((row["target"], *values, f"{row['relation']} {row['limit']:g}", row["unit"],
                      row["outcome"]))  # fmt: skip
    print_table(table)


def compare(old, new):
    """Drift as ratios: new over old, of every number that is in both."""

    def rows_of(results):
        return {(one["name"], row["name"], with_parameters(row)): row
                for one in results["measurements"] for row in one["results"] + one["ratios"]}  # fmt: skip

    before, after = rows_of(old), rows_of(new)
    table = [("WHAT", "NEW/OLD", "OLD", "NEW", "", "WITH")]
    for key in after:
        if key not in before or not before[key]["median"]:
            continue
        was, now = before[key], after[key]
        apart = now["p5"] > was["p95"] or now["p95"] < was["p5"]
        (old_value,), old_unit = readable(was, "median")
        (new_value,), new_unit = readable(now, "median")
        table.append((f"{key[0]}: {key[1]}", f"{now['median'] / was['median']:.2f}",
                      f"{old_value} {old_unit}", f"{new_value} {new_unit}",
                      "beyond p5..p95" if apart else "", key[2]))  # fmt: skip
    print(f"\nDrift since {old['when']}, {old['machine']['commit']}")
    print_table(table)
    if old["machine"]["cpu"] != new["machine"]["cpu"]:
        print(f"The old run was on another processor: {old['machine']['cpu']}")


def load(path):
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Trouble(f"{path} is not the results.json of an earlier run: {error}") from error


def main():
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__)
    parser.add_argument("--quick", action="store_true",
                        help="some seconds, generated guests only: a smoke test, no measurement")
    parser.add_argument("--only", action="append", choices=list(measurements.ALL),
                        help="this measurement, may be repeated (default: all)")
    parser.add_argument("--compare", metavar="OLD.json", help="show drift since that results.json")
    parser.add_argument("--json", action="store_true", help="results on stdout as JSON")
    parser.add_argument("--out", type=Path, default=OUTPUT, help="default: build/bench")
    options = parser.parse_args()
    old = load(options.compare) if options.compare else None

    def progress(line):
        print(line, file=sys.stderr, flush=True)

    results = {
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "quick": options.quick,
        "machine": machine.describe(),
        "measurements": [],
    }
    for name in options.only or measurements.ALL:
        progress(f"measuring: {name}")
        results["measurements"] += measurements.ALL[name](options.quick, progress)
    results["targets"] = targets.judge(results["measurements"])

    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "results.json"
    path.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    if options.json:
        print(json.dumps(results, indent=2))
    else:
        for name, value in results["machine"].items():
            print(f"{name:<12} {value}")
        for measurement in results["measurements"]:
            show(measurement)
        show_targets(results["targets"])
        if options.quick:
            print("\nThis was a smoke test: its numbers mean nothing.")
        if old:
            compare(old, results)
    progress(f"results: {path}")
    for drawn in picture.draw(results, options.out, progress):
        progress(f"picture: {drawn}")
    return 0


if __name__ == "__main__":
    main_of(main)
