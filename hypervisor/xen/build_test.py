#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""build.py: when a build that is kept will not do, and what makes two builds the same. The mirror is
a fake; nothing is built."""

import contextlib
import io
import json
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent))

import build

SODIUM = f"{build.apply.SODIUM_VERSION}-1"


class Mirror:
    """Names the versions of xen in `listed`, has those in `there`; no source of `gone`."""

    complaint = "404 Not Found"

    def __init__(self, directory, listed, there, gone=()):
        self.directory = directory
        self.listed = {"xen": listed, "libsodium": [SODIUM]}
        self.there = {*there, SODIUM}
        self.gone = gone

    def run(self, *command):
        if command[:2] == ("apt-cache", "showsrc"):
            name = command[2]
            return "" if name in self.gone else "".join(f"Version: {v}\n" for v in self.listed[name])
        name, version = command[-1].split("=")
        if version not in self.there:
            return None
        (self.directory / f"{name}_{version}.dsc").touch()
        return ""


class Outdated(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory(prefix="sgmonitor-build-test-")
        self.addCleanup(temporary.cleanup)
        self.directory = Path(temporary.name)
        record = {"xen": "4.17.5+72-g0-1", "libsodium": SODIUM}
        (self.directory / "record.json").write_text(json.dumps(record))
        self.said = io.StringIO()

    def is_outdated(self, **mirror):
        with contextlib.redirect_stderr(self.said):
            return build.is_outdated(self.directory, Mirror(self.directory, **mirror))

    def test_a_newer_source_makes_it_old(self):
        self.assertTrue(self.is_outdated(listed=["4.17.5+72-g0-1", "4.17.10-1"], there=["4.17.10-1"]))

    def test_the_same_source_does_not(self):
        self.assertFalse(self.is_outdated(listed=["4.17.5+72-g0-1"], there=["4.17.5+72-g0-1"]))

    def test_a_newer_source_that_is_only_named_does_not_and_is_told(self):
        self.assertFalse(
            self.is_outdated(listed=["4.17.5+72-g0-1", "4.17.7-1"], there=["4.17.5+72-g0-1"]))
        self.assertIn("4.17.7-1 but does not have it", self.said.getvalue())

    def test_another_branch_of_xen_does_not(self):
        self.assertFalse(
            self.is_outdated(listed=["4.17.5+72-g0-1", "4.20.0-1"], there=["4.20.0-1"]))

    def test_a_mirror_that_cannot_be_asked_does_not_and_is_told(self):
        self.assertFalse(self.is_outdated(listed=[], there=[], gone=["xen"]))
        self.assertIn("is not known", self.said.getvalue())


class Get(unittest.TestCase):
    def get(self, **options):
        """How often it was built."""
        with (
            tempfile.TemporaryDirectory(prefix="sgmonitor-build-test-") as directory,
            mock.patch.object(build, "KEPT", Path(directory)),
            mock.patch.object(build, "is_whole", return_value=True),
            mock.patch.object(build, "is_outdated", return_value=True),
            mock.patch.object(build, "apt_for_sources"),
            mock.patch.object(build, "build") as built,
        ):
            build.get(**options)
            return built.call_count

    def test_an_old_build_is_made_anew_for_who_wants_the_newest(self):
        self.assertEqual(self.get(newest=True), 1)

    def test_and_will_do_for_tests(self):
        self.assertEqual(self.get(newest=False), 0)


class Broken(unittest.TestCase):
    """The tree of Xen is a makefile here."""

    def build(self, makefile):
        def unpack(_dsc, to):
            (to / "xen").mkdir(parents=True)
            (to / "xen/Makefile").write_text(makefile)
            for name in build.IMAGES:
                (to / name).write_bytes(LinkTime.image(bytes(4), bytes(4)))

        temporary = tempfile.TemporaryDirectory(prefix="sgmonitor-build-test-")
        self.addCleanup(temporary.cleanup)
        self.kept = Path(temporary.name) / "kept"
        with (
            mock.patch.object(build, "KEPT", Path(temporary.name)),
            mock.patch.object(build, "apt_for_sources"),
            mock.patch.object(build, "fetch_source", return_value=("a.dsc", "4.17.5-1")),
            mock.patch.object(build, "unpack", unpack),
            mock.patch.object(build.apply, "apply"),
            mock.patch.object(build, "configure"),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            build.build(self.kept, 1, test_build=False)

    def test_what_compiles_is_kept(self):
        self.build("all:\n\t@echo '  CC      port.o'\n")
        self.assertTrue(build.is_whole(self.kept))

    def test_what_does_not_compile_fails_says_where_and_is_not_kept(self):
        with self.assertRaises(build.Trouble) as raised:
            self.build("all:\n\t@echo 'common/sgm/port.cpp:7:2: error: #error no' >&2; exit 1\n")
        self.assertIn("port.cpp:7:2: error: #error no", str(raised.exception))
        self.assertFalse(self.kept.exists())


class LinkTime(unittest.TestCase):
    @staticmethod
    def image(time_stamp, checksum):
        image = bytearray(512)
        image[0x3C:0x40] = (128).to_bytes(4, "little")
        image[128:132] = b"PE\0\0"
        image[136:140] = time_stamp
        image[216:220] = checksum
        return bytes(image)

    def test_images_linked_at_other_times_become_the_same(self):
        first, second = self.image(b"\1\2\3\4", b"aaaa"), self.image(b"\5\6\7\0", b"bbbb")
        self.assertEqual(build.without_link_time(first), build.without_link_time(second))
        self.assertEqual(build.without_link_time(first), self.image(bytes(4), bytes(4)))

    def test_what_is_no_pe_image_is_refused(self):
        with self.assertRaises(build.Trouble):
            build.without_link_time(bytes(512))


if __name__ == "__main__":
    unittest.main()
