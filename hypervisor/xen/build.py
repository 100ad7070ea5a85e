#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Builds Xen 4.17 with SGmonitor in it, from Debian's sources.

apt fetches the sources of xen and libsodium with lists of its own, so the system's are left alone,
and checks their hashes against the signed index. apply.py puts SGmonitor in. The configuration is
Debian's without LIVEPATCH and KEXEC: both would let dom0 put code of its own into the hypervisor, or
in its place. What was built is kept by the hash of what this project puts in, so that it is built
once on each machine, and again when Debian has newer sources.

    build.py                 build/xen/xen-sgmonitor (for GRUB, or QEMU's -kernel) and .efi
    build.py --deb           and a Debian package of it (deb.py)
    build.py --test-build    build/xen-test/..., with commands that are only for tests
    build.py --kept          does not ask for newer sources: for tests
"""

import argparse
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "vm"))

import apply
import deb
from common import CACHE, Missing, Trouble, main_of
from kernels import MIRROR, PrivateApt

XEN = "4.17"
# Of the same version, apt takes what is listed first; the mirror of security updates drops sources.
SUITES = ["debian bookworm", "debian-security bookworm-security"]
KEPT = CACHE / "xen"
IMAGES = {"xen/xen": "xen-sgmonitor", "xen/xen.efi": "xen-sgmonitor.efi"}
WITHOUT = ("LIVEPATCH", "KEXEC")
# What Xen prints as who built it, where and when: nothing of this machine, so that others get the
# same bytes.
SAME_EVERYWHERE = {
    "XEN_WHOAMI": "sgmonitor",
    "XEN_DOMAIN": "",
    "XEN_BUILD_HOST": "sgmonitor",
    "XEN_BUILD_DATE": "",
    "XEN_BUILD_TIME": "",
}
OBJECTS = 440  # about how many files make compiles, for the progress alone


def progress(line):
    print(line, file=sys.stderr, flush=True)


def sha384(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha384").hexdigest()


def what_goes_in(test_build):
    """The hash of this project's part, by which a build is kept."""
    names = [path for directory, pattern in apply.OURS for path in (ROOT / directory).glob(pattern)]
    names += [path for path in Path(__file__).parent.iterdir()
              if path.suffix in {".c", ".h", ".lds", ".mk"} or path.name in {"apply.py", "build.py"}]
    total = hashlib.sha256(b"test" if test_build else b"product")
    for path in sorted(set(names)):
        total.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return total.hexdigest()[:32]


def is_older(a, b):
    return subprocess.run(["dpkg", "--compare-versions", a, "lt", b], check=False).returncode == 0


def newest_first(versions):
    ordered = []
    for version in versions:
        place = next((i for i, other in enumerate(ordered) if is_older(other, version)), len(ordered))
        ordered.insert(place, version)
    return ordered


def fetch_source(apt, name, wanted, newer_than=None):
    """The newest source package that the mirror really has: (its .dsc, version). None if that is
    not `newer_than`."""
    listed = apt.run("apt-cache", "showsrc", name)
    if not listed:
        raise Missing(f"{MIRROR} has no source of {name} ({apt.complaint or 'the index is empty'})")
    found = {line.split(" ", 1)[1] for line in listed.splitlines() if line.startswith("Version: ")}
    for version in newest_first(v for v in found if wanted in v):
        if newer_than is not None and not is_older(newer_than, version):
            return None
        progress(f"fetching the source of {name} {version}")
        if apt.run("apt-get", "-q", "source", "--download-only", f"{name}={version}") is not None:
            return next(apt.directory.glob(f"{name}_{version.split(':')[-1]}.dsc")), version
        progress(f"{MIRROR} names {name} {version} but does not have it ({apt.complaint})")
    if newer_than is not None:
        return None
    raise Missing(f"{MIRROR} has no source of {name} {wanted}")


def apt_for_sources(directory):
    apt = PrivateApt(directory, SUITES, kind="deb-src")
    apt.run("apt-get", "-q", "update")
    return apt


def is_outdated(kept, apt):
    """Whether the mirror has newer sources than those of a build that is kept."""
    record = json.loads((kept / "record.json").read_text())
    try:
        return any(
            fetch_source(apt, name, wanted, newer_than=record[name]) is not None
            for name, wanted in (("xen", XEN + "."), ("libsodium", apply.SODIUM_VERSION))
        )
    except Missing as reason:
        progress(f"whether Debian has newer sources is not known: {reason}")
        return False


def run(command, **options):
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    if done.returncode != 0:
        end = "\n".join((done.stdout + done.stderr).splitlines()[-30:])
        raise Trouble(f"{' '.join(map(str, command[:4]))} failed:\n{end}")


def unpack(dsc, to):
    run(["dpkg-source", "--no-check", "-x", str(dsc), str(to)])


def configure(xen):
    """Debian's configuration (debian/rules: xen-kconfig), without what WITHOUT names."""
    config = xen / "xen" / ".config"
    config.write_text((xen / "debian" / "xen-kconfig").read_text()
                      + "".join(f"# CONFIG_{name} is not set\n" for name in WITHOUT))
    run(["make", "-C", str(xen / "xen"), "olddefconfig"])
    lines = config.read_text().splitlines()
    for name in WITHOUT:
        if f"CONFIG_{name}=y" in lines:
            raise Trouble(f"Xen's configuration insists on {name}")


def without_link_time(image):
    """A PE image without the time of its linking and the checksum over it, which firmware does not
    look at (Microsoft's PE Format: COFF File Header, Optional Header)."""
    header = int.from_bytes(image[0x3C:0x40], "little")
    if image[header : header + 4] != b"PE\0\0":
        raise Trouble("xen.efi is not a PE image: Xen's build has changed")
    time_stamp, checksum = header + 8, header + 24 + 64
    for field in (time_stamp, checksum):
        image = image[:field] + bytes(4) + image[field + 4 :]
    return image


def make(xen, jobs, test_build):
    command = ["make", "-C", str(xen / "xen"), f"-j{jobs}", "debug=n"]
    command += [f"{name}={value}" for name, value in SAME_EVERYWHERE.items()]
    if test_build:
        command += ["SGM_DEFINES=-DSGM_XEN_TEST_BUILD=1"]
    log = xen / "build.log"
    compiled = 0
    with open(log, "w", buffering=1) as file, subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        for line in process.stdout:
            file.write(line)
            if line.startswith(("  CC ", "  CXX ")):
                compiled += 1
                if compiled % 20 == 0:
                    progress(f"  compiled {compiled} of about {OBJECTS} files")
    if process.returncode != 0:
        kept = KEPT / "failed.log"
        shutil.copy(log, kept)
        wrong = [line for line in log.read_text().splitlines() if "rror" in line and "-Werror" not in line]
        raise Trouble("Xen does not compile:\n" + "\n".join(wrong[:10]) + f"\n(all of it: {kept})")


def build(kept, jobs, test_build):
    started = time.monotonic()
    for program, package in (("bison", "bison"), ("flex", "flex"), ("dpkg-source", "dpkg-dev")):
        if shutil.which(program) is None:
            raise Missing(f"{program} is not on this machine: ./dev setup installs {package}")
    with tempfile.TemporaryDirectory(prefix="build-", dir=KEPT) as temporary:
        scratch = Path(temporary)
        apt = apt_for_sources(scratch / "apt")
        xen_dsc, version = fetch_source(apt, "xen", XEN + ".")
        sodium_dsc, sodium_version = fetch_source(apt, "libsodium", apply.SODIUM_VERSION)
        progress("unpacking, and putting SGmonitor in")
        xen = scratch / "xen"
        unpack(xen_dsc, xen)
        unpack(sodium_dsc, scratch / "libsodium")
        apply.apply(xen, scratch / "libsodium")
        configure(xen)
        progress(f"building Xen {version}")
        make(xen, jobs, test_build)

        ready = scratch / "ready"
        ready.mkdir()
        for source, name in IMAGES.items():
            image = (xen / source).read_bytes()
            (ready / name).write_bytes(without_link_time(image) if name.endswith(".efi") else image)
        record = {
            "xen": version,
            "libsodium": sodium_version,
            "test_build": test_build,
            "sha384": {name: sha384(ready / name) for name in IMAGES.values()},
            "seconds": round(time.monotonic() - started),
        }
        (ready / "record.json").write_text(json.dumps(record, indent=2) + "\n")
        shutil.rmtree(kept, ignore_errors=True)
        ready.rename(kept)
    progress(f"built in {record['seconds']} s")


def is_whole(kept):
    try:
        record = json.loads((kept / "record.json").read_text())
        return all(sha384(kept / name) == hash_ for name, hash_ in record["sha384"].items())
    except (OSError, ValueError, KeyError):
        return False


def get(jobs=None, test_build=False, newest=False):
    """The directory with the images; they are built if they are not there, or if the newest are
    asked for and Debian has newer sources."""
    KEPT.mkdir(parents=True, exist_ok=True)
    kept = KEPT / what_goes_in(test_build)
    with open(KEPT / "lock", "w") as lock, tempfile.TemporaryDirectory(dir=KEPT) as scratch:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not is_whole(kept) or (newest and is_outdated(kept, apt_for_sources(Path(scratch) / "apt"))):
            try:
                build(kept, jobs or os.cpu_count(), test_build)
            except apply.Refused as reason:
                raise Trouble(str(reason)) from reason
    return kept


def main():
    parser = argparse.ArgumentParser(prog="./dev xen build", description=__doc__.split("\n\n")[0])
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--test-build", action="store_true",
                      help="with commands that give dom0 what is not sealed: for tests alone")
    kind.add_argument("--deb", action="store_true", help="also a Debian package, to install")
    parser.add_argument("--kept", action="store_true",
                        help="an earlier build of the same will do, also if Debian has newer sources")
    parser.add_argument("--jobs", type=int, help="compilers at a time (all CPUs)")
    options = parser.parse_args()
    out = ROOT / "build" / ("xen-test" if options.test_build else "xen")
    out.mkdir(parents=True, exist_ok=True)
    # Nobody takes an older one for this, should it not be had.
    for old in (*(out / name for name in IMAGES.values()), *out.glob("*.deb")):
        old.unlink(missing_ok=True)
    kept = get(options.jobs, options.test_build, newest=not options.kept)
    record = json.loads((kept / "record.json").read_text())
    for name in record["sha384"]:
        shutil.copyfile(kept / name, out / name)
    print(f"Xen {record['xen']} with SGmonitor" + (", TEST BUILD" if options.test_build else ""))
    for name, hash_ in record["sha384"].items():
        print(f"{out.relative_to(ROOT) / name}\n  SHA-384 {hash_}")
    if options.deb:
        package = deb.make(out / "xen-sgmonitor", record, out, ROOT)
        print(f"{package.relative_to(ROOT)}\n  SHA-384 {sha384(package)}")
    return 0


if __name__ == "__main__":
    main_of(main)
