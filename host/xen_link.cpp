// SPDX-License-Identifier: MIT
#include "host/xen_link.hpp"

#include <errno.h>
#include <fmt/format.h>
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

cli::Record describe_xen(const sgm_xen_state& state, std::uint32_t domid) {
    const bool on = state.feature == SGM_XEN_ON;
    const bool test_build = state.is_test_build != 0;
    const std::string why = on ? "" : explain_xen_feature(state.feature);
    cli::Record record;
    record.add("on", "sgm_op",
               {on, (on ? "on" : "off: " + why) +
                        (test_build ? ", TEST BUILD: not for users" : std::string{})});
    record.add("why_off", "", {why, ""});
    record.add("test_build", "", {test_build, ""});
    record.add("open_sessions", "open sessions", std::uint64_t{state.open_sessions});
    record.add("calls", "calls since boot", std::uint64_t{state.calls});
    record.add("refusals", "refused to dom0 since boot", std::uint64_t{state.refusals});
    if (domid == SGM_XEN_NO_DOMAIN) return record;
    const bool is_protected = state.is_protected != 0;
    record.add("protected", fmt::format("domain {}", domid),
               {is_protected,
                is_protected ? fmt::format("protected, {} foreign mappings", state.foreign_mappings)
                             : "not protected: dom0 can read it"});
    record.add("foreign_mappings", "", {std::uint64_t{state.foreign_mappings}, ""});
    return record;
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

std::expected<sgm_xen_op, int> XenOps::hypercall(sgm_xen_command command, std::uint32_t domid,
                                                 const decltype(sgm_xen_op::u)& in) {
    sgm_xen_op op{
        .version = SGM_XEN_VERSION, .command = command, .domid = domid, .reserved = 0, .u = in};
    std::memcpy(memory_.data(), &op, sizeof(op));
    const int result = privcmd_->hypercall(descriptor_, SGM_XEN_HYPERCALL,
                                           reinterpret_cast<std::uint64_t>(memory_.data()));
    if (result < 0) return std::unexpected(result);
    std::memcpy(&op, memory_.data(), sizeof(op));
    return op;
}

std::expected<sgm_xen_op, std::string> XenOps::ask(sgm_xen_command command, std::uint32_t domid) {
    const auto op = hypercall(command, domid);
    if (!op) return std::unexpected(explain_xen_error(op.error()));
    return *op;
}

std::expected<sgm_xen_state, std::string> XenOps::state(std::uint32_t domid) {
    const auto op = ask(SGM_XEN_STATE, domid);
    if (!op) return std::unexpected(op.error());
    return op->u.state;
}

std::expected<sgm_xen_protect, std::string> XenOps::protect(std::uint32_t domid) {
    const auto op = ask(SGM_XEN_PROTECT, domid);
    if (!op) return std::unexpected(op.error());
    return op->u.protect;
}

std::expected<Bytes, int> XenOps::test_batch(std::uint32_t domid, Bytes batch) {
    if (batch.size() > wire::kMaxRequestSize) return std::unexpected(-EINVAL);
    std::memcpy(memory_.data() + kCallAt, batch.data(), batch.size());
    const auto op = hypercall(
        SGM_XEN_TEST_BATCH, domid,
        {.test_batch = {.batch = reinterpret_cast<std::uint64_t>(memory_.data() + kCallAt),
                        .answer = reinterpret_cast<std::uint64_t>(memory_.data() + kReplyAt),
                        .batch_size = static_cast<std::uint32_t>(batch.size()),
                        .answer_capacity = wire::kMaxAnswerSize,
                        .answer_size = 0,
                        .reserved = {}}});
    if (!op) return std::unexpected(op.error());
    return reply_of(op->u.test_batch.answer_size, wire::kMaxAnswerSize);
}

std::expected<Bytes, int> XenOps::call(Bytes frame) {
    if (frame.size() > SGM_XEN_MAX_CALL) return std::unexpected(-EINVAL);
    std::memcpy(memory_.data() + kCallAt, frame.data(), frame.size());
    const auto op =
        hypercall(SGM_XEN_CALL, SGM_XEN_NO_DOMAIN,
                  {.call = {.call = reinterpret_cast<std::uint64_t>(memory_.data() + kCallAt),
                            .reply = reinterpret_cast<std::uint64_t>(memory_.data() + kReplyAt),
                            .call_size = static_cast<std::uint32_t>(frame.size()),
                            .reply_capacity = SGM_XEN_MAX_REPLY,
                            .reply_size = 0,
                            .reserved = {}}});
    if (!op) return std::unexpected(op.error());
    return reply_of(op->u.call.reply_size, SGM_XEN_MAX_REPLY);
}

std::expected<Bytes, int> XenOps::reply_of(std::uint32_t size, std::uint32_t capacity) const {
    if (size > capacity) return std::unexpected(0);
    return Bytes{memory_.data() + kReplyAt, size};
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
