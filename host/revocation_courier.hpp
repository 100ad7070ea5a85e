// SPDX-License-Identifier: MIT
// Brings the authority's signed list of revocations to the hypervisor. The host may keep it back:
// then sessions live on until their attestation results expire, and the authority renews none of
// them (ASSURANCE.md).
#pragma once

#include <atomic>
#include <condition_variable>
#include <expected>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "host/hypervisor.hpp"
#include "host/messages.hpp"
#include "host/ocalls.hpp"
#include "wire/sgm_op.hpp"

namespace sgm::host {

// Once. nullopt: the authority has no list or is away, or the hypervisor has this list already.
// The error is a sentence.
[[nodiscard]] std::expected<std::optional<wire::RevocationReceipt>, std::string> carry_revocations(
    const AuthorityClient& authority, Hypervisor& hypervisor, const std::atomic<bool>& stop);

// Carries it at once and then every ten seconds, also a list that has not changed: the hypervisor
// may have been started anew. `authority` outlives this.
class RevocationCourier final {
  public:
    RevocationCourier(const AuthorityClient& authority, HypervisorMaker hypervisor, Logger logger);
    ~RevocationCourier();
    RevocationCourier(const RevocationCourier&) = delete;
    RevocationCourier& operator=(const RevocationCourier&) = delete;

  private:
    void run();
    void carry();

    const AuthorityClient& authority_;
    const HypervisorMaker hypervisor_;
    const Logger logger_;
    std::string trouble_;  // last said, so that it does not flood the log
    std::atomic<bool> stopping_ = false;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::thread thread_;  // last: it uses the others
};

}  // namespace sgm::host
