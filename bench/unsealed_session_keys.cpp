// SPDX-License-Identifier: MIT
// A session that seals nothing, to measure what sealing costs. It takes the place of
// hypervisor/core/session_keys.cpp when a benchmark program is linked, and nothing else ever links
// it: no setting leads here, and a test looks for its mark in every program that ships.
#include "hypervisor/core/session_keys.hpp"

extern "C" {
extern const char sgm_bench_unsealed[];
[[gnu::used]] const char sgm_bench_unsealed[] = "this benchmark program does not seal";
}

namespace sgm::hypervisor {

KeyMaterial derive_keys(const SessionName&, const wire::Nonce&, const crypto::Secret<32>&) {
    return {};
}

SessionKeys::SessionKeys(const SessionName& name, const KeyMaterial& material)
    : name_{name},
      request_key_{material.bytes().subspan<0, 32>()},
      answer_key_{material.bytes().subspan<0, 32>()} {}

SessionKeys::~SessionKeys() = default;

wire::SealedHeader SessionKeys::seal(wire::Command, wire::Direction, std::uint64_t counter,
                                     MutableBytes text) const {
    return {.session = name_.id,
            .epoch = name_.epoch,
            .counter = counter,
            .size = static_cast<std::uint32_t>(text.size()),
            .reserved = 0,
            .tag = {}};
}

bool SessionKeys::open(wire::Command, wire::Direction, const wire::SealedHeader& header,
                       MutableBytes text) const {
    return header.session == name_.id && header.epoch == name_.epoch &&
           header.size == text.size() && header.reserved == 0;
}

}  // namespace sgm::hypervisor
