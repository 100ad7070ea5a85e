#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The main job on one kernel: what the owner's `ps` shows is the guest's own list, field by field.

list_processes.py SERIES
"""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "vm"))

from common import Trouble, main_of
from guest import Guest
from parties import DOMAIN, Parties
from processes import differences, rows_of

# A kernel thread may come or go during a comparison, but not during each of these.
ATTEMPTS = 5


def main():
    series = sys.argv[1]
    with (
        Guest(series, DOMAIN, progress=lambda line: print(line, flush=True)) as guest,
        tempfile.TemporaryDirectory(prefix="sgmonitor-test-") as directory,
        Parties(directory, guest) as parties,
    ):
        parties.initialise()
        parties.start_all()
        parties.await_watching()
        for attempt in range(1, ATTEMPTS + 1):
            before = guest.processes()
            seen = rows_of(parties.remote("ps"))
            after = guest.processes()
            told = differences(seen, before, after)
            if not told:
                print(f"{len(seen)} processes, all equal to the guest's own list")
                return 0
            print(f"attempt {attempt}: {len(told)} differences", *told[:10], sep="\n  ")
        raise Trouble(f"the owner's list is not the guest's on {series}: {told[0]}")


if __name__ == "__main__":
    main_of(main)
