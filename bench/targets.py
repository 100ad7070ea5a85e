# SPDX-License-Identifier: MIT
"""What is aimed at, and whether a run reached it. Ratios are of values of one round. One rule for
all: the value is a median, and the outcome is what its 95 % confidence interval says."""

import math

# The number of processes of the original experiment.
ORIGINAL = 166


def _rows(measurements, name, kind):
    for measurement in measurements:
        if measurement["name"] == name:
            yield from measurement[kind]


def _ratio(measurements, name, cycles):
    rows = [row for row in _rows(measurements, "list", "ratios")
            if row["name"] == name and row["params"].get("transition_cycles") == cycles]  # fmt: skip
    return min(rows, key=lambda row: abs(row["params"].get("processes", 0) - ORIGINAL), default=None)


def _result(measurements, measurement, name, **params):
    for row in _rows(measurements, measurement, "results"):
        if row["name"] == name and params.items() <= row["params"].items():
            return row
    return None


def _exponent(measurements, method):
    """How the time grows from 1,000 to 10,000 processes: 1 is linear."""
    rows = {row["params"]["processes"]: row
            for row in _rows(measurements, "list", "results")
            if row["name"] == method and row["params"].get("transition_cycles") == 0
            and "processes" in row["params"]}  # fmt: skip
    few, many = rows.get(1000), rows.get(10_000)
    if few is None or many is None:
        return None
    return {key: math.log10(many[key] / few[against])
            for key, against in (("median", "median"), ("low", "high"), ("high", "low"))}  # fmt: skip


def _slowdown(measurements, load, rate):
    """Percent of the guest's work that is lost."""
    for row in _rows(measurements, "slowdown", "ratios"):
        if row["params"] == row["params"] | {"load": load, "scans_a_second": rate}:
            return {key: 100 * (1 - row[against])
                    for key, against in (("median", "median"), ("low", "high"), ("high", "low"))}  # fmt: skip
    return None


def _outcome(low, high, limit, relation):
    """Reached or missed by all of the interval; else this run cannot tell."""
    if relation == ">=":
        low, high, limit = -high, -low, -limit
    if high <= limit:
        return "reached"
    return "MISSED" if low > limit else "not told apart from the limit"


def judge(measurements):
    """(what, row, limit, unit, divisor, relation) -> what the table shows."""
    at_most, at_least = "<=", ">="
    every_cycle = 20_000
    checks = [
        ("sealed walk over hand-written walk (f/b)", _ratio(measurements, "f_over_b", 0), 2.8, "", 1, at_most),
        ("sealed walk over unprotected by field (f/a)", _ratio(measurements, "f_over_a", 0), 1.0, "", 1, at_most),
        ("sealed over unsealed walk (f/e)", _ratio(measurements, "f_over_e", 0), 1.1, "", 1, at_most),
        ("f/a with 20,000 cycles a transition", _ratio(measurements, "f_over_a", every_cycle), 1.5, "", 1, at_most),
        ("attach, 2 GiB guest", _result(measurements, "attach", "attach, all of it", guest="2 GiB"), 250, "ms", 1e6, at_most),
        ("attach, 2 GiB guest that uses all of it", _result(measurements, "attach", "attach, all of it", guest="2 GiB, all used"), 250, "ms", 1e6, at_most),
        ("register and attach in an enclave, 2 GiB", _result(measurements, "attach", "register and attach, in an enclave", guest="2 GiB"), 250, "ms", 1e6, at_most),
        ("whole scan with all checks", _result(measurements, "scan", "whole scan"), 5, "ms", 1e6, at_most),
        ("VMs that one core carries at 1 scan/s", _result(measurements, "share", "VMs a core carries", scans_a_second=1), 200, "VMs", 1, at_least),
        ("the same, of many listed at once", _result(measurements, "share", "VMs a core carries", lists_a_second=1), 200, "VMs", 1, at_least),
        ("guest's CPU load slowed at 1 scan/s", _slowdown(measurements, "cpu", 1), 0.5, "%", 1, at_most),
        ("guest's fork load slowed at 1 scan/s", _slowdown(measurements, "fork", 1), 0.5, "%", 1, at_most),
        ("growth from 1,000 to 10,000 processes (f)", _exponent(measurements, "f"), 1.1, "exponent", 1, at_most),
    ]  # fmt: skip
    judged = []
    for what, row, limit, unit, divisor, relation in checks:
        if row is None:
            judged.append({"target": what, "value": None, "low": None, "high": None, "limit": limit,
                           "unit": unit, "relation": relation, "outcome": "not measured"})  # fmt: skip
            continue
        value, low, high = (row[key] / divisor for key in ("median", "low", "high"))
        judged.append({"target": what, "value": value, "low": low, "high": high, "limit": limit,
                       "unit": unit, "relation": relation,
                       "outcome": _outcome(low, high, limit, relation)})  # fmt: skip
    return judged
