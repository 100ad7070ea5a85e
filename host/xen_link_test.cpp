// SPDX-License-Identifier: MIT
// The way to Xen, with a kernel and a Xen of the test's own at the border of system calls.
#include "host/xen_link.hpp"

#include <errno.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <map>

#include "wire/sgm_op.hpp"

namespace sgm::host {
namespace {

using wire::OcallResult;

class FakeXen final : public Privcmd {
  public:
    int open(const char* path) override {
        if (const auto refused = refused_opens.find(path); refused != refused_opens.end()) {
            return refused->second;
        }
        return opened++;
    }
    void close(int) override { ++closed; }
    MutableBytes map(int, std::size_t size) override {
        if (no_memory) return {};
        memory.assign(size, 0);
        return memory;
    }
    void unmap(MutableBytes) override { ++unmapped; }
    int hypercall(int, std::uint64_t number, std::uint64_t argument) override {
        EXPECT_EQ(number, 52u);
        EXPECT_EQ(argument, reinterpret_cast<std::uint64_t>(memory.data()));
        sgm_xen_op op{};
        std::memcpy(&op, memory.data(), sizeof(op));
        EXPECT_EQ(op.version, 1u);
        EXPECT_EQ(op.domid == SGM_XEN_NO_DOMAIN, op.command != SGM_XEN_PROTECT);
        int result = 0;
        if (op.command == SGM_XEN_STATE) {
            op.u.state.feature = feature;
            result = state_result;
        } else if (op.command == SGM_XEN_PROTECT) {
            op.u.protect.foreign_mappings = 3;
            result = op.domid == 7 ? 0 : -ESRCH;
        } else {
            ++calls;
            result = serve(op.u.call);
        }
        std::memcpy(memory.data(), &op, sizeof(op));
        return result;
    }

    // Where the buffers of a call lie, as Xen's guest-access functions would find them.
    MutableBytes buffer(std::uint64_t address, std::size_t size) {
        const std::uint64_t at = address - reinterpret_cast<std::uint64_t>(memory.data());
        EXPECT_LE(at + size, memory.size());
        return MutableBytes{memory}.subspan(at, size);
    }

    std::map<std::string, int> refused_opens;
    bool no_memory = false;
    int state_result = 0;
    std::uint32_t feature = SGM_XEN_ON;
    // Answers with the call's bytes in reverse.
    std::function<int(sgm_xen_call&)> serve = [this](sgm_xen_call& call) {
        const auto in = buffer(call.call, call.call_size);
        std::ranges::reverse_copy(in, buffer(call.reply, call.reply_capacity).begin());
        call.reply_size = call.call_size;
        return 0;
    };
    std::vector<std::uint8_t> memory;
    int opened = 0;
    int closed = 0;
    int unmapped = 0;
    int calls = 0;
};

class XenLinkTest : public testing::Test {
  protected:
    // Why there is no link.
    std::string refusal() {
        const auto link = XenLink::create(xen_);
        return link ? "" : link.error();
    }
    static bool has(const std::string& text, std::string_view part) {
        return text.find(part) != std::string::npos;
    }

