// SPDX-License-Identifier: MIT
#include "remote/store.hpp"

#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/stat.h>

#include "config/temporary_directory.hpp"
#include "remote/testing.hpp"

namespace sgm::remote {
namespace {

class StoreTest : public testing::Test {
  protected:
    StoreTest() {
        const auto opened = Owner{}.channel().open(ids_.beat()).value();
        boot_ = take_heartbeat(std::nullopt, opened, Owner{}.trust()).value().boot;
    }

    // What a person with an SQL prompt would do.
    void sql(const std::string& statement) const {
        sqlite3* db = nullptr;
        ASSERT_EQ(sqlite3_open(path_.c_str(), &db), SQLITE_OK);
        EXPECT_EQ(sqlite3_exec(db, statement.c_str(), nullptr, nullptr, nullptr), SQLITE_OK);
        sqlite3_close(db);
    }

    const config::TemporaryDirectory dir_;
    const std::filesystem::path path_ = dir_ / "remote.db";
    FakeIds ids_;
    Boot boot_;
};

TEST_F(StoreTest, everything_comes_back_in_another_process) {
    const wire::Finding finding = a_finding();
    std::int64_t id = 0;
    {
        Store store = Store::create_or_open(path_);
        store.save_boot(boot_);
        store.save_command_sequence(boot_.id, 7);
        store.add_heartbeat(boot_, 1000, true);
        store.add_finding(boot_.id, 2000, finding);
        store.add_alert(3000, {wire::Severity::warning, "gap", "text"});
        store.set_status({.updated = 4000,
                          .running = true,
                          .life = Life::suspect,
                          .last_sign_of_life = 3500,
                          .rules_version = 3,
                          .refused_messages = 2,
                          .last_refusal = "why"});
        id = store.add_query(wire::QueryKind::processes, 5000);
    }
    Store store = Store::open_existing(path_);
    const auto boot = store.newest_boot();
    ASSERT_TRUE(boot);
    EXPECT_EQ(boot->boot.id, boot_.id);
    EXPECT_EQ(boot->boot.sequence, boot_.sequence);
    EXPECT_EQ(boot->boot.payload, boot_.payload);
    EXPECT_EQ(boot->boot.keys().signing, boot_.keys().signing);
    EXPECT_EQ(boot->command_sequence, 7u);
    EXPECT_TRUE(store.knows_boot(boot_.id));
    EXPECT_FALSE(store.knows_boot(filled<16>(99)));
    const auto beat = store.last_heartbeat();
    ASSERT_TRUE(beat);
    EXPECT_EQ(beat->received, 1000);
    EXPECT_TRUE(beat->live);
    EXPECT_EQ(beat->heartbeat.beat.process_count, 211u);
    const auto findings = store.findings(0, 10);
    ASSERT_EQ(findings.size(), 1u);
    EXPECT_EQ(std::memcmp(&findings[0].finding, &finding, sizeof(finding)), 0);
    const auto alerts = store.alerts(0, 10);
    ASSERT_EQ(alerts.size(), 1u);
    EXPECT_EQ(alerts[0].alert.kind, "gap");
    EXPECT_EQ(alerts[0].alert.severity, wire::Severity::warning);
    const auto status = store.status();
    ASSERT_TRUE(status);
    EXPECT_EQ(status->life, Life::suspect);
    EXPECT_EQ(status->last_sign_of_life, 3500);
    EXPECT_EQ(status->last_refusal, "why");
    ASSERT_EQ(store.waiting_queries().size(), 1u);
    EXPECT_EQ(store.waiting_queries().front().id, id);
}

TEST_F(StoreTest, an_empty_store_has_nothing_and_says_so) {
    Store store = Store::create_or_open(path_);
    EXPECT_FALSE(store.newest_boot());
    EXPECT_FALSE(store.status());
    EXPECT_FALSE(store.last_heartbeat());
    EXPECT_TRUE(store.findings(0, 10).empty());
    EXPECT_FALSE(store.query(1));
}

TEST_F(StoreTest, a_query_is_answered_once_and_only_when_it_was_sent) {
    Store store = Store::create_or_open(path_);
    const std::vector<std::uint8_t> answer{1, 2, 3};
    const auto id = store.add_query(wire::QueryKind::processes, 0);
    EXPECT_FALSE(store.answer_query(id, answer)) << "not asked yet";
    store.set_query_sent(id);
    EXPECT_TRUE(store.waiting_queries().empty());
    EXPECT_TRUE(store.answer_query(id, answer));
    EXPECT_FALSE(store.answer_query(id, answer));
    EXPECT_FALSE(store.answer_query(id + 1, answer));
    EXPECT_EQ(store.query(id)->state, QueryState::answered);
    EXPECT_EQ(store.query(id)->answer, answer);
}

TEST_F(StoreTest, only_its_owner_may_use_the_file) {
    {
        Store store = Store::create_or_open(path_);
    }
    struct stat status{};
    ASSERT_EQ(::stat(path_.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0600u);
    ASSERT_EQ(::chmod(path_.c_str(), 0640), 0);
    EXPECT_THROW((void)Store::open_existing(path_), StoreError);
    EXPECT_THROW((void)Store::create_or_open(path_), StoreError);
}

TEST_F(StoreTest, what_is_not_a_store_of_this_version_is_refused_by_name) {
    try {
        (void)Store::open_existing(path_);
        FAIL() << "opened a file that is not there";
    } catch (const StoreError& error) {
        EXPECT_NE(std::string{error.what()}.find(path_.string() + ": No such file"),
                  std::string::npos);
    }
    EXPECT_THROW((void)Store::create_or_open(dir_ / "no/such/remote.db"), StoreError);
    const auto text = dir_.write("text", std::string(4096, 'x'));
    ASSERT_EQ(::chmod(text.c_str(), 0600), 0);
    EXPECT_THROW((void)Store::create_or_open(text), StoreError);
    {
        Store store = Store::create_or_open(path_);
    }
    sql("PRAGMA user_version = 2");
    EXPECT_THROW((void)Store::open_existing(path_), StoreError);
}

TEST_F(StoreTest, a_damaged_row_is_an_error_and_never_read_as_something) {
    Store store = Store::create_or_open(path_);
    store.add_heartbeat(boot_, 1000, true);
    sql("UPDATE heartbeats SET heartbeat = x'0102'");
    EXPECT_THROW((void)store.last_heartbeat(), StoreError);
}

TEST_F(StoreTest, old_rows_go_when_newer_ones_come) {
    Store store = Store::create_or_open(path_);
    for (std::int64_t i = 0; i < kKeptQueries + 5; ++i) {
        (void)store.add_query(wire::QueryKind::processes, i);
    }
    const auto queries = store.waiting_queries();
    ASSERT_EQ(static_cast<std::int64_t>(queries.size()), kKeptQueries);
    EXPECT_EQ(queries.front().asked, 5);
    store.atomically([&] {
        for (std::int64_t i = 0; i < kKeptAlerts + 5; ++i) {
            store.add_alert(i, {wire::Severity::info, "k", "t"});
        }
    });
    const auto alerts = store.alerts(0, kKeptAlerts + 100);
    ASSERT_EQ(static_cast<std::int64_t>(alerts.size()), kKeptAlerts);
    EXPECT_EQ(alerts.front().raised, 5);
}

TEST_F(StoreTest, rows_after_a_row_come_oldest_first_and_the_newest_when_there_are_too_many) {
    Store store = Store::create_or_open(path_);
    for (int i = 1; i <= 5; ++i)
        store.add_alert(i, {wire::Severity::info, "k", "t"});
    const auto rows = store.alerts(1, 3);
    ASSERT_EQ(rows.size(), 3u);
    EXPECT_EQ(rows.front().raised, 3);
    EXPECT_EQ(rows.back().raised, 5);
}

TEST_F(StoreTest, changes_are_kept_together_or_not_at_all) {
    Store store = Store::create_or_open(path_);
    EXPECT_THROW(store.atomically([&] {
        store.save_boot(boot_);
        throw std::runtime_error{"power cut"};
    }),
                 std::runtime_error);
    EXPECT_FALSE(store.newest_boot());
}

}  // namespace
}  // namespace sgm::remote
