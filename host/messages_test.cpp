// SPDX-License-Identifier: MIT
// The relay between an enclave and real HTTP servers: nothing is changed, lost for a pause of the
// other side, or waited for for ever.
#include "host/messages.hpp"

#include <gtest/gtest.h>

#include <future>

#include "cli/http_server.hpp"
#include "wire/attestation.hpp"
#include "wire/bytes.hpp"
#include "wire/enclave_abi.hpp"
#include "wire/fixed_text.hpp"
#include "wire/owner.hpp"

namespace sgm::host {
namespace {

constexpr std::chrono::seconds kPatience{30};  // only a failing test waits for it
const std::string kDomain = "6f1c0b4e-1d2a-4c55-9a37-0c8d5e2b7f10";

std::string url(std::uint16_t port) {
    return "http://127.0.0.1:" + std::to_string(port);
}

// What the enclave gets when the authority says this.
std::optional<Message> reply_to(const cli::HttpReply& said) {
    cli::HttpServer authority;
    authority.post("/v1/attest", 100, [&](Bytes body) {
        EXPECT_EQ(Message(body.begin(), body.end()), (Message{1, 2, 3}));
        return said;
    });
    return AuthorityClient{url(authority.start("127.0.0.1", 0).value())}.attest({1, 2, 3});
}

wire::AuthorityReply head_of(const std::optional<Message>& reply) {
    return Reader{reply.value()}.take<wire::AuthorityReply>().value();
}

TEST(AuthorityClient, an_acceptance_is_passed_on_as_it_came) {
    const std::string result(sizeof(wire::SignedAttestationResult), '\x7f');
    const auto reply = reply_to({.status = 200, .body = result});
    EXPECT_EQ(head_of(reply).accepted, 1u);
    EXPECT_EQ(std::string(reply->begin() + sizeof(wire::AuthorityReply), reply->end()), result);
}

TEST(AuthorityClient, a_refusal_comes_with_its_reason_and_without_its_line_end) {
    const auto reply = reply_to({.status = 403, .body = "no such VM\r\n"});
    EXPECT_EQ(reply->size(), sizeof(wire::AuthorityReply));
    EXPECT_EQ(head_of(reply).accepted, 0u);
    EXPECT_EQ(wire::get_text(head_of(reply).reason), "no such VM");
}

TEST(AuthorityClient, an_acceptance_of_a_wrong_size_is_none) {
    EXPECT_EQ(head_of(reply_to({.status = 200, .body = "yes"})).accepted, 0u);
}

TEST(AuthorityClient, silence_is_told_apart_from_a_refusal) {
    cli::HttpServer authority;
    const std::uint16_t port = authority.start("127.0.0.1", 0).value();
    authority.stop();
    EXPECT_EQ(AuthorityClient{url(port)}.attest({1}), std::nullopt);
}

// The owner's side: takes messages, and has some to give.
class Owner {
  public:
    Owner() {
        server_.post("/v1/messages", wire::kMaxOwnerMessage, [this](Bytes body) {
            const std::lock_guard lock{mutex_};
            heard_.emplace_back(body.begin(), body.end());
            changed_.notify_all();
            return cli::HttpReply{.status = status_};
        });
        server_.get("/v1/commands", [this](const std::string& name, const auto&) {
            const std::lock_guard lock{mutex_};
            if (name != kDomain || commands_.empty()) return cli::HttpReply{};
            const Message message = commands_.front();
            commands_.pop_front();
            return cli::HttpReply{.status = 200, .body = {message.begin(), message.end()}};
        });
    }
    std::uint16_t start(std::uint16_t port = 0) { return server_.start("127.0.0.1", port).value(); }
    void refuse() { status_ = 403; }
    void command(Message message) {
        const std::lock_guard lock{mutex_};
        commands_.push_back(std::move(message));
    }
    std::vector<Message> await(std::size_t count) {
        std::unique_lock lock{mutex_};
        changed_.wait_for(lock, kPatience, [&] { return heard_.size() >= count; });
        return heard_;
    }

  private:
    std::mutex mutex_;
    std::condition_variable changed_;
    std::vector<Message> heard_;
    std::deque<Message> commands_;
    std::atomic<int> status_ = 204;
    cli::HttpServer server_;  // last: its threads use the rest
};

TEST(OwnerRelay, messages_arrive_once_and_in_order_also_when_they_are_refused) {
    Owner owner;
    owner.refuse();
    OwnerRelay relay{url(owner.start()), kDomain};
    for (std::uint8_t i = 0; i < 20; ++i)
        relay.send({i});
    const auto heard = owner.await(20);
    ASSERT_EQ(heard.size(), 20u);
    for (std::uint8_t i = 0; i < 20; ++i)
        EXPECT_EQ(heard[i], Message{i});
}

TEST(OwnerRelay, an_owner_who_comes_late_hears_what_was_said_meanwhile) {
    cli::HttpServer holder;  // of a port that answers nothing useful, until the owner takes it
    const std::uint16_t port = holder.start("127.0.0.1", 0).value();
    holder.stop();
    OwnerRelay relay{url(port), kDomain};
    relay.send({1});
    relay.send({2});
    Owner owner;
    owner.start(port);
    EXPECT_EQ(owner.await(2), (std::vector<Message>{{1}, {2}}));
}

TEST(OwnerRelay, commands_come_in_order_and_wake_who_waits) {
    Owner owner;
    owner.command({1});
    owner.command({2});
    OwnerRelay relay{url(owner.start()), kDomain};
    EXPECT_TRUE(relay.wait(kPatience));
    EXPECT_EQ(relay.receive(kPatience), Message{1});
    EXPECT_EQ(relay.receive(kPatience), Message{2});
    EXPECT_EQ(relay.receive(std::chrono::nanoseconds{0}), std::nullopt);
}

TEST(OwnerRelay, a_command_that_is_too_large_is_dropped) {
    Owner owner;
    owner.command(Message(wire::kMaxOwnerMessage + 1));
    owner.command({2});
    OwnerRelay relay{url(owner.start()), kDomain};
    EXPECT_EQ(relay.receive(kPatience), Message{2});
}

TEST(OwnerRelay, a_stop_ends_all_waiting_though_nobody_listens) {
    OwnerRelay relay{"http://127.0.0.1:1", kDomain};
    relay.send({1});
    auto waiting = std::async(std::launch::async, [&] { return relay.receive(2 * kPatience); });
    relay.stop();
    ASSERT_EQ(waiting.wait_for(kPatience), std::future_status::ready);
    EXPECT_EQ(waiting.get(), std::nullopt);
}

}  // namespace
}  // namespace sgm::host
