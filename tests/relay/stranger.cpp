// SPDX-License-Identifier: MIT
#include "tests/relay/stranger.hpp"

#include <algorithm>

#include "tests/relay/examiner.hpp"

namespace sgm::relay {

Message Stranger::message(const std::vector<Step>& steps, std::size_t number, bool undelivered) {
    messages_.clear();
    wanted_ = number;
    undelivered_ = undelivered;
    Examiner examiner{*this, world_.authority.public_key(), domain_};
    for (const Step& step : steps) {
        if (messages_.size() > number) break;
        if (step.registers_anew) {
            if (!examiner.register_anew()) break;
        } else {
            static_cast<void>(examiner.ask(step.batch));
        }
    }
    return messages_.at(number);
}

std::expected<std::size_t, EnvironmentError> Stranger::call_hypervisor(Bytes call,
                                                                       MutableBytes reply) {
    if (messages_.size() > wanted_) return std::unexpected(EnvironmentError::stopped);
    relay_.note_call(call);
    messages_.emplace_back(call.begin(), call.end());
    if (undelivered_ && messages_.size() > wanted_)
        return std::unexpected(EnvironmentError::stopped);
    messages_.push_back(relay_.deliver(call));
    std::ranges::copy(messages_.back(), reply.begin());
    return messages_.back().size();
}

std::expected<void, EnvironmentError> Stranger::send(wire::Peer peer, Bytes message) {
    // Its owner is another, who takes no part in this.
    if (peer == wire::Peer::owner || peer == wire::Peer::log) return {};
    return relay_.send(peer, message);
}

std::expected<std::size_t, EnvironmentError> Stranger::receive(wire::Peer peer,
                                                               std::uint64_t wait_ns,
                                                               MutableBytes into) {
    return world_.receive(peer, wait_ns, into);
}

std::expected<void, EnvironmentError> Stranger::wait(std::uint64_t) {
    return std::unexpected(EnvironmentError::stopped);
}

std::expected<std::array<std::uint8_t, 432>, EnvironmentError> Stranger::report(
    const std::array<std::uint8_t, 64>& report_data) {
    return world_.report(report_data);
}

}  // namespace sgm::relay
