// SPDX-License-Identifier: MIT
#include "remote/commands.hpp"

#include <utility>

#include "wire/bytes.hpp"

namespace sgm::remote {
namespace {

template <WireStruct T>
std::vector<std::uint8_t> payload_of(const T& value) {
    const Bytes bytes = bytes_of(value);
    return {bytes.begin(), bytes.end()};
}

}  // namespace

bool Commands::add_query(const wire::Query& query) {
    if (queries_.size() == kMaxPendingQueries) return false;
    queries_.push_back(query);
    return true;
}

std::optional<Command> Commands::take() {
    if (rules_) {
        return Command{.kind = wire::OwnerKind::rules,
                       .payload = *std::exchange(rules_, std::nullopt)};
    }
    if (!queries_.empty()) {
        const wire::Query query = queries_.front();
        queries_.pop_front();
        return Command{.kind = wire::OwnerKind::query, .payload = payload_of(query)};
    }
    if (challenge_) {
        const wire::Challenge challenge{.nonce = *std::exchange(challenge_, std::nullopt)};
        return Command{.kind = wire::OwnerKind::challenge, .payload = payload_of(challenge)};
    }
    return std::nullopt;
}

void Commands::clear() {
    *this = Commands{};
}

}  // namespace sgm::remote
