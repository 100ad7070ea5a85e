// SPDX-License-Identifier: MIT
// A page that any program in the guest may have written.
#include "guest/linux/vmcoreinfo.hpp"

#include "fuzz/target.hpp"
#include "guest/testing/synthetic_kernel.hpp"

namespace sgm::fuzz {

void run(Bytes input) {
    const auto info = guest::parse_vmcoreinfo(input);
    if (!info) return;
    check(info->release.size() <= 63 && info->build_id.size() <= 64, "texts keep to their bounds");
    static_cast<void>(info->image_physical(info->stext));
    static_cast<void>(info->space());
}

std::vector<Octets> seeds() {
    std::vector<Octets> result;
    for (const auto paging : {wire::Paging::four_level, wire::Paging::five_level}) {
        for (const bool names_kallsyms : {false, true}) {
            const guest::testing::SyntheticKernel kernel{
                {.paging = paging, .names_kallsyms = names_kallsyms}};
            result.push_back(octets_of(kernel.vmcoreinfo()));
        }
    }
    return result;
}

}  // namespace sgm::fuzz
