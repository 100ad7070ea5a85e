// SPDX-License-Identifier: MIT
// What waits to be told to the IDS. Only the newest challenge and rules matter, so they never pile
// up; queries are few.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "wire/owner.hpp"

namespace sgm::remote {

inline constexpr std::size_t kMaxPendingQueries = 16;

struct Command {
    wire::OwnerKind kind;
    std::vector<std::uint8_t> payload;
};

class Commands final {
  public:
    void set_challenge(const wire::Nonce& nonce) { challenge_ = nonce; }
    void set_rules(std::vector<std::uint8_t> payload) { rules_ = std::move(payload); }
    // False when too many wait already.
    [[nodiscard]] bool add_query(const wire::Query& query);

    // Rules before queries before the challenge: rules change what is found, a person waits for
    // queries, and the next challenge comes soon.
    [[nodiscard]] std::optional<Command> take();
    void clear();

  private:
    std::optional<std::vector<std::uint8_t>> rules_;
    std::deque<wire::Query> queries_;
    std::optional<wire::Nonce> challenge_;
};

}  // namespace sgm::remote
