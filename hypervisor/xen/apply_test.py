#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""apply.py on trees made of its own anchors: what it changes, and what it refuses to touch."""

import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import apply

MAX_LINES = {"CALL": 6, "PROTECTION": 30}


def make_trees(directory):
    """The least that looks like Xen's and libsodium's source to apply.py."""
    xen, sodium = directory / "xen", directory / "libsodium"
    texts = {}
    for edit in apply.CALL + apply.PROTECTION:
        texts[edit.path] = texts.get(edit.path, "before\n") + edit.anchor + "after\n"
    for path, text in texts.items():
        (xen / "xen" / path).parent.mkdir(parents=True, exist_ok=True)
        (xen / "xen" / path).write_text(text)
    (xen / "xen/Makefile").write_text("export XEN_VERSION       = 4\nexport XEN_SUBVERSION    = 17\n")
    version = sodium / "src/libsodium/include/sodium/version.h.in"
    version.parent.mkdir(parents=True)
    version.write_text("@VERSION@ @SODIUM_LIBRARY_VERSION_MAJOR@\n")
    return xen, sodium


def contents(tree):
    return {path.relative_to(tree): path.read_bytes() for path in tree.rglob("*") if path.is_file()}


class Apply(unittest.TestCase):
    def setUp(self):
        self.temporary = tempfile.TemporaryDirectory(prefix="sgmonitor-apply-")
        self.addCleanup(self.temporary.cleanup)
        self.xen, self.sodium = make_trees(Path(self.temporary.name))

    def refusal(self):
        before = contents(self.xen)
        with self.assertRaises(apply.Refused) as caught:
            apply.apply(self.xen, self.sodium)
        self.assertEqual(contents(self.xen), before, "a refused tree was changed")
        return str(caught.exception)

    def test_few_lines_of_xen_change(self):
        before = contents(self.xen)
        apply.apply(self.xen, self.sodium)
        after = contents(self.xen)
        added = sum(len(after[path].splitlines()) - len(text.splitlines())
                    for path, text in before.items())
        for name, edits in (("CALL", apply.CALL), ("PROTECTION", apply.PROTECTION)):
            lines = sum(edit.new.count("\n") for edit in edits)
            self.assertLessEqual(lines, MAX_LINES[name])
            added -= lines
        self.assertEqual(added, 0)

    def test_twice_is_once(self):
        apply.apply(self.xen, self.sodium)
        once = contents(self.xen)
        apply.apply(self.xen, self.sodium)
        self.assertEqual(contents(self.xen), once)

    def test_a_file_that_is_gone_from_the_project_goes_from_the_tree(self):
        apply.apply(self.xen, self.sodium)
        left = self.xen / apply.SGM / "hypervisor/core/of_yesterday.cpp"
        left.write_text("")
        apply.apply(self.xen, self.sodium)
        self.assertFalse(left.exists())

    def test_each_anchor_must_be_there(self):
        for edit in apply.CALL + apply.PROTECTION:
            with self.subTest(edit.path, anchor=edit.anchor):
                path = self.xen / "xen" / edit.path
                text = path.read_text()
                first = edit.anchor.splitlines()[-1]
                path.write_text(text.replace(first, first + " "))
                self.assertIn(edit.path, self.refusal())
                path.write_text(text)

    def test_an_anchor_that_occurs_twice_is_refused(self):
        path = self.xen / "xen" / apply.CALL[0].path
        path.write_text(path.read_text() + apply.CALL[0].anchor)
        self.assertIn("occurs 2 times", self.refusal())

    def test_a_line_of_ours_in_another_place_is_refused(self):
        path = self.xen / "xen" / apply.CALL[0].path
        path.write_text(apply.CALL[0].new + path.read_text())
        self.assertIn(apply.CALL[0].path, self.refusal())

    def test_another_version_is_refused(self):
        makefile = self.xen / "xen/Makefile"
        makefile.write_text(makefile.read_text().replace("= 17", "= 18"))
        self.assertIn("is not the source of Xen 4.17", self.refusal())

    def test_what_is_no_xen_at_all_is_refused(self):
        (self.xen / "xen/Makefile").unlink()
        self.assertIn("is not Xen's source", self.refusal())

    def test_what_is_no_libsodium_is_refused(self):
        self.sodium = self.xen
        self.assertIn("is not libsodium's source", self.refusal())


if __name__ == "__main__":
    unittest.main()
