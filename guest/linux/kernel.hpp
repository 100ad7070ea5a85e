// SPDX-License-Identifier: MIT
// A Linux kernel that was found in guest memory and understood without a profile:
// VMCOREINFO -> page-table root -> kallsyms -> BTF -> offsets, each step checked against another.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <vector>

#include "guest/linux/kallsyms.hpp"
#include "guest/linux/layout.hpp"
#include "guest/linux/vmcoreinfo.hpp"
#include "guest/memory.hpp"

namespace sgm::guest {

// Why there is no Kernel.
struct AttachError {
    enum class Kind {
        no_kernel,    // none found yet: the guest may still be booting
        unsupported,  // one is there, but it is not understood: `why` begins "unsupported kernel: "
        unreadable,   // the hypervisor reports memory that cannot be read
        memory,       // the way to the memory failed: see `failure`
    };
    Kind kind;
    std::string why;        // one sentence, at most 127 bytes, printable ASCII
    Failure failure{};      // with Kind::memory
    std::string release{};  // of the kernel that was found, if any; as the guest has it
};

// A derived fact and where it is from, for people who ask.
enum class Source { vmcoreinfo, kallsyms, btf, self_check, processor };
[[nodiscard]] std::string_view text(Source source);
struct Fact {
    std::string_view name;
    std::uint64_t value;
    Source source;
};

class Kernel final {
  public:
    // Takes about ten exchanges. A Kernel stays valid while the guest runs this kernel: readers
    // say Error::kernel_changed when it is no longer there.
    [[nodiscard]] static std::expected<Kernel, AttachError> attach(Memory& memory);

    [[nodiscard]] std::string_view release() const { return info_.release; }
    [[nodiscard]] const Vmcoreinfo& vmcoreinfo() const { return info_; }
    [[nodiscard]] AddressSpace space() const { return space_; }
    [[nodiscard]] const Kallsyms& symbols() const { return symbols_; }
    [[nodiscard]] const Layout& layout() const { return layout_; }
    [[nodiscard]] std::uint64_t init_task() const { return init_task_; }
    [[nodiscard]] const std::vector<Fact>& facts() const { return facts_; }

  private:
    Kernel() = default;
    friend class Attacher;
    Vmcoreinfo info_;
    AddressSpace space_;
    Kallsyms symbols_;
    Layout layout_;
    std::uint64_t init_task_ = 0;
    std::vector<Fact> facts_;
};

}  // namespace sgm::guest
