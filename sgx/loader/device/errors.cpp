// SPDX-License-Identifier: MIT
#include "sgx/loader/device/errors.hpp"

#include <fmt/format.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace sgm::sgx::device {
namespace {

struct Meaning {
    Step step;
    int error;
    const char* sentence;
};

constexpr std::array kMeanings = {
    Meaning{Step::open, ENOENT,
            "there is no /dev/sgx_enclave: the CPU has no SGX, the firmware keeps it off, or this "
            "kernel was built without CONFIG_X86_SGX; `sgmonitor host doctor` tells which"},
    Meaning{Step::open, EACCES,
            "/dev/sgx_enclave may not be opened: add this user to the group that owns it (`ls -l "
            "/dev/sgx_enclave`; often `sgx`) and log in again"},
    Meaning{Step::open, EPERM,
            "/dev/sgx_enclave may not be opened: a container or a security module forbids it; "
            "give the container the device (`--device /dev/sgx_enclave`)"},
    Meaning{Step::open, ENODEV,
            "/dev/sgx_enclave is there but no driver is behind it: boot with SGX on and Flexible "
            "Launch Control in the firmware; `sgmonitor host doctor` tells more"},
    Meaning{Step::open_provision, ENOENT,
            "the enclave wants the provision key, and there is no /dev/sgx_provision: only "
            "quoting enclaves need that key; sign this one without it"},
    Meaning{Step::open_provision, EACCES,
            "the enclave wants the provision key, and /dev/sgx_provision may not be opened: add "
            "this user to the group that owns it (often `sgx_prv`), or sign without that key"},
    Meaning{Step::create, EINVAL,
            "the driver refuses the enclave's address range or found an enclave made already: "
            "the file was not made by `sgmonitor enclave sign`"},
    Meaning{Step::create, EIO,
            "ECREATE failed: this CPU does not offer the attributes or the extended state (XFRM) "
            "that the enclave is signed for; sign it for what this machine has"},
    Meaning{Step::create, ENOMEM,
            "no enclave memory (EPC) is left: end other enclaves, or give SGX more memory in the "
            "firmware"},
    Meaning{Step::add, EACCES,
            "the driver refuses pages from memory that may never be executed: the loader runs "
            "from a noexec mount or under a policy against executable memory; move it or relax "
            "that"},
    Meaning{Step::add, EINVAL,
            "the driver refuses a page's place or permissions: the enclave file is damaged; sign "
            "it again"},
    Meaning{Step::add, EIO,
            "EADD or EEXTEND failed: the machine slept while the enclave was loaded, or the file "
            "is damaged; try again, then sign it again"},
    Meaning{Step::add, ENOMEM,
            "the enclave does not fit into the enclave memory (EPC): end other enclaves, give SGX "
            "more memory in the firmware, or sign it with a smaller heap"},
    Meaning{Step::init, EPERM,
            "EINIT refused a signature that the loader found good, so the CPU launches only "
            "enclaves of another signer: its launch key is locked (no Flexible Launch Control); "
            "unlock it in the firmware, or have the hypervisor give this VM SGX_LC"},
    Meaning{Step::init, EACCES,
            "the driver does not let this enclave have the attributes that it is signed for: "
            "without /dev/sgx_provision no provision key, and never the EINIT token key"},
    Meaning{Step::init, EINVAL,
            "the signature demands attributes or extended state (XFRM) that this CPU or kernel "
            "has not: sign the enclave for what this machine has"},
    Meaning{Step::init, EIO,
            "EINIT failed: the machine slept while the enclave was loaded; try again"},
    Meaning{Step::map, EPERM,
            "enclave code may not be executed because /dev is mounted noexec: `mount -o "
            "remount,exec /dev`"},
    Meaning{Step::map, EACCES,
            "the driver refuses the mapping of the enclave: this process has the READ_IMPLIES_EXEC "
            "personality (start it without `setarch -X`) or the file is damaged"},
};

const char* what_failed(Step step) {
    switch (step) {
        case Step::open: return "/dev/sgx_enclave cannot be opened";
        case Step::open_provision: return "/dev/sgx_provision cannot be opened";
        case Step::provision: return "the driver does not grant the provision key";
        case Step::create: return "the driver cannot create the enclave";
        case Step::add: return "the driver cannot add the enclave's pages";
        case Step::init: return "the driver cannot initialise the enclave";
        case Step::map: return "the enclave cannot be mapped";
    }
    return "the driver failed";
}

}  // namespace

std::string explain(Step step, int error) {
    for (const Meaning& meaning : kMeanings) {
        if (meaning.step == step && meaning.error == error) return meaning.sentence;
    }
    return fmt::format("{}: {}; see `dmesg | grep -i sgx`", what_failed(step),
                       std::strerror(error));
}

}  // namespace sgm::sgx::device
