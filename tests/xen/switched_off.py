# SPDX-License-Identifier: MIT
"""SGmonitor in Xen stays off where it must, says why, and the machine boots on."""

import json
from dataclasses import dataclass
from pathlib import Path

from common import program
from machine import Machine

KEY = "sgm_authority=" + "11" * 32


@dataclass(frozen=True)
class Case:
    where: str
    why: str  # what Xen's console and sgmonitord say
    cpu: str = ""
    options: str = KEY
    test_build: bool = False


CASES = (
    Case("on a CPU without AES-NI", "no AES-NI", cpu=",-aes"),
    Case("on a CPU without PCLMULQDQ", "no AES-NI, PCLMULQDQ", cpu=",-pclmulqdq"),
    Case("on a CPU without RDSEED and RDRAND", "neither RDSEED nor RDRAND", cpu=",-rdseed,-rdrand"),
    Case("without sgm_authority=", "sgm_authority=", options=""),
    Case("with half an authority's key", "sgm_authority=", options="sgm_authority=1122"),
    Case("when its cryptography gives a wrong answer", "its cryptography",
         options=KEY + " sgm_test_wrong_answer", test_build=True),
)  # fmt: skip


def try_case(case, images, dom0, report):
    """`images`: of the product and of the test build."""
    image = Path(images[case.test_build])
    extra = {"opt/sgmonitor/sgmonitord": program("sgmonitord")}
    with Machine(image, dom0=dom0, cpu=case.cpu, xen_options=case.options, extra=extra,
                 progress=report.progress) as machine:  # fmt: skip
        said = machine.await_console("SGmonitor: off")
        state = json.loads(machine.run("sgmonitord xen-state --json"))
        report.outcome(
            case.why in said and not state["on"] and case.why in state["why_off"],
            f"{case.where}, it is off and says so: {state['why_off']}",
            f"{said}\n{state}",
        )
        report.outcome(
            "hypervisor key" not in machine.console() and machine.lives(),
            "Xen has made no key; Xen and dom0 are alive",
            machine.console()[-2000:],
        )


def try_all(images, dom0, report):
    for case in CASES:
        try_case(case, images, dom0, report)
