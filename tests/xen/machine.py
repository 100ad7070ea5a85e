#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A computer that runs Xen, in QEMU: dom0 with Xen's tools and a shell for us, and the domUs that
we start in it. Nothing is waited for by time: each step ends when its marker is there, and the
bounds only say when to give up.

    machine.py [--xen IMAGE] [--dom0 pvh]    boots it, and gives a shell in dom0 (for developers)
"""

import argparse
import gzip
import json
import lzma
import os
import re
import secrets
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "vm"))

import initramfs
import kernels
import packages
from common import BUILD, Trouble, end, main_of, spawn, tail, wait_until
from guest import Commands, qemu

HERE = Path(__file__).resolve().parent
BOOT_SECONDS = 420  # 10 to 25 s are usual on two idle cores
COMMAND_SECONDS = 420
TIME_OVER = 124  # as timeout(1) says it
TOOLS = ("xl", "xenstored", "xen-init-dom0", "xenconsoled", "libxl-save-helper")

# QEMU 7.2's SMAP breaks the return of a PV dom0 to its user space, and what it does at RDTSCP under
# SVM makes Xen crash a PVH one. EPYC has what enclaves (x86-64-v3) and the hypervisor's AES need;
# with +xsave, qemu64 hangs Xen at boot. Once a PVH dom0 has told Xen of idle states, Xen waits by
# MWAIT with ECX = 1, for which QEMU gives it a general protection fault.
BOARD = {"pv": [], "pvh": ["-M", "q35", "-device", "amd-iommu"]}
CPU = {"pv": "max,-smap", "pvh": "EPYC,-smap,-rdtscp,-monitor"}
# On AMD, which these CPUs are, Xen restores vector registers at their first use, which CR0.TS makes
# trap. XSAVE of QEMU 7.2 does not (Intel SDM vol. 2, XSAVE: #NM): where a domU ran in between, a PV
# dom0's kernel saves the domU's registers for its own process. On Debian's own Xen 3 of 8,850 such
# checks found foreign ones, and none of 7,550 with this option.
EAGER_FPU = "spec-ctrl=eager-fpu"

# For a PV domU under a PVH dom0: once such a domU has set XCR0, dom0's AVX instructions raise #UD in
# QEMU 7.2, and its init dies of it.
WITHOUT_XSAVE = 'cpuid = "host,xsave=0"'

# Of the kernels: less to emulate.
QUICKER = "mitigations=off cryptomgr.notests"


def vmlinux(bzimage):
    """The ELF kernel in it (Linux, Documentation/x86/boot.rst: setup_sects, payload_offset and
    _length). Xen would take 10 s of emulated time to decompress it at every boot, as it does with
    one that is not compressed by XZ."""
    setup_sectors = bzimage[0x1F1] or 4
    offset, length = struct.unpack_from("<II", bzimage, 0x248)
    payload = bzimage[(setup_sectors + 1) * 512 + offset :][:length]
    if not payload.startswith(b"\xfd7zXZ\0"):
        return bzimage
    # The four bytes after the stream say how long its content is.
    return lzma.LZMADecompressor().decompress(payload)


class NotBooted(Trouble):
    """QEMU ended or hung before dom0's shell was there."""


def libraries_of(program, directories):
    """Paths of the shared libraries of a program, its loader among them."""
    listed = subprocess.run(
        ["ldd", program],
        env={**os.environ, "LD_LIBRARY_PATH": ":".join(map(str, directories))},
        capture_output=True,
        text=True,
        check=False,
    )
    if "not found" in listed.stdout or listed.returncode != 0:
        raise Trouble(f"{program} lacks a library: {listed.stdout}{listed.stderr}")
    return re.findall(r"(/\S+) \(0x", listed.stdout)


def dom0_files(xen, extra):
    """dom0's file system: path -> content. `extra`: programs and data of ours, path -> Path."""
    sources = {f"usr/lib/xen-{packages.XEN}/bin/{name}": xen.tools / name for name in TOOLS}
    sources |= {f"lib/modules/{name}.ko": xen.module(name) for name in packages.MODULES}
    sources |= {"bin/busybox": xen.busybox, "init": HERE / "dom0.sh"}
    sources |= {"bin/xenstore-read": xen.xenstore_read}
    sources |= {"boot/vmlinuz": kernels.get("6.1"), "boot/domu.img": BUILD / "vm/initramfs.cpio"}
    sources |= extra
    for source in list(sources.values()):
        with open(source, "rb") as file:
            is_dynamic = file.read(4) == b"\x7fELF" and b"ld-linux-x86-64" in file.read(4096)
        if is_dynamic:
            for library in libraries_of(source, xen.libraries()):
                place = "lib64" if "ld-linux" in library else "lib/x86_64-linux-gnu"
                sources[f"{place}/{Path(library).name}"] = Path(library)
    # libgcc_s is loaded when a thread ends (pthread_exit, glibc's dlopen).
    sources["lib/x86_64-linux-gnu/libgcc_s.so.1"] = Path("/lib/x86_64-linux-gnu/libgcc_s.so.1")
    files = {name: Path(source).read_bytes() for name, source in sources.items()}
    return files | {"etc/xen/xl.conf": b"", "etc/passwd": b"root:x:0:0::/root:/bin/sh\n"}


