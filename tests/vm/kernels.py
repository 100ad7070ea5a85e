#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Debian's cloud kernels for the test guests: downloaded by apt, unpacked, never installed.

apt runs with lists and sources of its own, so the system's are left alone. It checks the
package's SHA-256 against the signed index; that hash and the kernel's own are recorded beside
the kernel, and the kernel is checked against its record whenever it is used. What is in the
cache is not fetched again.

    kernels.py [SERIES...]      fetches what is missing (all: 5.10 6.1 6.12), prints the paths
"""

import getpass
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from common import CACHE, Missing, Trouble, main_of

META_PACKAGE = "linux-image-cloud-amd64"
# Kernel series -> where its newest package is.
SUITES = {
    "5.10": ["debian-security bullseye-security"],
    "6.1": ["debian-security bookworm-security", "debian bookworm"],
    "6.12": ["debian-security trixie-security", "debian trixie"],
}
MIRROR = os.environ.get("SGM_DEBIAN_MIRROR", "http://deb.debian.org")
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


class PrivateApt:
    """apt with its whole state in one directory. kind: `deb`, or `deb-src` for sources."""

    def __init__(self, directory, suites, kind="deb"):
        self.directory = directory
        (directory / "lists/partial").mkdir(parents=True)
        (directory / "archives/partial").mkdir(parents=True)
        sources = directory / "sources.list"
        sources.write_text(
            "".join(
                f"{kind} [signed-by={KEYRING}] {MIRROR}/{suite} main\n" for suite in suites
            )
        )
        self.options = []
        for option in (
            f"Dir::State={directory}",
            f"Dir::State::Lists={directory}/lists",
            "Dir::State::status=/dev/null",
            f"Dir::Etc::SourceList={sources}",
            "Dir::Etc::SourceParts=/dev/null",
            f"Dir::Cache={directory}",
            f"APT::Sandbox::User={getpass.getuser()}",
            "APT::Architecture=amd64",
            "Acquire::Languages=none",
            "Acquire::Retries=3",
        ):
            self.options += ["-o", option]

    def run(self, *command):
        try:
            done = subprocess.run(
                [command[0], *self.options, *command[1:]],
                cwd=self.directory,
                capture_output=True,
                text=True,
                check=False,
            )
        except FileNotFoundError as error:
            raise Missing(f"{command[0]} is not on this machine: Debian is needed") from error
        self.complaint = done.stderr.strip().split("\n")[-1]
        return done.stdout if done.returncode == 0 else None

    def show(self, package):
        """What the index says of its newest version; None when it has none."""
        return self.run("apt-cache", "show", "--no-all-versions", package) or None

    def download(self, package):
        """The package's file, as the signed index describes it, and that description."""
        stanza = self.show(package) or ""
        expected = field(stanza, "SHA256")
        if expected is None or self.run("apt-get", "-q", "download", package) is None:
            raise Missing(f"{MIRROR} does not have {package} ({self.complaint})")
        deb = next(self.directory.glob(f"{package}_*.deb"))
        if sha256(deb) != expected:
            raise Trouble(f"{deb.name} from {MIRROR} does not have the SHA-256 of the index")
        return deb, stanza


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def field(stanza, name):
    for line in stanza.splitlines():
        if line.startswith(name + ": "):
            return line[len(name) + 2 :]
    return None


def cached(series):
    """The kernel of this series in the cache; None when there is none or it is damaged."""
    directory = CACHE / "kernels" / series
    kernel = directory / "vmlinuz"
    try:
        record = json.loads((directory / "record.json").read_text())
        return kernel if sha256(kernel) == record["vmlinuz_sha256"] else None
    except (OSError, ValueError, KeyError):
        return None


def fetch(series):
    with tempfile.TemporaryDirectory(prefix="sgmonitor-apt-") as temporary:
        scratch = Path(temporary)
        apt = PrivateApt(scratch, SUITES[series])
        apt.run("apt-get", "-q", "update")
        unreachable = apt.complaint
        meta = apt.show(META_PACKAGE)
        if not meta:
            raise Missing(
                f"kernel {series}: {MIRROR} has no {META_PACKAGE} of "
                f"{' or '.join(SUITES[series])} now ({unreachable or 'the index is empty'})"
            )
        package = field(meta, "Depends").split(" ")[0]
        deb, stanza = apt.download(package)
        subprocess.run(["dpkg-deb", "-x", deb, scratch / "tree"], check=True)
        kernel = next((scratch / "tree").glob("boot/vmlinuz-*"))

        directory = CACHE / "kernels" / series
        directory.mkdir(parents=True, exist_ok=True)
        record = {
            "package": package,
            "version": field(stanza, "Version"),
            "source": f"{MIRROR}, {deb.name}",
            "deb_sha256": field(stanza, "SHA256"),
            "vmlinuz_sha256": sha256(kernel),
        }
        for name, data in (
            ("vmlinuz", kernel.read_bytes()),
            ("record.json", json.dumps(record, indent=2).encode() + b"\n"),
        ):
            temporary_name = directory / f".{name}.{os.getpid()}"
            temporary_name.write_bytes(data)
            temporary_name.rename(directory / name)


def get(series, progress=lambda _line: None):
    """Path of the newest kernel of this series, from the cache or the mirror."""
    if series not in SUITES:
        raise Trouble(f"kernel {series} is not one of {', '.join(SUITES)}")
    kernel = cached(series)
    if kernel is None:
        progress(f"fetching Debian's cloud kernel {series} from {MIRROR}")
        fetch(series)
        kernel = cached(series)
        if kernel is None:
            raise Trouble(f"{CACHE}/kernels/{series} cannot be written: is the disk full?")
    return kernel


def release(series):
    """`6.1.0-56-cloud-amd64`, of the kernel in the cache."""
    record = json.loads((CACHE / "kernels" / series / "record.json").read_text())
    return record["package"].removeprefix("linux-image-")


def main():
    missing = []
    for series in sys.argv[1:] or SUITES:
        try:
            print(get(series, progress=lambda line: print(line, file=sys.stderr)))
        except Missing as reason:
            missing.append(reason)
            print(f"skipped: {reason}", file=sys.stderr)
    if missing:
        raise Missing(f"{len(missing)} of {len(SUITES)} kernels")
    return 0


if __name__ == "__main__":
    main_of(main)
