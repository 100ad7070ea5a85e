# SPDX-License-Identifier: MIT
"""One picture of a run, as SVG and PNG, drawn by gnuplot."""

import shutil
import subprocess

from common import Trouble

METHODS = {
    "a": "a  unprotected, field by field",
    "b": "b  unprotected, by hand",
    "c": "c  enclave, field by field",
    "d": "d  the same, sealed (the original)",
    "e": "e  enclave, one walk",
    "f": "f  the same, sealed (the product)",
}
TERMINALS = {
    "svg": "svg size 1280,900 enhanced font 'sans,14' background 'white'",
    "png": "pngcairo size 1280,900 enhanced font 'sans,12'",
}


def quoted(text):
    return '"' + str(text).replace('"', "'").replace("_", " ") + '"'


class Panel:
    """A part of the picture: its commands, and its data in here-documents before them."""

    def __init__(self, title):
        self.data = []
        self.commands = [f"set title {quoted(title)}"]

    def block(self, name, rows):
        self.data += [f"${name} << EOD", *(" ".join(map(str, row)) for row in rows), "EOD"]


def rows_of(results, name, kind="results"):
    for measurement in results["measurements"]:
        if measurement["name"] == name:
            yield from measurement[kind]


def lists_panel(results):
    points = {}
    for row in rows_of(results, "list"):
        if row["name"] in METHODS and row["params"].get("transition_cycles") == 0 and "processes" in row["params"]:
            points.setdefault(row["name"], []).append(
                (row["params"]["processes"], *(row[key] / 1e3 for key in ("median", "p5", "p95"))))  # fmt: skip
    if not points:
        return None
    panel = Panel("The process list, by number of processes")
    panel.commands += ["set logscale xy", "set xlabel 'processes'", "set ylabel 'us for one list'",
                       "set key top left Left reverse font ',9'", "set grid"]  # fmt: skip
    plots = []
    for name, values in sorted(points.items()):
        panel.block(f"list_{name}", sorted(values))
        plots.append(f"$list_{name} using 1:2:3:4 with yerrorlines lw 2 title {quoted(METHODS[name])}")
    panel.commands.append("plot " + ", ".join(plots))
    return panel


def attach_panel(results):
    stages, guests = [], {}
    for row in rows_of(results, "attach"):
        if row["name"] in ("attach, all of it", "register and attach, in an enclave"):
            continue
        if row["name"] not in stages:
            stages.append(row["name"])
        guests.setdefault(row["params"]["guest"], {})[row["name"]] = row["median"] / 1e6
    if not guests:
        return None
    panel = Panel("From nothing to the first list")
    panel.block("attach", [["guest", *(quoted(stage) for stage in stages)]] + [
        [quoted(guest), *(values.get(stage, 0) for stage in stages)] for guest, values in guests.items()])  # fmt: skip
    panel.commands += ["set style data histograms", "set style histogram rowstacked",
                       "set style fill solid 0.8", "set boxwidth 0.6", "set ylabel 'ms'",
                       "set yrange [0:*]", "set key outside right font ',9'", "set grid y"]  # fmt: skip
    panel.commands.append(
        f"plot for [i=2:{len(stages) + 1}] $attach using i:xtic(1) title columnheader(i)")
    return panel


def slowdown_panel(results):
    rows = list(rows_of(results, "slowdown", "ratios"))
    if not rows:
        return None
    panel = Panel("What the guest loses, with its 95 % confidence interval")
    plots = []
    for beside, load in enumerate(sorted({row["params"]["load"] for row in rows})):
        panel.block(f"slow_{load}", [
            (row["params"]["scans_a_second"] * 1.1**beside,
             *(100 * (1 - row[key]) for key in ("median", "high", "low")))
            for row in rows if row["params"]["load"] == load])  # fmt: skip
        plots.append(f"$slow_{load} using 1:2:3:4 with yerrorbars lw 2 pt 7 title '{load} load'")
    panel.commands += ["set logscale x", "set xrange [0.5:200]", "set xlabel 'scans a second'",
                       "set ylabel '% of its work'", "set key top left Left reverse", "set grid"]  # fmt: skip
    panel.commands.append("plot " + ", ".join(plots) + ", 0.5 with lines dt 2 lc 'gray' title 'aim'")
    return panel


def targets_panel(results):
    """Each value over its limit: left of 1 is reached."""
    rows = [row for row in results["targets"] if row["value"] is not None]
    if not rows:
        return None
    panel = Panel("Value over limit")
    data = []
    for place, row in enumerate(reversed(rows)):
        part = row["value"] / row["limit"]
        if row["relation"] == ">=":
            part = row["limit"] / row["value"] if row["value"] else 10
        data.append((max(part, 0.01), place, quoted(row["target"])))
    panel.block("targets", data)
    panel.commands += ["set logscale x", "set xrange [0.01:10]", f"set yrange [-0.5:{len(rows) - 0.5}]",
                       "set grid x", "unset key", "set ytics font ',9'",
                       "set lmargin 46", "set arrow 1 from 1, graph 0 to 1, graph 1 nohead lw 2 lc 'gray'"]  # fmt: skip
    panel.commands.append("plot $targets using 1:2:ytic(3) with points pt 7 ps 1.2")
    return panel


def draw(results, directory, progress):
    """The files that were drawn."""
    if shutil.which("gnuplot") is None:
        progress("no picture: gnuplot is not installed (./dev bench installs it)")
        return []
    make = (lists_panel, attach_panel, slowdown_panel, targets_panel)
    panels = [panel for panel in (one(results) for one in make) if panel]
    if not panels:
        return []
    drawn = []
    for kind, terminal in TERMINALS.items():
        path = directory / f"picture.{kind}"
        lines = [line for panel in panels for line in panel.data]
        lines += [f"set terminal {terminal}", f"set output '{path}'",
                  f"set multiplot layout 2,2 title {quoted(results['machine']['cpu'] + ', commit ' + results['machine']['commit'])}"]  # fmt: skip
        for panel in panels:
            lines += ["reset", *panel.commands, "unset arrow 1"]
        lines.append("unset multiplot")
        done = subprocess.run(["gnuplot"], input="\n".join(lines) + "\n", capture_output=True,
                              text=True, check=False)  # fmt: skip
        if done.returncode != 0:
            raise Trouble(f"gnuplot did not draw {path}: {done.stderr.strip()[-400:]}")
        drawn.append(path)
    return drawn
