#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""deb.py: what is in the package, and what it does to a machine, looked at with dpkg-deb."""

import gzip
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import deb

REPOSITORY = Path(__file__).resolve().parents[2]
RECORD = {"xen": "4.17.5+72-g01140da4e8-1", "libsodium": "1.0.18-1+deb12u1"}


class Package(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory(prefix="sgmonitor-deb-test-")
        self.addCleanup(temporary.cleanup)
        self.directory = Path(temporary.name)
        (self.directory / "image").write_bytes(b"a hypervisor" * 1000)
        self.deb = self.make("first")

    def make(self, name):
        (self.directory / name).mkdir()
        return deb.make(self.directory / "image", RECORD, self.directory / name, REPOSITORY)

    def dpkg_deb(self, *arguments):
        return subprocess.run(["dpkg-deb", *arguments], capture_output=True, text=True, check=True).stdout

    def unpacked(self):
        root = self.directory / "unpacked"
        if not root.exists():
            subprocess.run(["dpkg-deb", "--raw-extract", self.deb, root], check=True)
        return root

    def run_script(self, name, *arguments):
        """A maintainer script where update-grub is a program that says so."""
        programs = self.directory / "bin"
        programs.mkdir(exist_ok=True)
        (programs / "update-grub").write_text("#!/bin/sh\necho called\n")
        (programs / "update-grub").chmod(0o755)
        text = (self.unpacked() / "DEBIAN" / name).read_text()
        text = text.replace("/boot/grub", str(self.directory)).replace("/sys/hypervisor", "/nowhere")
        return subprocess.run(["sh", "-s", *arguments], input=text, capture_output=True, text=True,
                              check=True, env={"PATH": f"{programs}:/bin:/usr/bin"}).stdout  # fmt: skip

    def test_the_image_is_where_grub_looks_and_is_what_was_built(self):
        image = self.unpacked() / "boot/xen-4.17-sgmonitor-amd64.gz"
        self.assertEqual(gzip.decompress(image.read_bytes()), b"a hypervisor" * 1000)

    def test_no_file_of_debians_own_packages_is_in_it(self):
        root = self.unpacked()
        paths = [str(path.relative_to(root)) for path in root.rglob("*")
                 if path.is_file() and path.parent.name != "DEBIAN"]  # fmt: skip
        self.assertEqual(len(paths), 5)
        self.assertTrue(all("sgmonitor" in path for path in paths), paths)

    def test_everything_belongs_to_root_and_nobody_else_may_write(self):
        for line in self.dpkg_deb("--contents", self.deb).splitlines():
            self.assertRegex(line, r"^(drwxr-xr-x|-rw-r--r--) root/root ")

    def test_control_names_version_and_architecture(self):
        field = self.dpkg_deb("--field", self.deb, "Package", "Version", "Architecture")
        self.assertIn("xen-hypervisor-4.17-sgmonitor-amd64", field)
        self.assertIn("4.17.5+72-g01140da4e8-1+sgmonitor", field)
        self.assertIn("amd64", field)

    def test_a_later_xen_of_debian_is_a_later_package(self):
        mine = self.dpkg_deb("--field", self.deb, "Version").strip()
        later = mine.replace("4.17.5+72-g01140da4e8-1", "4.17.7+13-g2445b30a44-0+deb12u1")
        subprocess.run(["dpkg", "--compare-versions", mine, "lt", later], check=True)

    def test_settings_are_an_administrators_to_change_and_do_nothing_as_they_come(self):
        root = self.unpacked()
        self.assertEqual((root / "DEBIAN/conffiles").read_text(), f"/{deb.SETTINGS}\n")
        lines = (root / deb.SETTINGS).read_text().splitlines()
        self.assertTrue(all(line.startswith("#") for line in lines))

    def test_settings_without_their_hash_add_to_what_xen_cfg_says(self):
        text = (self.unpacked() / deb.SETTINGS).read_text().replace("#GRUB", "GRUB")
        said = subprocess.run(
            ["sh", "-c", f"GRUB_CMDLINE_XEN_DEFAULT=dom0_mem=4G\n{text}\necho $GRUB_CMDLINE_XEN_DEFAULT"],
            capture_output=True, text=True, check=True).stdout  # fmt: skip
        self.assertEqual(
            said, "dom0_mem=4G sgm_authority=HEX iommu=force dom0-iommu=strict scrub-domheap\n"
        )

    def test_grubs_menu_is_made_anew_when_it_comes_and_when_it_goes(self):
        self.assertEqual(self.run_script("postinst", "configure"), "called\n")
        self.assertEqual(self.run_script("postrm", "remove"), "called\n")
        self.assertEqual(self.run_script("postrm", "upgrade"), "")

    def test_checksums_are_those_of_the_files(self):
        root = self.unpacked()
        subprocess.run(["md5sum", "--quiet", "-c", "DEBIAN/md5sums"], cwd=root, check=True)

    def test_the_same_inputs_give_the_same_package(self):
        self.assertEqual(self.make("second").read_bytes(), self.deb.read_bytes())


if __name__ == "__main__":
    unittest.main()
