// SPDX-License-Identifier: MIT
// One domain's memory during one batch: every read that the core makes goes through here, and
// here is the check that it lies in the domain's RAM.
#pragma once

#include <cstdint>
#include <optional>

#include "hypervisor/core/budget.hpp"
#include "hypervisor/core/page_table.hpp"
#include "hypervisor/core/port.hpp"
#include "wire/sgm_op.hpp"

namespace sgm::hypervisor {

// How far a read got: fault.kind is none exactly when all bytes were read.
struct ReadOutcome {
    std::size_t size;
    wire::Fault fault;

    [[nodiscard]] bool complete() const { return fault.kind == wire::FaultKind::none; }
};

class Memory final : public PhysicalWords {
  public:
    // All three outlive this.
    Memory(Domain& domain, Translator& translator, Budget& budget)
        : domain_{domain}, translator_{translator}, budget_{budget} {}

    [[nodiscard]] ReadOutcome read_physical(std::uint64_t address, MutableBytes out);
    [[nodiscard]] ReadOutcome read_virtual(const AddressSpace& space, std::uint64_t address,
                                           MutableBytes out);

    [[nodiscard]] std::optional<std::uint64_t> word(std::uint64_t physical) override;

    [[nodiscard]] Domain& domain() { return domain_; }
    [[nodiscard]] Budget& budget() { return budget_; }

  private:
    // How many of `size` bytes from `physical` on lie in one RAM range.
    [[nodiscard]] std::size_t in_ram(std::uint64_t physical, std::size_t size);
    // Bytes read: all, or those before the end of RAM.
    [[nodiscard]] std::size_t read_piece(std::uint64_t physical, MutableBytes out);

    Domain& domain_;
    Translator& translator_;
    Budget& budget_;
    wire::RamRange last_range_{};
};

}  // namespace sgm::hypervisor
