// SPDX-License-Identifier: MIT
#include "host/ocalls.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

#include "cli/output.hpp"

namespace sgm::host {

namespace {

// The enclave never waits longer than this in one OCALL, whatever it asks for.
constexpr std::uint64_t kMaxWaitNs = 60ull * 1'000'000'000;

std::chrono::nanoseconds bounded(std::uint64_t wait_ns) {
    return std::chrono::nanoseconds{static_cast<std::int64_t>(std::min(wait_ns, kMaxWaitNs))};
}

}  // namespace

Ocalls::Ocalls(Hypervisor& hypervisor, AuthorityClient& authority, OwnerRelay& owner,
               const KeptBlob& kept, Quoter quoter, Logger logger, MutableBytes buffer)
    : hypervisor_{hypervisor},
      authority_{authority},
      owner_{owner},
      kept_{kept},
      quoter_{std::move(quoter)},
      logger_{std::move(logger)},
      buffer_{buffer} {}

void Ocalls::stop() {
    stopping_ = true;
    owner_.stop();
}

wire::OcallResult Ocalls::send(wire::Peer peer, Message message) {
    switch (peer) {
        case wire::Peer::quoting: {
            Message quote = quoter_(message);
            if (quote.empty()) return wire::OcallResult::unreachable;
            quote_ = std::move(quote);
            return wire::OcallResult::ok;
        }
        case wire::Peer::authority: {
            // An old answer is no answer to this question; one that is under way is waited for.
            verdict_ = std::async(std::launch::async, [this, evidence = std::move(message)] {
                return authority_.attest(evidence);
            });
            return wire::OcallResult::ok;
        }
        case wire::Peer::owner: owner_.send(std::move(message)); return wire::OcallResult::ok;
        case wire::Peer::log:
            logger_(
                cli::printable({reinterpret_cast<const char*>(message.data()), message.size()}));
            return wire::OcallResult::ok;
        case wire::Peer::storage: return keep(message);
    }
    return wire::OcallResult::unreachable;
}

wire::OcallResult Ocalls::keep(const Message& blob) {
    const auto kept = kept_.keep(blob);
    if (kept) return wire::OcallResult::ok;
    logger_("what the enclave wants to keep for its next start is lost: " + kept.error().sentence);
    return wire::OcallResult::unreachable;
}

std::expected<Message, wire::OcallResult> Ocalls::recall() {
    auto kept = kept_.recall();
    if (kept && *kept) return std::move(**kept);
    if (kept) return std::unexpected(wire::OcallResult::nothing);
    logger_("what the enclave kept for this start cannot be given back: " + kept.error().sentence);
    return std::unexpected(wire::OcallResult::unreachable);
}

std::expected<Message, wire::OcallResult> Ocalls::hear_authority(std::chrono::nanoseconds timeout) {
    if (!verdict_.valid() || verdict_.wait_for(timeout) != std::future_status::ready) {
        return std::unexpected(wire::OcallResult::nothing);
    }
    auto verdict = verdict_.get();
    if (!verdict) return std::unexpected(wire::OcallResult::unreachable);
    return std::move(*verdict);
}

wire::OcallResult Ocalls::receive(wire::Peer peer, wire::OcallFrame& frame) {
    std::expected<Message, wire::OcallResult> message = std::unexpected(wire::OcallResult::nothing);
    switch (peer) {
        case wire::Peer::owner:
            if (auto heard = owner_.receive(bounded(frame.wait_ns))) message = std::move(*heard);
            break;
        case wire::Peer::quoting:
            if (auto quote = std::exchange(quote_, std::nullopt)) message = std::move(*quote);
            break;
        case wire::Peer::authority: message = hear_authority(bounded(frame.wait_ns)); break;
        case wire::Peer::storage: message = recall(); break;
        case wire::Peer::log: break;
    }
    if (message && (message->size() > frame.size || message->size() > buffer_.size())) {
        message = std::unexpected(wire::OcallResult::nothing);
    }
    if (!message) {
        frame.size = 0;
        return message.error();
    }
    std::copy(message->begin(), message->end(), buffer_.begin());
    frame.size = message->size();
    return wire::OcallResult::ok;
}

void Ocalls::on_ocall(wire::OcallFrame& frame) {
    served_any_ = true;
    wire::OcallResult result = wire::OcallResult::stop;
    if (!stopping_) {
        switch (frame.number) {
            case wire::OcallNumber::hypervisor:
                result = hypervisor_.wake_and_wait(stopping_);
                if (hypervisor_.last_error() != hypervisor_trouble_) {
                    hypervisor_trouble_ = hypervisor_.last_error();
                    logger_(hypervisor_trouble_.empty() ? "connected to the hypervisor"
                                                        : hypervisor_trouble_);
                }
                break;
            case wire::OcallNumber::send: {
                const auto size = static_cast<std::ptrdiff_t>(
                    std::min<std::uint64_t>(frame.size, buffer_.size()));
                result = send(frame.peer, Message{buffer_.begin(), buffer_.begin() + size});
                break;
            }
            case wire::OcallNumber::receive: result = receive(frame.peer, frame); break;
            case wire::OcallNumber::wait:
                result = owner_.wait(bounded(frame.wait_ns)) ? wire::OcallResult::ok
                                                             : wire::OcallResult::nothing;
                break;
        }
        if (stopping_) result = wire::OcallResult::stop;
    }
    frame.result = static_cast<std::uint32_t>(result);
}

}  // namespace sgm::host
