# SPDX-License-Identifier: MIT
"""What takes a boot of its own. SGmonitor in Xen stays off where it must, says why, and the machine
boots on; where it is on, the vector registers of dom0 are as they were after each call."""

import concurrent.futures
import json
from dataclasses import dataclass
from pathlib import Path

from common import Trouble, program
from machine import EAGER_FPU, Machine

KEY = "sgm_authority=" + "11" * 32


@dataclass(frozen=True)
class OffCase:
    where: str
    why: str  # what Xen's console and sgmonitord say
    cpu: str = ""
    options: str = KEY
    test_build: bool = False

    def try_out(self, boot):
        extra = {"opt/sgmonitor/sgmonitord": program("sgmonitord")}
        with boot(self, cpu=self.cpu, xen_options=self.options, extra=extra) as machine:
            said = machine.await_console("SGmonitor: off")
            state = json.loads(machine.run("sgmonitord xen-state --json"))
            yield (
                self.why in said and not state["on"] and self.why in state["why_off"],
                f"{self.where}, it is off and says so: {state['why_off']}",
                f"{said}\n{state}",
            )
            yield (
                "hypervisor key" not in machine.console() and machine.lives(),
                "Xen has made no key; Xen and dom0 are alive",
                machine.console()[-2000:],
            )


@dataclass(frozen=True)
class RegistersCase:
    where: str
    fpu: str
    test_build: bool = True

    def try_out(self, boot):
        extra = {"opt/sgmonitor/registers": boot.attacks["opt/sgmonitor/registers"]}
        with boot(self, fpu=self.fpu, xen_options=KEY, extra=extra) as machine:
            status, output = machine.try_run("registers")
            for line in output.splitlines():
                yield line.startswith("PASS "), f"{self.where}, {line[5:]}", output
            yield status == 0 and machine.lives(), "Xen and dom0 are alive", output


CASES = (
    OffCase("on a CPU without AES-NI", "no AES-NI", cpu=",-aes"),
    OffCase("on a CPU without PCLMULQDQ", "no AES-NI, PCLMULQDQ", cpu=",-pclmulqdq"),
    OffCase("on a CPU without RDSEED and RDRAND", "neither RDSEED nor RDRAND",
            cpu=",-rdseed,-rdrand"),
    OffCase("without sgm_authority=", "sgm_authority=", options=""),
    OffCase("with half an authority's key", "sgm_authority=", options="sgm_authority=1122"),
    OffCase("when its cryptography gives a wrong answer", "its cryptography",
            options=KEY + " sgm_test_wrong_answer", test_build=True),
    RegistersCase("where Xen restores vector registers at once", EAGER_FPU),
    RegistersCase("where Xen restores them when they are used", ""),
)  # fmt: skip


class Boot:
    """A machine for a case: `images` of the product and of the test build, `attacks` compiled."""

    def __init__(self, images, attacks, dom0):
        self.images = images
        self.attacks = attacks
        self.dom0 = dom0
        self.said = []

    def __call__(self, case, **options):
        image = Path(self.images[case.test_build])
        return Machine(image, dom0=self.dom0, progress=self.said.append, **options)


class Boots:
    """All cases, tried one after the other in the background from the beginning on: a machine has
    one emulated CPU, so another can do something else meanwhile."""

    def __init__(self, images, attacks, dom0):
        self._pool = concurrent.futures.ThreadPoolExecutor(1)
        self._tried = [
            self._pool.submit(self._try_out, case, Boot(images, attacks, dom0)) for case in CASES
        ]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._pool.shutdown(cancel_futures=True)

    def tell(self, report):
        for case, tried in zip(CASES, self._tried, strict=True):
            said, outcomes = tried.result()
            for line in said:
                report.progress(f"{line} ({case.where})")
            for outcome in outcomes:
                report.outcome(*outcome)

    @staticmethod
    def _try_out(case, boot):
        outcomes = []
        try:
            outcomes.extend(case.try_out(boot))
        except Trouble as trouble:
            outcomes.append((False, f"{case.where}: it was not tried to its end", trouble))
        return boot.said, outcomes
