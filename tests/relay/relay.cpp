// SPDX-License-Identifier: MIT
#include "tests/relay/relay.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "wire/ring.hpp"
#include "wire/sgm_op.hpp"
#include "wire/status_text.hpp"

namespace sgm::relay {
namespace {

// An honest conversation has some forty calls; whoever needs this many is caught in a circle.
constexpr std::uint32_t kMaxSteps = 400;

wire::OpHeader header_of(Bytes frame) {
    return Reader{frame}.take<wire::OpHeader>().value_or(wire::OpHeader{});
}

bool is(Bytes frame, wire::Command command) {
    return header_of(frame).command == static_cast<std::uint16_t>(command);
}

Message to_message(Bytes bytes) {
    return {bytes.begin(), bytes.end()};
}

bool is_call(std::size_t number) {
    return number % 2 == 0;
}

Message refusal(const Message& reply, std::uint32_t status) {
    wire::OpHeader header = header_of(reply);
    header.size = 0;
    header.status = status;
    return to_message(bytes_of(header));
}

}  // namespace

Relay::Relay(ids::testing::World& world, Hypervisor hypervisor, ReadCount reads, const Leaks& leaks)
    : world_{world},
      hypervisor_{std::move(hypervisor)},
      reads_{std::move(reads)},
      leaks_{leaks},
      buffer_(wire::kRingMaxReply) {}

void Relay::begin() {
    case_.reset();
    messages_.clear();
    calls_.clear();
    to_owner.clear();
}

void Relay::arm(const Case& attack, Message substitute) {
    case_ = attack;
    substitute_ = std::move(substitute);
    held_.clear();
    over_ = false;
    steps_ = waits_ = refusals_ = 0;
    authority_refused_ = false;
}

std::vector<std::size_t> Relay::sizes() const {
    std::vector<std::size_t> out;
    std::ranges::transform(messages_, std::back_inserter(out), &Message::size);
    return out;
}

void Relay::violate(std::string what) {
    if (violation_.empty()) violation_ = std::move(what);
}

std::string Relay::take_violation() {
    return std::exchange(violation_, {});
}

// ---------------------------------------------------------------------------------------------

Message Relay::deliver(Bytes call) {
    if (leaks_.are_in(call)) violate("plaintext is in a call");
    const std::uint64_t reads = reads_();
    const std::size_t size = hypervisor_(call, buffer_);
    Message reply = to_message(Bytes{buffer_}.first(size));
    check_reply(call, reply, reads);
    return reply;
}

void Relay::check_reply(Bytes call, Bytes reply, std::uint64_t reads) {
    if (leaks_.are_in(reply)) violate("plaintext is in a reply");
    const wire::OpHeader header = header_of(reply);
    if (header.magic != wire::kOpMagic || header.size != reply.size() - sizeof(header)) {
        violate("the hypervisor's reply is not a frame");
    }
    if (header.status != static_cast<std::uint32_t>(wire::Status::ok)) {
        ++refusals_;
        if (reads_() != reads) violate("a refused call has read guest memory");
        if (header.size != 0) violate("a refusal says more than its reason");
        return;
    }
    if (is(call, wire::Command::identity)) return;  // anyone may ask who is there
    const auto made = std::ranges::find_if(
        calls_, [call](const Message& one) { return std::ranges::equal(one, call); });
    if (made == calls_.end()) {
        violate("the hypervisor took a call that nobody made, or took one twice");
    } else {
        calls_.erase(made);
    }
}

std::expected<std::size_t, EnvironmentError> Relay::call_hypervisor(Bytes call,
                                                                    MutableBytes reply) {
    if (++steps_ > kMaxSteps) {
        violate("it goes on without an end");
        return std::unexpected(EnvironmentError::stopped);
    }
    note_call(call);
    Exchange exchange{.at = messages_.size(), .call = to_message(call), .reply = {}};
    messages_.push_back(exchange.call);
    const bool attacks = case_.has_value();
    if (attacks) attack_call(exchange);
    if (!exchange.delivered) exchange.reply = deliver(exchange.call);
    messages_.push_back(exchange.reply);
    if (attacks) attack_reply(exchange);

    if (!exchange.answered) return std::unexpected(EnvironmentError::unreachable);
    if (exchange.reply.size() > reply.size()) return std::unexpected(EnvironmentError::too_large);
    std::ranges::copy(exchange.reply, reply.begin());
    return exchange.reply.size();
}

// ---------------------------------------------------------------------------------------------

void Relay::change(Message& message) {
    if (case_->attack == Attack::flip) {
        message.at(case_->detail / 8) ^= static_cast<std::uint8_t>(1u << (case_->detail % 8));
    } else if (case_->attack == Attack::cut) {
        message.resize(case_->detail);
    } else {
        for (std::uint32_t i = 0; i < case_->detail; ++i)
            message.push_back(static_cast<std::uint8_t>(i * 0x35));
    }
}

// What was kept back goes out now; `exchange` is the one after which it goes.
void Relay::send_late(Exchange& exchange) {
    if (!is_call(case_->message)) {  // a reply: it comes to the IDS instead of the right one
        exchange.reply = held_;
        exchange.delivered = exchange.answered = true;
        return;
    }
    const bool after_call = is_call(case_->later);
    if (after_call) static_cast<void>(deliver(exchange.call));
    Message reply = deliver(held_);
    if (after_call) {
        exchange.reply = std::move(reply);
        exchange.delivered = true;
    }
}

void Relay::attack_call(Exchange& exchange) {
    const bool here = exchange.at == case_->message;
    const bool later = exchange.at == case_->later && case_->later != 0;
    if (!here && !later) return;
    switch (case_->attack) {
        case Attack::flip:
        case Attack::cut:
        case Attack::extend:
            if (!here) return;
            change(exchange.call);
            return note_over();
        case Attack::drop:
            exchange.delivered = true;
            exchange.answered = false;
            return note_over();
        case Attack::duplicate: {
            Message first = deliver(exchange.call);
            Message second = deliver(exchange.call);
            exchange.reply = std::move(case_->detail == 1 ? first : second);
            exchange.delivered = true;
            return note_over();
        }
        case Attack::replay:
        case Attack::reflect:
            if (!later) return;
            if (case_->detail == 1) {
                static_cast<void>(deliver(messages_.at(case_->message)));
            } else {
                exchange.call = messages_.at(case_->message);
            }
            return note_over();
        case Attack::reorder:
            if (later && over_) return;
            if (later) {
                send_late(exchange);
                return note_over();
            }
            held_ = exchange.call;
            exchange.delivered = true;
            exchange.answered = false;
            return;
        case Attack::other_session:
        case Attack::other_domain:
        case Attack::older_epoch: exchange.call = substitute_; return note_over();
        case Attack::made_up: return;
    }
}

void Relay::attack_reply(Exchange& exchange) {
    const std::size_t at = exchange.at + 1;
    const bool here = at == case_->message;
    const bool later = at == case_->later;
    if (!here && !later) return;
    switch (case_->attack) {
        case Attack::flip:
        case Attack::cut:
        case Attack::extend: change(exchange.reply); return note_over();
        case Attack::drop: exchange.answered = false; return note_over();
        case Attack::duplicate: {
            const Message once = exchange.reply;
            exchange.reply.insert(exchange.reply.end(), once.begin(), once.end());
            return note_over();
        }
        case Attack::replay:
        case Attack::reflect:
            if (!later) return;
            exchange.reply = messages_.at(case_->message);
            return note_over();
        case Attack::reorder:
            if (later) {
                send_late(exchange);
                return note_over();
            }
            held_ = exchange.reply;
            exchange.answered = false;
            return;
        case Attack::other_session:
        case Attack::other_domain:
        case Attack::older_epoch: exchange.reply = substitute_; return note_over();
        case Attack::made_up:
            exchange.reply = refusal(exchange.reply, case_->detail);
            return note_over();
    }
}

// ---------------------------------------------------------------------------------------------

std::expected<void, EnvironmentError> Relay::send(wire::Peer peer, Bytes message) {
    if (leaks_.are_in(message)) violate("plaintext is in what the host carries for the IDS");
    if (peer == wire::Peer::log) return {};
    if (peer == wire::Peer::owner) {
        to_owner.push_back(to_message(message));
        return {};
    }
    world_.carried.clear();
    return world_.send(peer, message);
}

std::expected<std::size_t, EnvironmentError> Relay::receive(wire::Peer peer, std::uint64_t wait_ns,
                                                            MutableBytes into) {
    const auto size = world_.receive(peer, wait_ns, into);
    if (size && peer == wire::Peer::authority) {
        const auto verdict = Reader{into.first(*size)}.take<wire::AuthorityReply>();
        if (verdict && verdict->accepted != 1) authority_refused_ = true;
    }
    return size;
}

std::expected<void, EnvironmentError> Relay::wait(std::uint64_t) {
    ++waits_;
    if (++steps_ <= kMaxSteps) return std::unexpected(EnvironmentError::nothing);
    violate("it waits without an end");
    return std::unexpected(EnvironmentError::stopped);
}

std::expected<std::array<std::uint8_t, 432>, EnvironmentError> Relay::report(
    const std::array<std::uint8_t, 64>& report_data) {
    return world_.report(report_data);
}

}  // namespace sgm::relay