class Machine:
    """Use as a context manager: on leaving, QEMU and all that it wrote are gone. The serial log is
    kept under `keep` when the block is left by an exception, or when keep_log() was called."""

    def __init__(self, xen_image=None, *, dom0="pv", xen_options="", cpu="", fpu=EAGER_FPU, extra=None,
                 keep=None, progress=lambda _line: None):  # fmt: skip
        self.dom0 = dom0
        self.progress = progress
        self.retried = False
        self.process = None
        self._image = xen_image  # None: Debian's own
        self._options = xen_options
        self._fpu = fpu
        self._cpu = CPU[dom0] + cpu  # ",-aes": without that
        self._extra = extra or {}
        self._keep = keep or BUILD / "xen-logs"
        self._shell = None

    def __enter__(self):
        self._qemu = qemu()
        self._packages = packages.get(self.progress)
        self.directory = Path(tempfile.mkdtemp(prefix="sgmonitor-xen-"))
        self.serial_log = self.directory / "serial.log"
        try:
            self._pack()
            try:
                self._boot()
            except NotBooted as trouble:
                self.progress(f"RETRY: {trouble}")
                self.retried = True
                self.keep_log("first-boot")
                self._stop()
                self._boot()
        except BaseException:
            self.close(keep=True)
            raise
        return self

    def __exit__(self, kind, *_):
        self.close(keep=kind is not None)

    def close(self, keep=False):
        if keep:
            self.keep_log()
        self._stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def keep_log(self, name="serial"):
        if not self.serial_log.exists():
            return
        self._keep.mkdir(parents=True, exist_ok=True)
        kept = self._keep / f"{name}-{self.directory.name.removeprefix('sgmonitor-xen-')}.log"
        shutil.copy(self.serial_log, kept)
        self.progress(f"the serial log is kept: {kept}")

    def console(self):
        """What Xen and dom0 have written to the serial console."""
        return self.serial_log.read_bytes().decode(errors="replace").replace("\r", "")

    def await_console(self, text, seconds=COMMAND_SECONDS):
        """The first console line with this text."""

        def look():
            for line in self.console().splitlines():
                if text in line:
                    return line
            return None

        line = wait_until(look, seconds)
        if line is None:
            raise Trouble(f"'{text}' is not on the console:\n" + tail(self.serial_log))
        return line

    # --- dom0's shell

    def try_run(self, script, seconds=COMMAND_SECONDS):
        """Runs a shell script in dom0: (exit status, output)."""
        mark = "@" + secrets.token_hex(8)
        self._shell.settimeout(seconds)
        try:
            text = f"(\n{script}\n) </dev/null 2>&1; printf '\\n{mark} %d\\n' $?\n"
            self._shell.sendall(text.encode())
            output = b""
            ending = re.compile(rb"\n" + mark.encode() + rb" (\d+)\n$")
            while not (match := ending.search(output[-64:])):
                data = self._shell.recv(1 << 16)
                if not data:
                    raise Trouble(f"dom0 went away ({self._end()}):\n" + tail(self.serial_log))
                output += data
        except (TimeoutError, OSError) as error:
            raise Trouble(
                f"dom0 did not do `{script.strip()[:80]}` in {seconds} s ({error}; "
                f"{self._activity()}); its console ends:\n" + tail(self.serial_log)
            ) from error
        return int(match[1]), output[: -len(match[0])].decode(errors="replace")

    def _activity(self):
        """Whether QEMU still emulates: a machine with a PVH dom0 has stood still for good."""

        def used():
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
            return int(fields[11]) + int(fields[12])

        if self.process.poll() is not None:
            return "QEMU has ended"
        before = used()
        time.sleep(2)
        if used() > before:
            return "QEMU is at work"
        return "QEMU does nothing any more: the emulated machine stands still"

    def _end(self):
        """What came of QEMU when dom0 is gone."""
        status = wait_until(self.process.poll, 5)
        lines = (self.directory / "qemu.log").read_text(errors="replace").splitlines()
        said = "; ".join(line for line in lines if "TCG doesn't support" not in line) or "nothing"
        return f"QEMU {'runs on' if status is None else f'ended, {status}'}, and said {said}"

    def run(self, script, seconds=COMMAND_SECONDS):
        """As try_run(); the output. Trouble if it fails."""
        status, output = self.try_run(script, seconds)
        if status != 0:
            raise Trouble(f"in dom0, `{script.strip()[:200]}` failed ({status}): {output.strip()}")
        return output

    def put(self, path, data):
        """A file in dom0."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.settimeout(COMMAND_SECONDS)
            port = server.getsockname()[1]
            self.run(f"mkdir -p $(dirname {path}); nc 10.0.2.2 {port} </dev/null >{path} & true")
            connection, _ = server.accept()
            with connection:
                connection.sendall(data)
        self.run(f"until [ $(stat -c %s {path}) = {len(data)} ]; do usleep 20000; done")

    def get(self, path):
        """The bytes of a file in dom0, which may be growing."""
        size = int(self.run(f"stat -c %s {path}"))
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.settimeout(COMMAND_SECONDS)
            port = server.getsockname()[1]
            self.run(f"head -c {size} {path} | nc 10.0.2.2 {port} >/dev/null & true")
            connection, _ = server.accept()
            with connection:
                connection.settimeout(COMMAND_SECONDS)
                data = bytearray()
                while len(data) < size and (part := connection.recv(1 << 16)):
                    data += part
        if len(data) != size:
            raise Trouble(f"{path} of dom0 came incomplete: {len(data)} of {size} bytes")
        return bytes(data)

    def lives(self):
        """Whether Xen and dom0 answer."""
        return self.process.poll() is None and "Domain-0" in self.run("xl list")

    # --- boot

    def _pack(self):
        image = self._packages.xen if self._image is None else self._image
        data = Path(image).read_bytes()
        self._xen = self.directory / "xen"
        self._xen.write_bytes(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data)
        self._kernel = self.directory / "vmlinux"
        self._kernel.write_bytes(vmlinux(self._packages.kernel.read_bytes()))
        self._initrd = self.directory / "dom0.img"
        self._initrd.write_bytes(initramfs.pack(dom0_files(self._packages, self._extra)))

    def _boot(self):
        started = time.monotonic()
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            command = [self._qemu, "-accel", "tcg,thread=multi", *BOARD[self.dom0]]
            command += ["-cpu", self._cpu]
            command += ["-smp", "1", "-m", "1280", "-nodefaults", "-no-reboot", "-display", "none"]
            command += ["-serial", f"file:{self.serial_log}"]
            command += ["-nic", "user,model=e1000"]
            command += ["-kernel", self._xen, "-append"]
            command += [
                "console=com1 com1=115200,8n1 dom0_mem=640M dom0_max_vcpus=1 no-real-mode edd=off "
                f"loglvl=all {self._fpu} "
                f"{'dom0=pvh ' if self.dom0 == 'pvh' else ''}{self._options}"
            ]
            command += ["-initrd"]
            command += [
                f"{self._kernel} console=hvc0 earlyprintk=xen rdinit=/init loglevel=4 {QUICKER} "
                f"secretmem.enable=1 harness={port},{self._initrd}"
            ]
            complaints = self.directory / "qemu.log"
            with open(complaints, "wb") as log:
                self.process = spawn(command, stdout=log, stderr=log)
            server.setblocking(False)

            def called():
                try:
                    self._shell, _ = server.accept()
                    return True
                except BlockingIOError:
                    return self.process.poll() is not None

            wait_until(called, BOOT_SECONDS)
            if self._shell is None:
                ended = self.process.poll() is not None
                raise NotBooted(
                    f"Xen did not boot: QEMU {'ended' if ended else f'hung for {BOOT_SECONDS} s'}; "
                    "its last words:\n" + (tail(self.serial_log) or tail(complaints))
                )
        self._shell.setblocking(True)
        self.run("true")
        self.progress(f"Xen and dom0 ({self.dom0.upper()}) are up after "
                      f"{time.monotonic() - started:.1f} s")  # fmt: skip

    def _stop(self):
        if self._shell:
            self._shell.close()
            self._shell = None
        if self.process:
            end(self.process, grace=1)
            self.process = None


class DomU(Commands):
    """A domU with the test guest's family of processes. Commands go over its console, which is
    memory that the domU itself granted to dom0."""

    def __init__(self, machine, name, kind, uuid, options="", kernel="/boot/vmlinuz",
                 ramdisk="/boot/domu.img"):  # fmt: skip
        self.machine = machine
        self.name = name
        self.kind = kind  # pv, pvh
        self.uuid = uuid
        self._options = options  # of its kernel
        self._boots = (kernel, ramdisk)  # files of dom0
        self._log = f"/var/log/xen/guest-{name}.log"

    def create(self):
        started = time.monotonic()
        kernel, ramdisk = self._boots
        cpu = WITHOUT_XSAVE if (self.machine.dom0, self.kind) == ("pvh", "pv") else ""
        self.machine.run(f"""
