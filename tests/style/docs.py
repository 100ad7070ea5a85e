#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Documentation that can be checked is checked: each test that ASSURANCE.md names exists, each
relative link in a Markdown file leads somewhere, each top-level directory has its README.md, and
each file has its SPDX line."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEST = re.compile(r"^TEST(?:_F|_P)?\(\s*(\w+)\s*,\s*(\w+)\s*\)", re.MULTILINE)
CLAIMED = re.compile(r"`([A-Z]\w+\.[a-z]\w+)`")
LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)")
SPDX = "SPDX-License-Identifier: "
WITHOUT_COMMENTS = {"LICENSE", "CMakePresets.json"}


def tracked():
    names = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True,
                           capture_output=True, text=True).stdout.split("\n")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def main():
    files = tracked()
    tests = {f"{suite}.{name}" for path in files if path.name.endswith("_test.cpp")
             for suite, name in TEST.findall(path.read_text())}
    trouble = [f"ASSURANCE.md names a test that does not exist: {claim}"
               for claim in CLAIMED.findall((ROOT / "ASSURANCE.md").read_text())
               if claim not in tests]
    for path in files:
        name = path.relative_to(ROOT)
        if path.name not in WITHOUT_COMMENTS and SPDX not in path.read_text()[:400]:
            trouble.append(f"{name} has no SPDX line")
        if path.suffix == ".md":
            trouble += [f"{name} links to {link}, which is not there"
                        for link in LINK.findall(path.read_text())
                        if not (path.parent / link).exists()]
    rooms = {path.relative_to(ROOT).parts[0] for path in files if path.parent != ROOT}
    trouble += [f"{room}/ has no README.md" for room in sorted(rooms)
                if not room.startswith(".") and not (ROOT / room / "README.md").is_file()]
    for line in trouble:
        print(line)
    print(f"{len(tests)} tests, {len(files)} files, {len(trouble)} wrong")
    return 1 if trouble else 0


if __name__ == "__main__":
    sys.exit(main())
