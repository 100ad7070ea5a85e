// SPDX-License-Identifier: MIT
// The way to Xen: the hypercall itself (wire/xen_op.h). The enclave posts into the shared ring as
// it does for a hypervisor process; here the call goes from there to Xen, and the reply back.
#pragma once

#include <memory>

#include "cli/output.hpp"
#include "host/hypervisor.hpp"
#include "host/privcmd.hpp"
#include "wire/xen_op.h"

namespace sgm::host {

// One user of /dev/xen/privcmd, with its buffers.
class XenOps final {
  public:
    // `privcmd` outlives this. The error is a sentence: what dom0 lacks.
    [[nodiscard]] static std::expected<XenOps, std::string> open(Privcmd& privcmd);
    ~XenOps();
    XenOps(XenOps&& other) noexcept;
    XenOps& operator=(XenOps&&) = delete;

    // The feature's state in this Xen, and a domain's. The error is a sentence.
    [[nodiscard]] std::expected<sgm_xen_state, std::string> state(
        std::uint32_t domid = SGM_XEN_NO_DOMAIN);

    // Keeps dom0 out of a domain until it is destroyed. The error is a sentence.
    [[nodiscard]] std::expected<sgm_xen_protect, std::string> protect(std::uint32_t domid);

    // A batch of operations and its answer, neither sealed: a test build of Xen only. As call().
    [[nodiscard]] std::expected<Bytes, int> test_batch(std::uint32_t domid, Bytes batch);

    // A frame in; a view of the reply, which lasts until the next call. Error: -errno of the
    // hypercall, or 0 when Xen says a size that cannot be.
    [[nodiscard]] std::expected<Bytes, int> call(Bytes frame);

  private:
    explicit XenOps(Privcmd& privcmd) : privcmd_{&privcmd} {}
    // What it answers, or -errno.
    [[nodiscard]] std::expected<sgm_xen_op, int> hypercall(sgm_xen_command command,
                                                           std::uint32_t domid,
                                                           const decltype(sgm_xen_op::u)& in = {});

    // The same without input; the error is a sentence.
    [[nodiscard]] std::expected<sgm_xen_op, std::string> ask(sgm_xen_command command,
                                                             std::uint32_t domid);
    // A view of what Xen wrote; 0: it says a size that cannot be.
    [[nodiscard]] std::expected<Bytes, int> reply_of(std::uint32_t size,
                                                     std::uint32_t capacity) const;

    Privcmd* privcmd_;
    int descriptor_ = -1;         // of kPrivcmdNode
    int memory_descriptor_ = -1;  // of kHypercallNode
    MutableBytes memory_;         // sgm_xen_op, call, reply, each from a page's beginning
};

// What it means that sgm_op is off.
[[nodiscard]] std::string explain_xen_feature(std::uint32_t feature);
// What `sgmonitord xen-state` prints. `domid` may be SGM_XEN_NO_DOMAIN.
[[nodiscard]] cli::Record describe_xen(const sgm_xen_state& state, std::uint32_t domid);
// What it means, and what to do, when a hypercall sgm_op answers -errno.
[[nodiscard]] std::string explain_xen_error(int error);

class XenLink final : public Hypervisor {
  public:
    // `privcmd` outlives this. The error is a sentence: not dom0, a Xen without the hypercall, or
    // one in which it is off, and why.
    [[nodiscard]] static std::expected<std::unique_ptr<XenLink>, std::string> create(
        Privcmd& privcmd);

    [[nodiscard]] wire::OcallResult wake_and_wait(const std::atomic<bool>& stop) override;

  private:
    XenLink(Ring ring, XenOps ops) : Hypervisor{std::move(ring)}, ops_{std::move(ops)} {}

    XenOps ops_;
};

}  // namespace sgm::host