rm -f {self._log}
cat >/root/{self.name}.cfg <<END
name = "{self.name}"
uuid = "{self.uuid}"
type = "{self.kind}"
kernel = "{kernel}"
ramdisk = "{ramdisk}"
extra = "console=hvc0 quiet panic=-1 commands=/dev/hvc0 {QUICKER} {self._options}"
tsc_mode = "native"
{cpu}
memory = 160
vcpus = 1
on_crash = "preserve"
END
xl create -q /root/{self.name}.cfg""")
        self.domid = int(self.machine.run(f"xl domid {self.name}"))
        self._await("READY", "up")
        self._terminal = self.machine.run(
            f"until xenstore-read /local/domain/{self.domid}/console/tty; do usleep 50000; done"
        ).strip()
        self.machine.progress(
            f"domU {self.name} ({self.kind.upper()}) is up after {time.monotonic() - started:.1f} s"
        )
        return self

    def destroy(self):
        self.machine.run(f"xl destroy {self.name}")

    def command(self, line, seconds=COMMAND_SECONDS):
        """Lines of the answer; the last is what follows `ok`."""
        begin = int(self.machine.run(f"stat -c %s {self._log}"))
        self.machine.run(f"printf '%s\\n' '{line}' >{self._terminal}", seconds)
        last, text = self.await_answer(line, begin)
        return [*text.splitlines(), last]

    def await_answer(self, line, begin=0):
        """What it says from byte `begin` of its console up to `ok WHAT`: (WHAT, what came before)."""
        self._await("^(ok|error) ", f"ready with `{line}`", begin)
        text = self.machine.run(f"tail -c +{begin + 1} {self._log}").replace("\r", "")
        answer, _, last = text.rstrip("\n").rpartition("\n")
        if not last.startswith("ok "):
            raise Trouble(f"domU {self.name} did not do `{line}`: {last}")
        return last[3:], answer

    def _await(self, pattern, what, begin=0):
        status, output = self.machine.try_run(
            f"i=0; until tail -c +{begin + 1} {self._log} 2>/dev/null | grep -q -E '{pattern}'; do "
            f"i=$((i+1)); [ $i -lt {2 * COMMAND_SECONDS} ] || exit {TIME_OVER}; usleep 500000; done",
            2 * COMMAND_SECONDS,
        )
        if status != 0:
            console = self.machine.run(f"tail -n 15 {self._log} 2>/dev/null || true")
            why = "it took too long" if status == TIME_OVER else f"status {status} {output.strip()}"
            kernel = self.machine.try_run("dmesg | tail -n 5")[1]
            raise Trouble(f"domU {self.name} is not {what} ({why}); its console ends:\n{console}\n"
                          f"and dom0's kernel said:\n{kernel}")  # fmt: skip


def main():
    parser = argparse.ArgumentParser(prog="machine.py", description=__doc__.split("\n\n")[0])
    parser.add_argument("--xen", help="Xen's image (Debian's own)")
    parser.add_argument("--xen-options", default="", help="for Xen's command line")
    parser.add_argument("--dom0", choices=CPU, default="pv")
    parser.add_argument("--domu", choices=("pv", "pvh"), help="a domU, too")
    options = parser.parse_args()
    with Machine(options.xen, dom0=options.dom0, xen_options=options.xen_options,
                 progress=lambda line: print(line, file=sys.stderr, flush=True)) as machine:  # fmt: skip
        if options.domu:
            domu = DomU(machine, "u", options.domu, "00000000-0000-4000-8000-000000000001").create()
            print(f"{len(domu.processes())} processes")
        while sys.stdin.isatty() or not sys.stdin.closed:
            try:
                line = input("dom0# ")
            except EOFError:
                break
            print(machine.try_run(line)[1])
    return 0


if __name__ == "__main__":
    main_of(main)
