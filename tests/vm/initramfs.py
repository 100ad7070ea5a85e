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


def pack(init):
    return b"".join(
        (
            entry(1, "dev", DIRECTORY),
            entry(2, "dev/console", CHARACTER_DEVICE, device=(5, 1)),
            entry(3, "init", PROGRAM, init),
            entry(0, "TRAILER!!!", 0),
        )
    )


if __name__ == "__main__":
    Path(sys.argv[2]).write_bytes(pack(Path(sys.argv[1]).read_bytes()))
