# SPDX-License-Identifier: MIT
"""Makes a guest's kernel one without BTF: its type information is blotted out in the guest's RAM,
as if it had been built without. The kernel itself does not read it while nobody traces."""

import os
import struct

# struct btf_header (include/uapi/linux/btf.h): magic, version 1, no flags, header of 24 bytes.
HEADER = struct.Struct("<HBBIIIII")
BEGINNING = struct.pack("<HBBI", 0xEB9F, 1, 0, 24)
SMALLEST_KERNEL = 1 << 20  # BTF of modules and programs is smaller than that


def remove(ram):
    """Returns how many were removed."""
    removed = 0
    with open(ram, "r+b", buffering=0) as file:
        for start, end in _populated(file):
            data = os.pread(file.fileno(), end - start, start)
            at = data.find(BEGINNING)
            while at >= 0:
                if at + HEADER.size <= len(data):
                    *_, strings_offset, strings_size = HEADER.unpack_from(data, at)
                    if SMALLEST_KERNEL < strings_offset + strings_size < len(data):
                        os.pwrite(file.fileno(), bytes(HEADER.size), start + at)
                        removed += 1
                at = data.find(BEGINNING, at + 1)
    return removed


def _populated(file):
    """The parts of the file that hold data: reading must not make the holes any smaller."""
    end = 0
    size = os.fstat(file.fileno()).st_size
    while end < size:
        try:
            start = os.lseek(file.fileno(), end, os.SEEK_DATA)
        except OSError:
            return  # nothing but holes from here on
        end = os.lseek(file.fileno(), start, os.SEEK_HOLE)
        yield start, end
