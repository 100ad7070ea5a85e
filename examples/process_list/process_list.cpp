// SPDX-License-Identifier: MIT
// The IDS of 2017 as an enclave of a third party: it lists the VM's processes when the VM's owner
// asks. The host carries question and answer and can read neither.
#include <utility>

#include "guest/linux/tasks.hpp"
#include "ids/enclave_environment.hpp"
#include "ids/program.hpp"
#include "sgx/enclave/runtime.hpp"

namespace {

// What the kernel in the VM has in its task list now, or why that cannot be told.
sgm::ids::ProcessList list_processes(sgm::guest::Memory& memory) {
    const auto kernel = sgm::guest::Kernel::attach(memory);
    if (!kernel) return std::unexpected(kernel.error().why);
    auto processes = sgm::guest::list_processes(memory, *kernel);
    if (!processes) return std::unexpected(sgm::guest::describe(processes.error()));
    return std::move(*processes);
}

}  // namespace

// All that the host says is in `start`; whom to believe is in the measured configuration.
sgm::wire::EnclaveResult sgm::enclave_main(const wire::StartInfo& start) {
    auto host = ids::enclave_environment(start);
    if (!host) return wire::EnclaveResult::bad_argument;

    // From here on the authority has approved this enclave for this VM, and named the VM's owner.
    const auto program = ids::Program::start(*host, enclave::measured_config().authority_key,
                                             start.domain, start.interval_ms);
    if (!program) return program.error();

    for (;;) {
        const auto query = (*program)->next_query();
        if (!query) return query.error();
        (*program)->answer(*query, list_processes((*program)->memory()));
    }
}
