// SPDX-License-Identifier: MIT
#include "host/xen_link.hpp"

#include <errno.h>
#include <sched.h>

#include <chrono>
#include <cstring>
#include <utility>

namespace sgm::host {

namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t whole_pages(std::size_t size) {
    return (size + kPage - 1) / kPage * kPage;
}
constexpr std::size_t kCallAt = kPage;
constexpr std::size_t kReplyAt = kCallAt + whole_pages(SGM_XEN_MAX_CALL);
constexpr std::size_t kMemorySize = kReplyAt + whole_pages(SGM_XEN_MAX_REPLY);
static_assert(SGM_XEN_MAX_CALL == wire::kRingMaxCall);
static_assert(SGM_XEN_MAX_REPLY == wire::kRingMaxReply);

// How long a busy Xen is asked again.
constexpr std::chrono::seconds kPatience{10};

std::string cannot_open(const char* path, int error) {
    switch (error) {
        case -ENOENT:
        case -ENXIO:
        case -ENODEV:
            return std::string{path} +
                   " is not there: sgmonitord must run in dom0 of a Xen host, with the kernel "
                   "module xen-privcmd loaded";
        case -EACCES:
        case -EPERM: return std::string{path} + " may not be opened: run sgmonitord as root";
        default: return std::string{path} + " cannot be opened: " + std::strerror(-error);
    }
}

}  // namespace

std::string explain_xen_feature(std::uint32_t feature) {
    switch (feature) {
        case SGM_XEN_NO_AUTHORITY:
            return "Xen's command line has no sgm_authority= with the 64 hexadecimal digits of the "
                   "authority's public key";
        case SGM_XEN_NO_AES: return "the CPU has no AES-NI, PCLMULQDQ or SSSE3";
        case SGM_XEN_NO_RANDOMNESS:
            return "the CPU gives no randomness (neither RDSEED nor RDRAND, or they fail)";
        case SGM_XEN_SELF_TEST_FAILED: return "its cryptography failed its self-test";
        default: return "for a reason that this sgmonitord does not know";
    }
}

std::string explain_xen_error(int error) {
    switch (error) {
        case -ENOSYS:
            return "this Xen has no hypercall sgm_op: boot the Xen that SGmonitor's patch was "
                   "applied to (docs/xen.md)";
        case -EPERM: return "Xen takes sgm_op from dom0 only, and this is another domain";
        case -EOPNOTSUPP: return "sgm_op is off in this Xen";
        case -ESRCH: return "Xen has no such domain (see `xl list`)";
        case -EBUSY: return "Xen has too many calls at once";
        case -EINVAL:
            return "Xen and this sgmonitord do not agree on sgm_op: are they of one version?";
        default: return std::string{"Xen refused sgm_op: "} + std::strerror(-error);
    }
}

std::expected<XenOps, std::string> XenOps::open(Privcmd& privcmd) {
    XenOps ops{privcmd};
    ops.descriptor_ = privcmd.open(kPrivcmdNode);
    if (ops.descriptor_ < 0) return std::unexpected(cannot_open(kPrivcmdNode, ops.descriptor_));
    ops.memory_descriptor_ = privcmd.open(kHypercallNode);
    if (ops.memory_descriptor_ < 0) {
        return std::unexpected(cannot_open(kHypercallNode, ops.memory_descriptor_));
    }
    ops.memory_ = privcmd.map(ops.memory_descriptor_, kMemorySize);
    if (ops.memory_.data() == nullptr) {
        return std::unexpected(std::string{kHypercallNode} +
                               " gives no memory for the buffers of hypercalls");
    }
    return ops;
}

XenOps::~XenOps() {
    if (memory_.data() != nullptr) privcmd_->unmap(memory_);
    if (memory_descriptor_ >= 0) privcmd_->close(memory_descriptor_);
    if (descriptor_ >= 0) privcmd_->close(descriptor_);
}

XenOps::XenOps(XenOps&& other) noexcept
    : privcmd_{other.privcmd_},
      descriptor_{std::exchange(other.descriptor_, -1)},
      memory_descriptor_{std::exchange(other.memory_descriptor_, -1)},
      memory_{std::exchange(other.memory_, {})} {}

int XenOps::hypercall(sgm_xen_op& op) {
    std::memcpy(memory_.data(), &op, sizeof(op));
    const int result = privcmd_->hypercall(descriptor_, SGM_XEN_HYPERCALL,
                                           reinterpret_cast<std::uint64_t>(memory_.data()));
    std::memcpy(&op, memory_.data(), sizeof(op));
    return result;
}

