# SPDX-License-Identifier: MIT
"""What the hostile relay recorded (tests/hostile/capture.hpp): every byte that the host saw."""

import struct
from collections import defaultdict

HEADER = struct.Struct("<IIQ")  # channel, direction, size


def streams(path):
    """(channel, direction) -> all bytes that went there, in order."""
    data = path.read_bytes()
    joined = defaultdict(bytearray)
    at = 0
    while at + HEADER.size <= len(data):
        channel, direction, size = HEADER.unpack_from(data, at)
        at += HEADER.size
        joined[channel, direction] += data[at : at + size]
        at += size
    return joined


def found(relayed, words):
    """Which of these byte strings occur anywhere in these streams, across the borders of single
    messages too."""
    return [word for word in words if any(word in stream for stream in relayed.values())]
