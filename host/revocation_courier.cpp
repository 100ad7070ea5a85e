// SPDX-License-Identifier: MIT
#include "host/revocation_courier.hpp"

#include <fmt/core.h>

#include <chrono>
#include <utility>

#include "wire/bytes.hpp"
#include "wire/status_text.hpp"

namespace sgm::host {

namespace {

constexpr std::chrono::seconds kInterval{10};

Message frame_of(const Message& list) {
    Message frame(sizeof(wire::OpHeader) + list.size());
    Writer writer{frame};
    writer.put(wire::OpHeader{.magic = wire::kOpMagic,
                              .version = wire::kProtocolVersion,
                              .command = static_cast<std::uint16_t>(wire::Command::revoke),
                              .size = static_cast<std::uint32_t>(list.size()),
                              .status = 0});
    writer.put_bytes(list);
    return frame;
}

}  // namespace

std::expected<std::optional<wire::RevocationReceipt>, std::string> carry_revocations(
    const AuthorityClient& authority, Hypervisor& hypervisor, const std::atomic<bool>& stop) {
    const auto list = authority.revocations();
    if (!list) return std::nullopt;
    const auto reply = hypervisor.call(frame_of(*list), stop);
    if (!reply) {
        return std::unexpected("the revocations did not reach the hypervisor: " +
                               hypervisor.last_error());
    }
    Reader reader{*reply};
    const auto header = reader.take<wire::OpHeader>();
    const auto status = header ? static_cast<wire::Status>(header->status) : wire::Status::internal;
    if (status == wire::Status::stale_revocation) return std::nullopt;
    const auto receipt = reader.take<wire::RevocationReceipt>();
    if (status == wire::Status::ok && receipt) return *receipt;
    return std::unexpected("the hypervisor refused the revocations: " +
                           std::string{wire::text(status)});
}

RevocationCourier::RevocationCourier(const AuthorityClient& authority, HypervisorMaker hypervisor,
                                     Logger logger)
    : authority_{authority},
      hypervisor_{std::move(hypervisor)},
      logger_{std::move(logger)},
      thread_{[this] { run(); }} {}

RevocationCourier::~RevocationCourier() {
    {
        const std::lock_guard lock{mutex_};
        stopping_ = true;
    }
    changed_.notify_all();
    thread_.join();
}

void RevocationCourier::run() {
    for (;;) {
        carry();
        std::unique_lock lock{mutex_};
        if (changed_.wait_for(lock, kInterval, [this] { return stopping_.load(); })) return;
    }
}

// A connection for each time: nothing of it is held in between.
void RevocationCourier::carry() {
    const auto hypervisor = hypervisor_();
    const auto receipt = hypervisor ? carry_revocations(authority_, **hypervisor, stopping_)
                                    : std::unexpected(hypervisor.error());
    if (receipt && *receipt) {
        logger_(
            fmt::format("the hypervisor took the authority's revocations {}: {} sessions closed",
                        (*receipt)->sequence, (*receipt)->sessions_closed));
    }
    const std::string trouble = receipt ? "" : receipt.error();
    if (trouble != trouble_ && !trouble.empty()) logger_(trouble);
    trouble_ = trouble;
}

}  // namespace sgm::host
