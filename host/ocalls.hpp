// SPDX-License-Identifier: MIT
// The four OCALLs, served: everything that an enclave can ask of its host.
#pragma once

#include <atomic>
#include <functional>
#include <map>

#include "host/hypervisor_link.hpp"
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
    Ocalls(HypervisorLink& hypervisor, AuthorityClient& authority, OwnerRelay& owner, Quoter quoter,
           Logger logger, MutableBytes buffer);

    void on_ocall(wire::OcallFrame& frame) override;

    // Whether the enclave has ever asked for anything.
    [[nodiscard]] bool served_any() const { return served_any_; }

    // From another thread: every OCALL from now on answers `stop`.
    void stop();

  private:
    [[nodiscard]] wire::OcallResult send(wire::Peer peer, Message message);
    [[nodiscard]] wire::OcallResult receive(wire::Peer peer, wire::OcallFrame& frame);

    HypervisorLink& hypervisor_;
    AuthorityClient& authority_;
    OwnerRelay& owner_;
    Quoter quoter_;
    Logger logger_;
    MutableBytes buffer_;
    std::map<wire::Peer, Message> replies_;  // the last one of quoting and authority
    std::string hypervisor_trouble_;         // last said, so that a retry loop does not flood
    bool served_any_ = false;
    std::atomic<bool> stopping_{false};
};

}  // namespace sgm::host
