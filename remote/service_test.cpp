// SPDX-License-Identifier: MIT
// The daemon end to end: an IDS behind a relay that speaks HTTP, and a console on the same store.
#include "remote/service.hpp"

#include <gtest/gtest.h>
#include <httplib.h>

#include <atomic>
#include <thread>

#include "config/temporary_directory.hpp"
#include "config/text.hpp"
#include "remote/console.hpp"
#include "remote/testing.hpp"

namespace sgm::remote {
namespace {

using std::chrono::milliseconds;

class RemoteService : public testing::Test {
  protected:
    [[nodiscard]] httplib::Client client() const {
        httplib::Client client{"127.0.0.1", port_};
        client.set_read_timeout(std::chrono::seconds{30});
        return client;
    }
    [[nodiscard]] httplib::Result post(const MessageBytes& message) const {
        return client().Post("/v1/messages", std::string{message.begin(), message.end()},
                             "application/octet-stream");
    }
    [[nodiscard]] httplib::Result get(const std::string& wait_ms = "0") const {
        return client().Get("/v1/commands/" + config::uuid_text(kDomain) + "?wait_ms=" + wait_ms);
    }
    [[nodiscard]] std::optional<ids::OpenedMessage> command(const httplib::Result& reply) {
        if (!reply || reply->status != 200) return std::nullopt;
        return ids_.open(
            {reinterpret_cast<const std::uint8_t*>(reply->body.data()), reply->body.size()});
    }

    const config::TemporaryDirectory dir_;
    const Owner owner_;
    Store store_ = Store::create_or_open(dir_ / "remote.db");
    // An interval that no test lives to see: what happens is caused, not waited for.
    Monitor monitor_{{.interval = std::chrono::hours{1},
                      .authority = owner_.trust().authority,
                      .allow_software_sgx = true},
                     owner_.channel(),
                     RuleSet{.version = 3, .rules = {}},
                     store_,
                     now()};
    Service service_{monitor_, kDomain};
    const std::uint16_t port_ = service_.start("127.0.0.1", 0).value();
    FakeIds ids_;
};

TEST_F(RemoteService, takes_what_is_sound_and_says_why_it_does_not_take_the_rest) {
    const auto beat = ids_.beat();
    EXPECT_EQ(post(beat)->status, 204);
    const auto replayed = post(beat);
    EXPECT_EQ(replayed->status, 403);
    EXPECT_EQ(replayed->body, "replayed or late: message 1 came after message 1\n");
    EXPECT_EQ(post({1, 2, 3})->status, 400);
    EXPECT_EQ(post({})->status, 400);
    EXPECT_EQ(post(FakeIds{12, Owner{2}}.beat())->status, 403) << "another owner's";
}

TEST_F(RemoteService, gives_commands_once_each_and_204_when_there_are_none) {
    EXPECT_EQ(get()->status, 204) << "no IDS is known";
    EXPECT_EQ(post(ids_.beat())->status, 204);
    const auto rules = command(get());
    ASSERT_TRUE(rules);
    EXPECT_EQ(rules->kind, wire::OwnerKind::rules);
    const auto challenge = command(get());
    ASSERT_TRUE(challenge);
    EXPECT_EQ(challenge->kind, wire::OwnerKind::challenge);
    EXPECT_EQ(get()->status, 204);
}

TEST_F(RemoteService, refuses_polls_for_other_domains_or_with_nonsense) {
    EXPECT_EQ(client().Get("/v1/commands/00000000-0000-0000-0000-000000000000")->status, 404);
    EXPECT_EQ(client().Get("/v1/commands/x")->status, 404);
    EXPECT_EQ(get("-1")->status, 400);
    EXPECT_EQ(get("1x")->status, 400);
    EXPECT_EQ(get("99999999999")->status, 400);
}

TEST_F(RemoteService, a_waiting_poll_gets_what_comes_up_while_it_waits) {
    std::optional<ids::OpenedMessage> got;
    std::thread relay{[&] { got = command(get("30000")); }};
    // Whichever comes first, the poll or the beat that causes a command: the poll gets it.
    EXPECT_EQ(post(ids_.beat())->status, 204);
    relay.join();
    EXPECT_TRUE(got);
}

TEST_F(RemoteService, a_newer_poll_relieves_an_older_one_and_stopping_relieves_all) {
    std::atomic<int> relieved = 0;
    const auto poll = [&] {
        const auto reply = get("30000");
        if (reply && reply->status == 204) ++relieved;
    };
    std::thread first{poll};
    std::thread second{poll};
    while (relieved == 0)
        std::this_thread::yield();
    service_.stop();
    first.join();
    second.join();
    EXPECT_EQ(relieved, 2);
}

TEST_F(RemoteService, the_console_gets_the_process_list_that_it_asks_for) {
    EXPECT_EQ(post(ids_.beat())->status, 204);
    std::atomic<bool> done = false;
    std::thread daemon{[&] {
        while (!done) {
            service_.tick();
            std::this_thread::yield();
        }
    }};
    std::thread relay{[&] {
        while (!done) {
            const auto opened = command(get("100"));
            if (!opened || opened->kind != wire::OwnerKind::query) continue;
            const auto query = Reader{opened->payload}.take<wire::Query>();
            (void)post(ids_.answer(query->id, {a_process(1, "systemd"), a_process(812, "nc")}));
        }
    }};
    Store console = Store::open_existing(dir_ / "remote.db");
    const auto list = ask_for_processes(console, milliseconds{30'000});
    done = true;
    daemon.join();
    relay.join();
    ASSERT_TRUE(list) << list.error().sentence;
    EXPECT_NE(list->table.render(cli::Format::text).find("systemd"), std::string::npos);
}

}  // namespace
}  // namespace sgm::remote
