# SPDX-License-Identifier: MIT
"""Whether the owner's process list is the guest's own."""

import re

FIELDS = ("pid", "tgid", "ppid", "uid", "comm")
TICK_NS = 10_000_000  # /proc counts start times in hundredths of a second


def unescaped(text):
    """The bytes behind what `sgmonitor` prints: it shows what could mislead as \\xNN."""
    return re.sub(
        rb"\\x([0-9a-f]{2})", lambda match: bytes([int(match[1], 16)]), text.encode()
    )


def rows_of(answer):
    """The rows of `sgmonitor remote ps --json`, with comm as bytes."""
    return [{**row, "comm": unescaped(row["comm"])} for row in answer]


def differences(seen, before, after):
    """What the owner saw, against the guest's own list from just before and just after. A kernel
    thread may come, go or change its state in between: it must then agree with one of the two.
    Returns sentences; none means all equal."""
    told = []
    by_pid = {row["pid"]: row for row in seen}
    if len(by_pid) != len(seen):
        told.append("a pid is listed twice")
    lists = [{row["pid"]: row for row in rows} for rows in (before, after)]
    for pid in sorted(set(by_pid) | set(lists[0]) & set(lists[1])):
        truths = [rows[pid] for rows in lists if pid in rows]
        if not truths:
            told.append(f"pid {pid} ({by_pid[pid]['comm']!r}) is not in the guest's own list")
        elif pid not in by_pid:
            told.append(f"pid {pid} ({truths[0]['comm']!r}) is missing")
        elif all(_row_difference(by_pid[pid], truth) for truth in truths):
            told.append(f"pid {pid}: " + _row_difference(by_pid[pid], truths[-1]))
    return told


def _row_difference(seen, truth):
    for field in FIELDS:
        if seen[field] != truth[field]:
            return f"{field} is {seen[field]!r}, the guest says {truth[field]!r}"
    # The guest's /init saw itself running; when nobody asks, it waits for a command.
    states = ("R", "S") if truth["pid"] == 1 else (truth["state"],)
    if seen["state"] not in states:
        return f"state is {seen['state']}, the guest says {truth['state']}"
    if abs(seen["start_time_ns"] // TICK_NS - truth["start_ticks"]) > 1:
        return f"start time is {seen['start_time_ns']} ns, the guest says {truth['start_ticks']}/100 s"
    return ""
