// SPDX-License-Identifier: MIT
// The four OCALLs, served: everything that an enclave can ask of its host.
#pragma once

#include <atomic>
#include <functional>
#include <future>
#include <optional>

#include "host/hypervisor.hpp"
#include "host/kept_blob.hpp"
#include "host/messages.hpp"
#include "sgx/loader/loader.hpp"
#include "wire/enclave_abi.hpp"

namespace sgm::host {

// A REPORT in, a quote out; empty when the report is refused.
using Quoter = std::function<Message(const Message& report)>;
using Logger = std::function<void(std::string_view line)>;

class Ocalls final : public sgx::OcallHandler {
  public:
    // `buffer`: the message buffer of StartInfo, as this process sees it.
    Ocalls(Hypervisor& hypervisor, AuthorityClient& authority, OwnerRelay& owner,
           const KeptBlob& kept, Quoter quoter, Logger logger, MutableBytes buffer);

    void on_ocall(wire::OcallFrame& frame) override;

    // Whether the enclave has ever asked for anything.
    [[nodiscard]] bool served_any() const { return served_any_; }

    // From another thread: every OCALL from now on answers `stop`.
    void stop();

  private:
    [[nodiscard]] wire::OcallResult send(wire::Peer peer, Message message);
    [[nodiscard]] wire::OcallResult receive(wire::Peer peer, wire::OcallFrame& frame);
    // Error: nothing, unreachable.
    [[nodiscard]] std::expected<Message, wire::OcallResult> hear_authority(
        std::chrono::nanoseconds timeout);
    [[nodiscard]] wire::OcallResult keep(const Message& blob);
    [[nodiscard]] std::expected<Message, wire::OcallResult> recall();

    Hypervisor& hypervisor_;
    AuthorityClient& authority_;
    OwnerRelay& owner_;
    const KeptBlob& kept_;
    Quoter quoter_;
    Logger logger_;
    MutableBytes buffer_;
    std::optional<Message> quote_;  // the last one
    // What the authority says to the last evidence. Asked on a thread of its own: an enclave that
    // renews its session scans on meanwhile.
    std::future<std::optional<Message>> verdict_;
    std::string hypervisor_trouble_;  // last said, so that a retry loop does not flood
    bool served_any_ = false;
    std::atomic<bool> stopping_{false};
};

}  // namespace sgm::host
