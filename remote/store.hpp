// SPDX-License-Identifier: MIT
// What the remote has learned, in one SQLite file: the daemon writes it, console commands read it
// and put queries into it. Only its owner may read or write the file.
//
// Bounded: old rows go when newer ones come (the kKept... below). Times are milliseconds since
// 1970, UTC, of the remote's own clock. Every failure throws StoreError, a sentence that names the
// file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "remote/heartbeats.hpp"
#include "remote/liveness.hpp"
#include "wire/owner.hpp"

struct sqlite3;

namespace sgm::remote {

class StoreError : public std::runtime_error {
    using std::runtime_error::runtime_error;
};

using UtcMs = std::int64_t;

inline constexpr std::int64_t kKeptBoots = 1000;
inline constexpr std::int64_t kKeptHeartbeats = 20'000;
inline constexpr std::int64_t kKeptFindings = 20'000;
inline constexpr std::int64_t kKeptAlerts = 20'000;
inline constexpr std::int64_t kKeptQueries = 16;  // an answer may have a megabyte

struct StoredHeartbeat {
    std::int64_t row;
    UtcMs received;
    bool live;  // repeated a recent challenge and showed progress
    ParsedHeartbeat heartbeat;
};

struct StoredFinding {
    std::int64_t row;
    UtcMs received;
    wire::Finding finding;
};

struct StoredAlert {
    std::int64_t row;
    UtcMs raised;
    Observation alert;
};

enum class QueryState { waiting = 1, sent = 2, answered = 3, failed = 4 };
struct StoredQuery {
    std::int64_t id;
    wire::QueryKind kind;
    UtcMs asked;
    QueryState state;
    std::vector<std::uint8_t> answer;  // Answer and its rows, when answered
    std::string failure;               // when failed: why
};

// What the daemon knows and shows; renewed every second.
struct DaemonStatus {
    UtcMs updated;
    bool running;  // false: it ended in good order
    Life life;
    std::optional<UtcMs> last_sign_of_life;
    std::uint64_t rules_version;     // of the owner's file
    std::uint64_t refused_messages;  // since the daemon started
    std::string last_refusal;
};

class Store final {
  public:
    // Makes the file when it is not there.
    [[nodiscard]] static Store create_or_open(const std::filesystem::path& path);
    // For console commands: the daemon makes the file.
    [[nodiscard]] static Store open_existing(const std::filesystem::path& path);
    ~Store();
    Store(Store&&) noexcept;

    // All that `changes` does is kept, or, when it throws, nothing of it.
    template <typename Changes>
    void atomically(Changes changes) {
        execute("BEGIN IMMEDIATE");
        try {
            changes();
            execute("COMMIT");
        } catch (...) {
            roll_back();
            throw;
        }
    }

    // --- the daemon
    // The newest start of the IDS, as of its last message, and the last sequence used towards it.
    struct StoredBoot {
        Boot boot;
        std::uint64_t command_sequence;
    };
    [[nodiscard]] std::optional<StoredBoot> newest_boot();
    // The highest version of the rules that the IDS has shown at any start that is still known; 0:
    // none.
    [[nodiscard]] std::uint64_t highest_rules_version();
    [[nodiscard]] bool knows_boot(const wire::BootId& id);
    void save_boot(const Boot& boot);
    void save_command_sequence(const wire::BootId& id, std::uint64_t sequence);
    void add_heartbeat(const Boot& boot, UtcMs received, bool live);
    void add_finding(const wire::BootId& boot, UtcMs received, const wire::Finding& finding);
    void add_alert(UtcMs raised, const Observation& alert);
    void set_status(const DaemonStatus& status);
    [[nodiscard]] std::vector<StoredQuery> waiting_queries();
    void set_query_sent(std::int64_t id);
    // False: no such query waits for its answer.
    bool answer_query(std::int64_t id, Bytes answer);
    void fail_query(std::int64_t id, const std::string& reason);

    // --- the console
    [[nodiscard]] std::optional<DaemonStatus> status();
    [[nodiscard]] std::optional<StoredHeartbeat> last_heartbeat();
    // Rows after `after`, oldest first, at most `limit`; with the newest ones when there are more.
    [[nodiscard]] std::vector<StoredHeartbeat> heartbeats(std::int64_t after, std::int64_t limit);
    [[nodiscard]] std::vector<StoredFinding> findings(std::int64_t after, std::int64_t limit);
    [[nodiscard]] std::vector<StoredAlert> alerts(std::int64_t after, std::int64_t limit);
    [[nodiscard]] std::int64_t add_query(wire::QueryKind kind, UtcMs asked);
    [[nodiscard]] std::optional<StoredQuery> query(std::int64_t id);

  private:
    class Statement;
    explicit Store(const std::filesystem::path& path);
    [[nodiscard]] Statement prepare(const char* sql);
    void execute(const char* sql);
    void roll_back() noexcept;
    void make_tables();
    void keep_newest(const char* table, const char* key, std::int64_t count);
    [[nodiscard]] StoreError failure(const char* what) const;

    struct Close {
        void operator()(sqlite3* db) const;
    };
    std::filesystem::path path_;
    std::unique_ptr<sqlite3, Close> db_;
};

}  // namespace sgm::remote
