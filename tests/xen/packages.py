#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Debian's Xen, its tools and the kernel for dom0: downloaded by apt, unpacked, never installed.

    packages.py     fetches what is missing, prints where it lies
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "vm"))

from common import CACHE, Missing, Trouble, main_of
from kernels import MIRROR, SUITES, PrivateApt, field, sha256

XEN = "4.17"
# Package -> which of its files are unpacked (tar's patterns; none: all of them).
PACKAGES = {
    f"xen-hypervisor-{XEN}-amd64": [],
    f"xen-utils-{XEN}": ["./usr/lib/xen-*/bin/*"],
    "busybox-static": [],
    "libyajl2": [],
    f"libxenmisc{XEN}": [],
    "libxencall1": [],
    "libxendevicemodel1": [],
    "libxenevtchn1": [],
    "libxenforeignmemory1": [],
    "libxengnttab1": [],
    "libxenhypfs1": [],
    "libxenstore4": [],
    "xenstore-utils": ["./usr/bin/*"],
    "libxentoolcore1": [],
    "libxentoollog1": [],
    "libxen-dev": [],  # headers: for the conventional reading that we compare with
}
# The cloud kernel cannot be dom0 (it has XEN_DOM0=n).
KERNEL = "linux-image-amd64"
MODULES = (
    "xen-privcmd", "xen-evtchn", "xen-gntdev", "xen-gntalloc", "xenfs",
    "e1000",
)  # fmt: skip
RECORD = "record.json"


class Packages:
    """Where the unpacked files are."""

    def __init__(self, directory):
        self.tree = directory / "tree"
        self.record = json.loads((directory / RECORD).read_text())
        self.versions = self.record["versions"]
        self.kernel = self._one("boot/vmlinuz-*")
        self.xen = self._one(f"boot/xen-{XEN}-amd64.gz")
        self.tools = self._one(f"usr/lib/xen-{XEN}/bin")
        self.busybox = self._one("bin/busybox")
        self.xenstore_read = self._one("usr/bin/xenstore-read")

    def module(self, name):
        return self._one(f"lib/modules/*/**/{name}.ko")

    def libraries(self):
        """Directories with shared libraries."""
        return [
            path for path in (self.tree / "usr/lib/x86_64-linux-gnu", self.tree / "lib/x86_64-linux-gnu")
            if path.is_dir()
        ]  # fmt: skip

    def is_whole(self):
        return (
            PACKAGES.keys() <= self.versions.keys()
            and sha256(self.kernel) == self.record["kernel_sha256"]
            and sha256(self.xen) == self.record["xen_sha256"]
        )

    def _one(self, pattern):
        found = next(self.tree.glob(pattern), None)
        if found is None:
            raise Trouble(
                f"{self.tree} has no {pattern}: remove the directory, and it is fetched anew"
            )
        return found


def unpack(deb, tree, patterns):
    archive = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE)
    subprocess.run(
        ["tar", "-x", "-C", tree, "--no-same-owner", "--wildcards", *patterns],
        stdin=archive.stdout,
        check=True,
    )
    archive.stdout.close()
    if archive.wait() != 0:
        raise Trouble(f"{deb.name} cannot be unpacked: is the disk full?")


def fetch(directory, progress):
    progress(f"fetching Debian's Xen {XEN} and a kernel for dom0 from {MIRROR}")
    directory.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="sgmonitor-apt-") as temporary,
        tempfile.TemporaryDirectory(prefix=".new-", dir=directory.parent) as unpacked,
    ):
        apt = PrivateApt(Path(temporary), SUITES["6.1"])
        apt.run("apt-get", "-q", "update")
        unreachable = apt.complaint
        meta = apt.show(KERNEL)
        if not meta:
            raise Missing(f"{MIRROR} has no {KERNEL} now ({unreachable or 'the index is empty'})")
        kernel = field(meta, "Depends").split(" ")[0]
        wanted = PACKAGES | {
            kernel: ["./boot/vmlinuz-*", *(f"./lib/modules/*/{name}.ko" for name in MODULES)]
        }
        tree = Path(unpacked) / "tree"
        tree.mkdir()
        versions = {}
        for package, patterns in wanted.items():
            deb, stanza = apt.download(package)
            versions[package] = field(stanza, "Version")
            unpack(deb, tree, patterns)
            deb.unlink()
        record = {
            "versions": versions,
            "kernel_sha256": sha256(next(tree.glob("boot/vmlinuz-*"))),
            "xen_sha256": sha256(next(tree.glob(f"boot/xen-{XEN}-amd64.gz"))),
        }
        (Path(unpacked) / RECORD).write_text(json.dumps(record, indent=2) + "\n")
        os.chmod(unpacked, 0o755)
        shutil.rmtree(directory, ignore_errors=True)
        # Whoever else fetched them meanwhile has the same.
        if not directory.exists():
            os.rename(unpacked, directory)
            Path(unpacked).mkdir()  # what the context manager removes


def cached(directory):
    try:
        packages = Packages(directory)
        return packages if packages.is_whole() else None
    except (OSError, ValueError, KeyError, Trouble):
        return None


def get(progress=lambda _line: None):
    """The unpacked packages, from the cache or the mirror."""
    directory = CACHE / f"xen-{XEN}"
    packages = cached(directory)
    if packages is None:
        fetch(directory, progress)
        packages = cached(directory)
        if packages is None:
            raise Trouble(f"{directory} cannot be written: is the disk full?")
    return packages


def main():
    packages = get(progress=lambda line: print(line, file=sys.stderr))
    for name, version in packages.versions.items():
        print(f"{name} {version}")
    print(packages.tree)
    return 0


if __name__ == "__main__":
    main_of(main)
