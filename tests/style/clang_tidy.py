#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""clang-tidy over this project's own sources, with the flags that gcc compiles them with.

    clang_tidy.py BUILD_DIRECTORY [FILE...]

Each source once: trusted code is compiled for the host and for the enclave, and the host's
variant is looked at. Trusted code gets the static analyzer too, which is too slow for sources
that include the large headers of others. What does not ship (tests, fuzzers, benchmarks) is left to
the compiler and the sanitizers.
"""

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

TIDY = "clang-tidy-19"
# What gcc 12 takes and clang 19 does not.
FOREIGN_FLAGS = ("-fno-tree-loop-distribute-patterns", "-Wstack-usage=")
TRUSTED_ROOMS = ("crypto", "detect", "guest", "hypervisor/core", "ids", "sgx/enclave", "sgx/image")
NOT_SHIPPED = ("bench", "fuzz", "tests")
ANALYZER = "clang-analyzer-core.*,clang-analyzer-cplusplus.*,clang-analyzer-deadcode.*"
# Code of an enclave. An address from outside is a number, and becomes a pointer in one place,
# sgx/enclave/untrusted.cpp, behind its check; the few others carry a NOLINT and the reason.
ENCLAVE_ROOMS = ("crypto", "detect", "examples", "guest", "ids", "sgx/enclave")
NO_RAW_ADDRESSES = "performance-no-int-to-ptr"


def flags_for_clang(command):
    return " ".join(word for word in command.split() if not word.startswith(FOREIGN_FLAGS))


def main():
    if shutil.which(TIDY) is None:
        sys.exit(f"error: {TIDY} is not installed: run ./dev setup")
    build = Path(sys.argv[1]).resolve()
    only = {str(Path(name).resolve()) for name in sys.argv[2:]}
    repository = Path(__file__).resolve().parents[2]

    chosen = {}
    for entry in json.loads((build / "compile_commands.json").read_text()):
        name = entry["file"]
        if not name.startswith(f"{repository}/") or not name.endswith(".cpp"):
            continue
        if name.startswith(f"{build}/") or name.endswith("_test.cpp") or "/testing/" in name:
            continue
        if name.startswith(tuple(f"{repository}/{room}/" for room in NOT_SHIPPED)):
            continue
        if only and name not in only:
            continue
        entry["command"] = flags_for_clang(entry["command"])
        if name not in chosen or "-DSGM_ENCLAVE" not in entry["command"]:
            chosen[name] = entry

    database = build / "tidy"
    database.mkdir(exist_ok=True)
    (database / "compile_commands.json").write_text(json.dumps(list(chosen.values())))

    def check(name):
        room = str(Path(name).parent.relative_to(repository))
        command = [TIDY, "--quiet", "-p", database, name]
        checks = [ANALYZER] if room.startswith(TRUSTED_ROOMS) else []
        if room.startswith(ENCLAVE_ROOMS):
            checks.append(NO_RAW_ADDRESSES)
        if checks:
            command.append("--checks=" + ",".join(checks))
        return name, subprocess.run(command, capture_output=True, text=True, check=False)

    bad = 0
    with ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        for number, (name, done) in enumerate(pool.map(check, chosen), 1):
            print(f"[{number}/{len(chosen)}] {Path(name).relative_to(repository)}", flush=True)
            if done.returncode != 0:
                bad += 1
                print(done.stdout, done.stderr, sep="\n", flush=True)
    if bad:
        sys.exit(f"error: clang-tidy refuses {bad} of {len(chosen)} files (.clang-tidy says why)")


if __name__ == "__main__":
    main()