    FakeXen xen_;
    const std::atomic<bool> never_ = false;
};

TEST_F(XenLinkTest, a_call_goes_to_xen_and_its_reply_comes_back) {
    const auto link = XenLink::create(xen_).value();
    const std::vector<std::uint8_t> frame{1, 2, 3};
    EXPECT_EQ(link->call(frame, never_), (std::vector<std::uint8_t>{3, 2, 1}));
    EXPECT_EQ(xen_.calls, 1);
}

TEST_F(XenLinkTest, what_an_enclave_posts_into_the_ring_is_answered_there) {
    const auto link = XenLink::create(xen_).value();
    auto& header = *static_cast<wire::RingHeader*>(::mmap(
        nullptr, wire::kRingSize, PROT_READ | PROT_WRITE, MAP_SHARED, link->ring_descriptor(), 0));
    auto* const bytes = reinterpret_cast<std::uint8_t*>(&header);
    EXPECT_EQ(header.hypervisor_asleep, 1u) << "the enclave would spin for nobody";
    bytes[wire::kRingCallOffset] = 8;
    bytes[wire::kRingCallOffset + 1] = 9;
    header.call_size = 2;
    header.state = static_cast<std::uint32_t>(wire::RingState::call);
    EXPECT_EQ(link->wake_and_wait(never_), OcallResult::ok);
    EXPECT_EQ(header.state, static_cast<std::uint32_t>(wire::RingState::reply));
    EXPECT_EQ(header.reply_size, 2u);
    EXPECT_EQ(bytes[wire::kRingReplyOffset], 9);
    EXPECT_EQ(bytes[wire::kRingReplyOffset + 1], 8);
    ::munmap(&header, wire::kRingSize);
}

TEST_F(XenLinkTest, the_longest_call_and_the_longest_reply_pass) {
    xen_.serve = [this](sgm_xen_call& call) {
        EXPECT_EQ(call.call_size, SGM_XEN_MAX_CALL);
        EXPECT_EQ(call.reply_capacity, SGM_XEN_MAX_REPLY);
        std::ranges::fill(xen_.buffer(call.reply, call.reply_capacity), std::uint8_t{7});
        call.reply_size = call.reply_capacity;
        return 0;
    };
    const auto link = XenLink::create(xen_).value();
    const auto reply = link->call(std::vector<std::uint8_t>(SGM_XEN_MAX_CALL), never_);
    EXPECT_EQ(reply, std::vector<std::uint8_t>(SGM_XEN_MAX_REPLY, 7));
    EXPECT_EQ(link->call(std::vector<std::uint8_t>(SGM_XEN_MAX_CALL + 1), never_),
              std::unexpected(OcallResult::unreachable));
    EXPECT_EQ(xen_.calls, 1) << "what is too long never leaves";
}

TEST_F(XenLinkTest, a_ring_without_a_call_or_with_one_too_long_never_reaches_xen) {
    const auto link = XenLink::create(xen_).value();
    EXPECT_EQ(link->wake_and_wait(never_), OcallResult::ring_changed);
    auto& header = *static_cast<wire::RingHeader*>(::mmap(
        nullptr, wire::kRingSize, PROT_READ | PROT_WRITE, MAP_SHARED, link->ring_descriptor(), 0));
    header.call_size = wire::kRingMaxCall + 1;
    header.state = static_cast<std::uint32_t>(wire::RingState::call);
    EXPECT_EQ(link->wake_and_wait(never_), OcallResult::ring_changed);
    EXPECT_EQ(xen_.calls, 0);
    ::munmap(&header, wire::kRingSize);
}

TEST_F(XenLinkTest, a_reply_size_that_cannot_be_is_not_believed) {
    xen_.serve = [](sgm_xen_call& call) {
        call.reply_size = SGM_XEN_MAX_REPLY + 1;
        return 0;
    };
    const auto link = XenLink::create(xen_).value();
    EXPECT_EQ(link->call(std::vector<std::uint8_t>(3), never_),
              std::unexpected(OcallResult::unreachable));
    EXPECT_TRUE(has(link->last_error(), "longer than a reply may be")) << link->last_error();
}

TEST_F(XenLinkTest, a_busy_xen_is_asked_again) {
    const auto answer = xen_.serve;
    xen_.serve = [this, answer](sgm_xen_call& call) {
        return xen_.calls < 4 ? -EBUSY : answer(call);
    };
    const auto link = XenLink::create(xen_).value();
    EXPECT_TRUE(link->call(std::vector<std::uint8_t>(3), never_));
    EXPECT_EQ(xen_.calls, 4);
}

TEST_F(XenLinkTest, a_stop_ends_the_asking_of_a_busy_xen) {
    std::atomic<bool> stop = false;
    xen_.serve = [&stop](sgm_xen_call&) {
        stop = true;
        return -EBUSY;
    };
    const auto link = XenLink::create(xen_).value();
    EXPECT_EQ(link->call(std::vector<std::uint8_t>(3), stop), std::unexpected(OcallResult::stop));
}

TEST_F(XenLinkTest, a_call_that_xen_refuses_is_unreachable_and_the_reason_is_told_until_it_works) {
    const auto answer = xen_.serve;
    xen_.serve = [](sgm_xen_call&) { return -EOPNOTSUPP; };
    const auto link = XenLink::create(xen_).value();
    EXPECT_EQ(link->call(std::vector<std::uint8_t>(3), never_),
              std::unexpected(OcallResult::unreachable));
    EXPECT_TRUE(has(link->last_error(), "off in this Xen")) << link->last_error();
    xen_.serve = answer;
    EXPECT_TRUE(link->call(std::vector<std::uint8_t>(3), never_));
    EXPECT_EQ(link->last_error(), "");
}

TEST_F(XenLinkTest, a_machine_that_is_not_dom0_is_told_what_it_lacks) {
    xen_.refused_opens[kPrivcmdNode] = -ENOENT;
    EXPECT_TRUE(has(refusal(), "/dev/xen/privcmd is not there")) << refusal();
    EXPECT_TRUE(has(refusal(), "dom0")) << refusal();
    xen_.refused_opens = {{kPrivcmdNode, -EACCES}};
    EXPECT_TRUE(has(refusal(), "run sgmonitord as root")) << refusal();
    xen_.refused_opens = {{kHypercallNode, -ENOENT}};
    EXPECT_TRUE(has(refusal(), "/dev/xen/hypercall is not there")) << refusal();
    xen_.refused_opens.clear();
    xen_.no_memory = true;
    EXPECT_TRUE(has(refusal(), "no memory")) << refusal();
    xen_.no_memory = false;
    xen_.state_result = -EPERM;
    EXPECT_TRUE(has(refusal(), "dom0 only")) << refusal();
}

TEST_F(XenLinkTest, a_xen_without_the_hypercall_or_with_it_off_is_told_apart) {
    xen_.state_result = -ENOSYS;
    EXPECT_TRUE(has(refusal(), "no hypercall sgm_op")) << refusal();
    xen_.state_result = 0;
    for (const auto& [feature, words] : {std::pair{SGM_XEN_NO_AUTHORITY, "sgm_authority="},
                                         {SGM_XEN_NO_AES, "AES-NI"},
                                         {SGM_XEN_NO_RANDOMNESS, "randomness"},
                                         {SGM_XEN_SELF_TEST_FAILED, "self-test"}}) {
        xen_.feature = feature;
        EXPECT_TRUE(has(refusal(), words)) << refusal();
    }
}

TEST_F(XenLinkTest, a_domain_is_protected_and_what_was_mapped_before_is_told) {
    auto ops = XenOps::open(xen_).value();
    EXPECT_EQ(ops.protect(7)->foreign_mappings, 3u);
    EXPECT_TRUE(has(ops.protect(8).error(), "no such domain"));
}

TEST_F(XenLinkTest, the_state_is_told_to_people_and_to_programs) {
    sgm_xen_state state{};
    state.calls = 12;
    state.refusals = 3;
    state.is_protected = 1;
    EXPECT_EQ(describe_xen(state, 7).render(cli::Format::json),
              "{\"on\":true,\"why_off\":\"\",\"test_build\":false,\"open_sessions\":0,"
              "\"calls\":12,\"refusals\":3,\"protected\":true,\"foreign_mappings\":0}\n");
    EXPECT_TRUE(
        has(describe_xen(state, 7).render(cli::Format::text), "protected, 0 foreign mappings"));
    const std::string any = describe_xen(state, SGM_XEN_NO_DOMAIN).render(cli::Format::json);
    EXPECT_FALSE(has(any, "protected")) << "no domain was asked about: " << any;
    state.feature = SGM_XEN_NO_AES;
    state.is_test_build = 1;
    const std::string off = describe_xen(state, 7).render(cli::Format::text);
    EXPECT_TRUE(has(off, "off: the CPU has no AES-NI")) << off;
    EXPECT_TRUE(has(off, "TEST BUILD")) << off;
}

TEST_F(XenLinkTest, everything_that_was_opened_is_closed) {
    {
        const auto link = XenLink::create(xen_).value();
        EXPECT_EQ(xen_.opened, 2);
        EXPECT_EQ(xen_.closed, 0);
    }
    EXPECT_EQ(xen_.closed, 2);
    EXPECT_EQ(xen_.unmapped, 1);
    xen_.refused_opens[kHypercallNode] = -ENOENT;
    EXPECT_FALSE(XenLink::create(xen_));
    EXPECT_EQ(xen_.closed, xen_.opened) << "also when only half of it can be opened";
}

}  // namespace
}  // namespace sgm::host
