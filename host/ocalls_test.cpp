// SPDX-License-Identifier: MIT
// What an enclave may ask for, served without an enclave, a hypervisor or a network.
#include "host/ocalls.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "config/temporary_directory.hpp"
#include "host/hypervisor_link.hpp"

namespace sgm::host {
namespace {

using wire::OcallNumber;
using wire::OcallResult;
using wire::Peer;

class OcallsTest : public testing::Test {
  protected:
    // Fills the buffer, calls, and keeps the frame as it came back.
    OcallResult call(OcallNumber number, Peer peer, const Message& message = {},
                     std::uint64_t room = 0) {
        std::ranges::copy(message, buffer_.begin());
        frame_ = {.number = number,
                  .peer = peer,
                  .size = number == OcallNumber::send ? message.size() : room,
                  .wait_ns = wait_ns_,
                  .result = 0,
                  .reserved = 0};
        ocalls_.on_ocall(frame_);
        return static_cast<OcallResult>(frame_.result);
    }

    config::TemporaryDirectory directory_;
    std::unique_ptr<Hypervisor> hypervisor_ =
        HypervisorLink::create((directory_ / "nobody.sock").string()).value();
    AuthorityClient authority_{"http://127.0.0.1:1"};  // nobody listens there
    OwnerRelay owner_{"http://127.0.0.1:1", "6f1c0b4e-1d2a-4c55-9a37-0c8d5e2b7f10"};
    KeptBlob kept_{directory_ / "state", {1}, {2}};
    Message quote_{7, 8, 9};
    std::vector<std::string> log_;
    Message buffer_ = Message(4096);
    Ocalls ocalls_{*hypervisor_,
                   authority_,
                   owner_,
                   kept_,
                   [this](const Message&) { return quote_; },
                   [this](std::string_view line) { log_.emplace_back(line); },
                   buffer_};
    wire::OcallFrame frame_{};
    std::uint64_t wait_ns_ = 0;
};

TEST_F(OcallsTest, a_quote_is_handed_out_once) {
    EXPECT_EQ(call(OcallNumber::receive, Peer::quoting, {}, 4096), OcallResult::nothing);
    EXPECT_EQ(call(OcallNumber::send, Peer::quoting, {1}), OcallResult::ok);
    EXPECT_EQ(call(OcallNumber::receive, Peer::quoting, {}, 4096), OcallResult::ok);
    EXPECT_EQ(Message(buffer_.begin(), buffer_.begin() + 3), quote_);
    EXPECT_EQ(frame_.size, 3u);
    EXPECT_EQ(call(OcallNumber::receive, Peer::quoting, {}, 4096), OcallResult::nothing);
}

TEST_F(OcallsTest, a_report_that_is_refused_leaves_no_quote) {
    quote_.clear();
    EXPECT_EQ(call(OcallNumber::send, Peer::quoting, {1}), OcallResult::unreachable);
    EXPECT_EQ(call(OcallNumber::receive, Peer::quoting, {}, 4096), OcallResult::nothing);
}

TEST_F(OcallsTest, a_reply_larger_than_the_room_or_the_buffer_is_not_written) {
    for (const auto& [size, room] :
         {std::pair<std::size_t, std::uint64_t>{3, 2}, {buffer_.size() + 1, ~std::uint64_t{0}}}) {
        quote_.assign(size, 7);
        EXPECT_EQ(call(OcallNumber::send, Peer::quoting, {1}), OcallResult::ok);
        EXPECT_EQ(call(OcallNumber::receive, Peer::quoting, {}, room), OcallResult::nothing);
        EXPECT_EQ(frame_.size, 0u);
        EXPECT_EQ(buffer_[0], 1);
    }
}

TEST_F(OcallsTest, a_size_beyond_the_buffer_sends_no_more_than_the_buffer) {
    frame_ = {.number = OcallNumber::send,
              .peer = Peer::log,
              .size = ~std::uint64_t{0},
              .wait_ns = 0,
              .result = 0,
              .reserved = 0};
    std::ranges::fill(buffer_, 'x');
    ocalls_.on_ocall(frame_);
    EXPECT_EQ(log_, std::vector<std::string>{std::string(buffer_.size(), 'x')});
}

TEST_F(OcallsTest, a_log_line_does_nothing_to_a_terminal) {
    EXPECT_EQ(call(OcallNumber::send, Peer::log, {'a', '\n', 0x1b, '[', 'b'}), OcallResult::ok);
    EXPECT_EQ(log_, std::vector<std::string>{"a\\x0a\\x1b[b"});
}

TEST_F(OcallsTest, who_is_not_there_is_unreachable_and_the_log_says_it_once) {
    EXPECT_EQ(call(OcallNumber::send, Peer::authority, {1}), OcallResult::ok);
    wait_ns_ = 60'000'000'000;
    EXPECT_EQ(call(OcallNumber::receive, Peer::authority, {}), OcallResult::unreachable);
    EXPECT_EQ(call(OcallNumber::hypervisor, Peer{}), OcallResult::unreachable);
    EXPECT_EQ(call(OcallNumber::hypervisor, Peer{}), OcallResult::unreachable);
    ASSERT_EQ(log_.size(), 1u);
    EXPECT_NE(log_[0].find("nobody.sock"), std::string::npos);
}

TEST_F(OcallsTest, what_is_kept_is_given_back_as_often_as_it_is_asked_for) {
    EXPECT_EQ(call(OcallNumber::receive, Peer::storage, {}, 4096), OcallResult::nothing);
    EXPECT_EQ(call(OcallNumber::send, Peer::storage, {5, 6}), OcallResult::ok);
    for (int i = 0; i < 2; ++i) {
        std::ranges::fill(buffer_, 0);
        EXPECT_EQ(call(OcallNumber::receive, Peer::storage, {}, 4096), OcallResult::ok);
        EXPECT_EQ(Message(buffer_.begin(), buffer_.begin() + 2), (Message{5, 6}));
        EXPECT_EQ(frame_.size, 2u);
    }
}

TEST_F(OcallsTest, an_unknown_peer_is_unreachable_and_an_unknown_ocall_ends_the_enclave) {
    EXPECT_EQ(call(OcallNumber::send, Peer{99}, {1}), OcallResult::unreachable);
    EXPECT_EQ(call(OcallNumber::receive, Peer{99}, {}, 4096), OcallResult::nothing);
    EXPECT_EQ(call(OcallNumber{99}, Peer::log), OcallResult::stop);
}

TEST_F(OcallsTest, after_a_stop_every_ocall_says_so) {
    ocalls_.stop();
    for (const auto number :
         {OcallNumber::hypervisor, OcallNumber::send, OcallNumber::receive, OcallNumber::wait}) {
        EXPECT_EQ(call(number, Peer::owner), OcallResult::stop);
    }
}

}  // namespace
}  // namespace sgm::host
