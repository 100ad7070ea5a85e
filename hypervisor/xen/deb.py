# SPDX-License-Identifier: MIT
"""A Debian package of the hypervisor that build.py built: `./dev xen build --deb`.

It puts one file beside Debian's own hypervisor, where GRUB's 20_linux_xen finds it, and one of
commented settings. Debian's Xen, its tools and its entry in GRUB's menu stay as they are.
"""

import gzip
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

PACKAGE = "xen-hypervisor-4.17-sgmonitor-amd64"
IMAGE = "boot/xen-4.17-sgmonitor-amd64.gz"
# Read after Debian's xen.cfg, in the order of every locale, so that nothing there undoes it.
SETTINGS = "etc/default/grub.d/xen_sgmonitor.cfg"
DOCUMENTATION = f"usr/share/doc/{PACKAGE}"
MAINTAINER = "The SGmonitor project <sgmonitor@localhost>"

CONTROL = """\
Package: {package}
Version: {version}
Architecture: amd64
Maintainer: {maintainer}
Installed-Size: {kilobytes}
Recommends: xen-utils-4.17, xen-hypervisor-common
Provides: xen-hypervisor, xen-hypervisor-4.17, xen-hypervisor-amd64
Section: kernel
Priority: optional
Description: Xen hypervisor 4.17 with SGmonitor in it
 Debian's Xen {xen} with one more hypercall, by which an intrusion detection
 system in an enclave reads the memory of domains in sealed answers, and with
 domains that dom0 is kept out of.
 .
 It is installed beside Debian's own hypervisor and has its own entry in
 GRUB's menu. Without sgm_authority= on its command line it is Debian's Xen
 without live patching and kexec.
"""

SETTINGS_TEXT = """\
# Xen's command line for SGmonitor. Take away the '#', put your authority's public key in (the last
# line of authority.pub), and run update-grub. All Xen entries get it; Debian's Xen takes no notice.
#
# sgm_authority=HEX      whose word lets an IDS register; without it SGmonitor is off
# sgm_protect=UUID,UUID  domains that dom0 is kept out of from their first instruction on
#
# iommu=force and dom0-iommu=strict keep devices that dom0 drives away from other domains' memory.
# A machine without an IOMMU does not boot with iommu=force.
#
#GRUB_CMDLINE_XEN_DEFAULT="$GRUB_CMDLINE_XEN_DEFAULT sgm_authority=HEX"
#GRUB_CMDLINE_XEN_DEFAULT="$GRUB_CMDLINE_XEN_DEFAULT iommu=force dom0-iommu=strict scrub-domheap"
"""

# As in Debian's own package.
UPDATE_GRUB = """\
        if command -v update-grub >/dev/null && [ -d /boot/grub ]; then
            update-grub || :
        fi
"""
SCRIPTS = {
    "postinst": f"""\
#!/bin/sh
set -e
case "$1" in
    configure)
{UPDATE_GRUB}        if [ "$(cat /sys/hypervisor/type 2>/dev/null || :)" = xen ] && [ -d /run ]; then
            touch /run/reboot-required
            grep -qsx "$DPKG_MAINTSCRIPT_PACKAGE" /run/reboot-required.pkgs ||
                echo "$DPKG_MAINTSCRIPT_PACKAGE" >>/run/reboot-required.pkgs
        fi
        ;;
esac
""",
    "postrm": f"""\
#!/bin/sh
set -e
case "$1" in
    remove | purge)
{UPDATE_GRUB}        ;;
esac
""",
}

COPYRIGHT = """\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: Xen with SGmonitor
Comment:
 Built from Debian's sources of xen {xen} and libsodium {libsodium}, which
 `apt-get source` gives, and from SGmonitor, {origin}.
 `hypervisor/xen/build.py` there puts them together and builds the same file.

Files: *
Copyright: The Xen Project and its contributors
 The SGmonitor contributors
License: GPL-2
Comment: The hypervisor as a whole. In it are also libsodium (ISC) and files of
 SGmonitor that are MIT on their own.

License: GPL-2
 On Debian systems, the text of this license is in
 /usr/share/common-licenses/GPL-2.
"""

CHANGELOG = """\
{package} ({version}) bookworm; urgency=medium

  * Xen {xen} with SGmonitor, {origin}.

 -- {maintainer}  {date}
"""


def compressed(data):
    return gzip.compress(data, 9, mtime=0)


def origin(repository):
    """Which SGmonitor this is: the version and, in a git checkout, the commit."""
    version = re.search(r"project\(sgmonitor VERSION (\S+)",
                        (repository / "CMakeLists.txt").read_text())[1]
    commit = subprocess.run(["git", "-C", repository, "log", "-1", "--format=%H %ct"],
                            capture_output=True, text=True, check=False).stdout.split()
    if not commit:
        return version, f"version {version}", 0
    return version, f"version {version}, commit {commit[0]}", int(commit[1])


def files(image, record, repository):
    """The package's files: path -> content; and its version and date."""
    version, source, seconds = origin(repository)
    full = f"{record['xen']}+sgmonitor{version}"
    date = subprocess.run(["date", "-u", "-R", "-d", f"@{seconds}"],
                          capture_output=True, text=True, check=True).stdout.strip()
    names = {"package": PACKAGE, "version": full, "xen": record["xen"],
             "libsodium": record["libsodium"], "origin": source, "maintainer": MAINTAINER,
             "date": date}  # fmt: skip
    content = {
        IMAGE: compressed(image),
        SETTINGS: SETTINGS_TEXT.encode(),
        f"{DOCUMENTATION}/copyright": COPYRIGHT.format(**names).encode(),
        f"{DOCUMENTATION}/changelog.Debian.gz": compressed(CHANGELOG.format(**names).encode()),
        f"{DOCUMENTATION}/xen.md.gz": compressed((repository / "docs/xen.md").read_bytes()),
    }
    return content, names, seconds


def control_files(content, names):
    kilobytes = sum(-(-len(data) // 1024) for data in content.values())
    sums = "".join(f"{hashlib.md5(data).hexdigest()}  {path}\n"
                   for path, data in sorted(content.items()) if path != SETTINGS)
    return {
        "control": CONTROL.format(**names, kilobytes=kilobytes),
        "conffiles": f"/{SETTINGS}\n",
        "md5sums": sums,
        **SCRIPTS,
    }


def write(path, data, mode=0o644):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.chmod(mode)


def make(image, record, out, repository):
    """Writes the package into the directory `out`: its path. The same inputs, the same bytes."""
    content, names, seconds = files(image.read_bytes(), record, repository)
    with tempfile.TemporaryDirectory(prefix="sgmonitor-deb-") as temporary:
        root = Path(temporary) / "root"
        for path, data in content.items():
            write(root / path, data)
        for name, text in control_files(content, names).items():
            write(root / "DEBIAN" / name, text.encode(), 0o755 if name in SCRIPTS else 0o644)
        for path in (root, *root.rglob("*")):
            if path.is_dir():
                path.chmod(0o755)
            os.utime(path, (seconds, seconds))
        deb = Path(temporary) / f"{PACKAGE}_{names['version']}_amd64.deb"
        subprocess.run(["dpkg-deb", "--root-owner-group", "-Zxz", "--build", root, deb],
                       env={**os.environ, "SOURCE_DATE_EPOCH": str(seconds)},
                       stdout=subprocess.DEVNULL, check=True)  # fmt: skip
        return Path(shutil.copy(deb, out))
