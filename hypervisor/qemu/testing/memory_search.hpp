// SPDX-License-Identifier: MIT
// Looks through the memory of a process for pieces of secrets.
#pragma once

#include <sys/types.h>

#include <bitset>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "wire/bytes.hpp"

namespace sgm::qemu::testing {

class MemorySearch final {
  public:
    // Every 8 bytes of `secret` that follow one another, at multiples of 8; also with the bytes of
    // each 32-bit word turned round, as SHA-256 has them while it works.
    void add(const std::string& name, Bytes secret);

    // Which of them are anywhere in the readable mappings of a process, at any alignment, and where
    // ("request key in [stack]+0x1f28"). nullopt: its memory may not be read.
    struct Found {
        std::set<std::string> names;
        std::vector<std::string> places;
    };
    [[nodiscard]] std::optional<Found> look(pid_t process) const;

  private:
    void add_piece(const std::string& name, std::uint64_t piece);
    void look_at(Bytes memory, const std::string& mapping, Found& found) const;

    std::unordered_map<std::uint64_t, std::string> pieces_;
    std::bitset<65536> beginnings_;  // of the pieces: most of memory is sorted out by it
};

}  // namespace sgm::qemu::testing
