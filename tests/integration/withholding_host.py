#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A host that passes nothing on is noticed, and forgiven when it does."""

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "vm"))

from common import Trouble, main_of
from guest import Guest
from parties import DOMAIN, Parties


def main():
    with (
        Guest("6.1", DOMAIN, progress=lambda line: print(line, flush=True)) as guest,
        tempfile.TemporaryDirectory(prefix="sgmonitor-test-") as directory,
        Parties(directory, guest) as parties,
    ):
        parties.initialise()
        parties.start_all()
        parties.await_watching()
        began = time.monotonic()
        parties.relay("drop")
        if not parties.await_status(lambda now: now["state"] == "dead", seconds=60):
            raise Trouble("the host withheld every heartbeat, and the owner did not notice")
        print(f"nothing was passed on: dead after {time.monotonic() - began:.1f} s")
        alarms = [row for row in parties.remote("alerts") if row["kind"] == "dead"]
        if len(alarms) != 1 or alarms[0]["severity"] != "critical":
            raise Trouble(f"the owner's alarms are {alarms}")
        parties.relay("pass")
        if not parties.await_status(lambda now: now["state"] == "alive", seconds=60):
            raise Trouble("the host passes everything on again, and the IDS did not come back")
        print("everything is passed on again: alive")
        return 0


if __name__ == "__main__":
    main_of(main)
