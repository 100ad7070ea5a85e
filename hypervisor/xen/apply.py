#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Puts SGmonitor into the source of Xen 4.17: new files in arch/x86/sgm and a few lines in files of
Xen. Each of these lines has an anchor, a short piece of Xen's own text that must occur exactly once;
a tree in which one does not is refused, and nothing of it is changed. Applying twice is applying
once.

    apply.py XEN_SOURCE LIBSODIUM_SOURCE
"""

import argparse
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
SGM = Path("xen/arch/x86/sgm")


class Refused(Exception):
    pass


@dataclass(frozen=True)
class Edit:
    """`new` goes behind `anchor`; both end where a line ends."""

    path: str
    anchor: str
    new: str

    def apply(self, text):
        if self.anchor + self.new in text:
            return text
        found = text.count(self.anchor)
        if found != 1 or self.new in text:
            raise Refused(
                f"xen/{self.path}: this line of Xen 4.17 should occur once and occurs "
                f"{found} times: {self.anchor.strip().splitlines()[0]!r}"
            )
        return text.replace(self.anchor, self.anchor + self.new)


# The hypercall: prototype, row of the table, number, directory.
CALL = [
    Edit("include/hypercall-defs.c",
         "xenpmu_op(unsigned int op, xen_pmu_params_t *arg)\n",
         "sgm_op(void *arg)\n"),
    Edit("include/hypercall-defs.c",
         "mca                                do       do       -        -        -\n",
         "sgm_op                             -        do       -        do       -\n"),
    Edit("arch/x86/include/asm/hypercall.h",
         "#define __HYPERVISOR_paging_domctl_cont __HYPERVISOR_arch_1\n",
         "#define __HYPERVISOR_sgm_op __HYPERVISOR_arch_4\n"),
    Edit("arch/x86/Makefile",
         "obj-$(CONFIG_PV) += pv/\n",
         "obj-y += sgm/\n"),
]

# Protected domains: every privileged operation on a domain asks one of these.
PROTECTION = [
    Edit("include/xsm/dummy.h",
         "#include <xsm/xsm.h>\n",
         "#include <asm/sgm.h>\n"),
    Edit("include/xsm/dummy.h",
         "    xsm_default_t action, struct domain *src, struct domain *target)\n{\n",
         "    if ( action != XSM_HOOK && action != XSM_XS_PRIV && sgm_refuses(src, target) )\n"
         "        return -EPERM;\n"),
    Edit("include/xsm/dummy.h",
         "    XSM_DEFAULT_ARG struct domain *d, unsigned int cmd, uint32_t ssidref)\n{\n"
         "    XSM_ASSERT_ACTION(XSM_OTHER);\n",
         "    if ( sgm_decides_domctl(d, cmd) )\n"
         "        return sgm_domctl(d, cmd);\n"),
    Edit("include/xsm/dummy.h",
         "    XSM_DEFAULT_ARG struct domain *d, uint32_t ssidref)\n{\n"
         "    XSM_ASSERT_ACTION(XSM_HOOK);\n",
         "    sgm_domain_created(d);\n"),
    # RAM as if it were a device's: dom0 may give any frame, and the owner is not asked.
    Edit("include/xsm/dummy.h",
         "xsm_iomem_mapping(\n"
         "    XSM_DEFAULT_ARG struct domain *d, uint64_t s, uint64_t e, uint8_t allow)\n{\n"
         "    XSM_ASSERT_ACTION(XSM_HOOK);\n",
         "    if ( allow && sgm_is_ram(s, e) )\n"
         "        return -EPERM;\n"),
    # Samples of instruction pointers.
    Edit("include/xsm/dummy.h",
         "    XSM_DEFAULT_ARG struct domain *d, int op)\n{\n    XSM_ASSERT_ACTION(XSM_HOOK);\n",
         "    if ( sgm_protects_any() )\n"
         "        return -EPERM;\n"),
    # What a key or a crash prints goes to the console, which dom0 can read.
    Edit("common/keyhandler.c",
         "#include <xen/sched.h>\n",
         "#include <asm/sgm.h>\n"),
    Edit("common/keyhandler.c",
         "void handle_keypress(unsigned char key, struct cpu_user_regs *regs)\n{\n"
         "    struct keyhandler *h;\n\n",
         "    if ( sgm_refuses_key(key) )\n"
         "        return;\n"),
    Edit("arch/x86/traps.c",
         "void show_execution_state(const struct cpu_user_regs *regs)\n{\n"
         "    /* Prevent interleaving of output. */\n"
         "    unsigned long flags = console_lock_recursive_irqsave();\n\n",
         "    if ( !sgm_hides(guest_mode(regs)) ) /* a guest's registers */\n"),
    Edit("arch/x86/traps.c",
         "    show_registers(regs);\n    show_code(regs);\n",
         "    if ( !sgm_hides(guest_mode(regs)) ) /* a guest's stack */\n"),
    # The trace buffer: page faults, control registers, MSRs.
    Edit("common/trace.c",
         "#include <xen/sched.h>\n",
         "#include <asm/sgm.h>\n"),
    Edit("common/trace.c",
         "    bool_t started_below_highwater;\n\n    if( !tb_init_done )\n        return;\n",
         "    if ( sgm_hides(true) )\n"
         "        return;\n"),
]

# From this project: directory, what of it.
OURS = [
    ("wire", "*.h*"),
    ("crypto", "*.[ch]pp"),
    ("crypto/enclave", "sodium.cpp"),
    ("hypervisor/core", "*.[ch]pp"),
    ("hypervisor/xen", "*.[ch]pp"),
    ("hypervisor/xen", "shim.h"),
]
SODIUM_VERSION = "1.0.18"


def check_version(xen):
    try:
        makefile = (xen / "xen/Makefile").read_text()
    except OSError as error:
        raise Refused(f"{xen} is not Xen's source: {error}") from error
    for line in ("XEN_VERSION", "= 4"), ("XEN_SUBVERSION", "= 17"):
        if not any(text.startswith(f"export {line[0]} ") and text.rstrip().endswith(line[1])
                   for text in makefile.splitlines()):
            raise Refused(f"{xen} is not the source of Xen 4.17")
    if not (xen / "xen/arch/x86").is_dir():
        raise Refused(f"{xen} is not Xen's source: it has no xen/arch/x86")


def edited(xen):
    """The files of Xen that change, as they are to be: all of them, or none."""
    texts = {}
    for edit in CALL + PROTECTION:
        path = xen / "xen" / edit.path
        if path not in texts:
            try:
                texts[path] = path.read_text()
            except OSError as error:
                raise Refused(f"{xen} is not the source of Xen 4.17: {error}") from error
        texts[path] = edit.apply(texts[path])
    return texts


def new_files(sodium):
    """Path in the tree -> text."""
    files = {
        Path("xen/arch/x86/include/asm/sgm.h"): (HERE / "asm_sgm.h").read_text(),
        SGM / "Makefile": (HERE / "tree.mk").read_text(),
        SGM / "merge.lds": (HERE / "merge.lds").read_text(),
        SGM / "shim.c": (HERE / "shim.c").read_text(),
    }
    for directory, pattern in OURS:
        for path in sorted((ROOT / directory).glob(pattern)):
            if not path.name.endswith("_test.cpp"):
                files[SGM / path.relative_to(ROOT)] = path.read_text()
    library = sodium / "src/libsodium"
    version = library / "include/sodium/version.h.in"
    if not version.is_file():
        raise Refused(f"{sodium} is not libsodium's source: it has no {version.name}")
    for path in sorted(library.rglob("*.[ch]")):
        relative = path.relative_to(library)
        if "include" in relative.parts or relative.parts[0].startswith("crypto_"):
            files[SGM / "sodium" / relative] = path.read_text()
    text = version.read_text()
    for name, value in (("@VERSION@", SODIUM_VERSION), ("@SODIUM_LIBRARY_VERSION_MAJOR@", "10"),
                        ("@SODIUM_LIBRARY_VERSION_MINOR@", "3"),
                        ("@SODIUM_LIBRARY_MINIMAL_DEF@", "")):
        text = text.replace(name, value)
    files[SGM / "sodium/include/sodium/version.h"] = text
    return files


def write_if_changed(path, text):
    if path.is_file() and path.read_text() == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def apply(xen, sodium):
    check_version(xen)
    texts = edited(xen)
    files = new_files(sodium)
    shutil.rmtree(xen / SGM, ignore_errors=True)
    for path, text in files.items():
        write_if_changed(xen / path, text)
    for path, text in texts.items():
        write_if_changed(path, text)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("xen", type=Path, help="Debian's source of Xen 4.17, unpacked")
    parser.add_argument("sodium", type=Path, help="Debian's source of libsodium, unpacked")
    arguments = parser.parse_args()
    try:
        apply(arguments.xen, arguments.sodium)
    except Refused as reason:
        print(f"error: {reason}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
