#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Packs the guest's static /init into an initramfs.

    initramfs.py INIT OUTPUT

Written as newc by hand (kernel Documentation/driver-api/early-userspace/buffer-format.rst): the
one device node in it then needs no root, and the output depends on nothing but INIT.
"""

import sys
from pathlib import Path

DIRECTORY = 0o040755
PROGRAM = 0o100755
CHARACTER_DEVICE = 0o020600


def entry(number, name, mode, data=b"", device=(0, 0)):
    encoded = name.encode() + b"\0"
    numbers = (number, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(encoded), 0)
    header = b"070701" + b"".join(b"%08X" % value for value in numbers) + encoded
    return header + b"\0" * (-len(header) % 4) + data + b"\0" * (-len(data) % 4)


def pack(files):
    """`files`: path, without a leading slash, -> content. All are programs to the guest."""
    directories = {"dev"}
    for name in files:
        directories.update(str(parent) for parent in Path(name).parents[:-1])
    entries = [(name, DIRECTORY, b"", (0, 0)) for name in sorted(directories)]
    entries.append(("dev/console", CHARACTER_DEVICE, b"", (5, 1)))
    entries += [(name, PROGRAM, data, (0, 0)) for name, data in files.items()]
    packed = [entry(number, *each) for number, each in enumerate(entries, 1)]
    return b"".join(packed) + entry(0, "TRAILER!!!", 0)


if __name__ == "__main__":
    Path(sys.argv[2]).write_bytes(pack({"init": Path(sys.argv[1]).read_bytes()}))