std::expected<sgm_xen_state, std::string> XenOps::state(std::uint32_t domid) {
    sgm_xen_op op{};
    op.version = SGM_XEN_VERSION;
    op.command = SGM_XEN_STATE;
    op.domid = domid;
    if (const int result = hypercall(op); result < 0) {
        return std::unexpected(explain_xen_error(result));
    }
    return op.u.state;
}

std::expected<sgm_xen_protect, std::string> XenOps::protect(std::uint32_t domid) {
    sgm_xen_op op{};
    op.version = SGM_XEN_VERSION;
    op.command = SGM_XEN_PROTECT;
    op.domid = domid;
    if (const int result = hypercall(op); result < 0) {
        return std::unexpected(explain_xen_error(result));
    }
    return op.u.protect;
}

std::expected<Bytes, int> XenOps::test_batch(std::uint32_t domid, Bytes batch) {
    if (batch.size() > wire::kMaxRequestSize) return std::unexpected(-EINVAL);
    std::memcpy(memory_.data() + kCallAt, batch.data(), batch.size());
    sgm_xen_op op{};
    op.version = SGM_XEN_VERSION;
    op.command = SGM_XEN_TEST_BATCH;
    op.domid = domid;
    op.u.test_batch.batch = reinterpret_cast<std::uint64_t>(memory_.data() + kCallAt);
    op.u.test_batch.answer = reinterpret_cast<std::uint64_t>(memory_.data() + kReplyAt);
    op.u.test_batch.batch_size = static_cast<std::uint32_t>(batch.size());
    op.u.test_batch.answer_capacity = wire::kMaxAnswerSize;
    if (const int result = hypercall(op); result < 0) return std::unexpected(result);
    if (op.u.test_batch.answer_size > wire::kMaxAnswerSize) return std::unexpected(0);
    return Bytes{memory_.data() + kReplyAt, op.u.test_batch.answer_size};
}

std::expected<Bytes, int> XenOps::call(Bytes frame) {
    if (frame.size() > SGM_XEN_MAX_CALL) return std::unexpected(-EINVAL);
    std::memcpy(memory_.data() + kCallAt, frame.data(), frame.size());
    sgm_xen_op op{};
    op.version = SGM_XEN_VERSION;
    op.command = SGM_XEN_CALL;
    op.domid = SGM_XEN_NO_DOMAIN;
    op.u.call.call = reinterpret_cast<std::uint64_t>(memory_.data() + kCallAt);
    op.u.call.reply = reinterpret_cast<std::uint64_t>(memory_.data() + kReplyAt);
    op.u.call.call_size = static_cast<std::uint32_t>(frame.size());
    op.u.call.reply_capacity = SGM_XEN_MAX_REPLY;
    if (const int result = hypercall(op); result < 0) return std::unexpected(result);
    if (op.u.call.reply_size > SGM_XEN_MAX_REPLY) return std::unexpected(0);
    return Bytes{memory_.data() + kReplyAt, op.u.call.reply_size};
}

std::expected<std::unique_ptr<XenLink>, std::string> XenLink::create(Privcmd& privcmd) {
    auto ops = XenOps::open(privcmd);
    if (!ops) return std::unexpected(ops.error());
    const auto state = ops->state();
    if (!state) return std::unexpected(state.error());
    if (state->feature != SGM_XEN_ON) {
        return std::unexpected("sgm_op is off in this Xen: " + explain_xen_feature(state->feature));
    }
    auto ring = Ring::create();
    if (!ring) return std::unexpected(ring.error());
    // Nobody polls the ring: the enclave need not spin before it asks for the hypercall.
    ring->header().hypervisor_asleep = 1;
    return std::unique_ptr<XenLink>(new XenLink(std::move(*ring), std::move(*ops)));
}

wire::OcallResult XenLink::wake_and_wait(const std::atomic<bool>& stop) {
    const auto call = ring_.call();
    if (!call) {
        last_error_ = "the enclave asked for a hypercall and left no call";
        return wire::OcallResult::ring_changed;
    }
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    auto reply = ops_.call(*call);
    while (!reply && reply.error() == -EBUSY && std::chrono::steady_clock::now() < deadline) {
        if (stop) return wire::OcallResult::stop;
        ::sched_yield();
        reply = ops_.call(*call);
    }
    if (!reply) {
        last_error_ = reply.error() == 0 ? "Xen says that its reply is longer than a reply may be"
                                         : explain_xen_error(reply.error());
        return wire::OcallResult::unreachable;
    }
    ring_.put_reply(*reply);
    last_error_.clear();
    return wire::OcallResult::ok;
}

}  // namespace sgm::host
