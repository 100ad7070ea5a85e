// SPDX-License-Identifier: MIT
#include "remote/store.hpp"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <system_error>

namespace sgm::remote {
namespace {

constexpr int kSchemaVersion = 1;
constexpr int kBusyTimeoutMs = 5000;

// Blobs are the structs of wire/owner.hpp, as they came; the columns beside them are for people
// with an SQL prompt. Row numbers grow and are never used twice.
constexpr const char* kSchema = R"(
CREATE TABLE boots (
    row INTEGER PRIMARY KEY AUTOINCREMENT,
    boot BLOB NOT NULL UNIQUE,
    sequence INTEGER NOT NULL,
    missing INTEGER NOT NULL,
    command_sequence INTEGER NOT NULL DEFAULT 0,
    software_sgx INTEGER NOT NULL,
    heartbeat BLOB NOT NULL);
CREATE TABLE heartbeats (
    row INTEGER PRIMARY KEY AUTOINCREMENT,
    received INTEGER NOT NULL,
    live INTEGER NOT NULL,
    boot BLOB NOT NULL,
    beat INTEGER NOT NULL,
    scan INTEGER NOT NULL,
    processes INTEGER NOT NULL,
    open_findings INTEGER NOT NULL,
    heartbeat BLOB NOT NULL);
CREATE TABLE findings (
    row INTEGER PRIMARY KEY AUTOINCREMENT,
    received INTEGER NOT NULL,
    boot BLOB NOT NULL,
    state INTEGER NOT NULL,
    severity INTEGER NOT NULL,
    finding BLOB NOT NULL);
CREATE TABLE alerts (
    row INTEGER PRIMARY KEY AUTOINCREMENT,
    raised INTEGER NOT NULL,
    severity INTEGER NOT NULL,
    kind TEXT NOT NULL,
    text TEXT NOT NULL);
CREATE TABLE queries (
    row INTEGER PRIMARY KEY AUTOINCREMENT,
    kind INTEGER NOT NULL,
    asked INTEGER NOT NULL,
    state INTEGER NOT NULL,
    answer BLOB,
    failure TEXT);
CREATE TABLE status (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    updated INTEGER NOT NULL,
    running INTEGER NOT NULL,
    life INTEGER NOT NULL,
    last_sign_of_life INTEGER,
    rules_version INTEGER NOT NULL,
    refused_messages INTEGER NOT NULL,
    last_refusal TEXT NOT NULL);
)";

std::int64_t to_column(std::uint64_t value) {
    return static_cast<std::int64_t>(value);
}
std::uint64_t from_column(std::int64_t value) {
    return static_cast<std::uint64_t>(value);
}

}  // namespace

class Store::Statement final {
  public:
    Statement(Store& store, const char* sql) : store_{store} {
        sqlite3_stmt* statement = nullptr;
        const int result = sqlite3_prepare_v2(store.db_.get(), sql, -1, &statement, nullptr);
        statement_.reset(statement);
        if (result != SQLITE_OK) throw store.failure("read");
    }

    Statement& bind(std::int64_t value) {
        return bound(sqlite3_bind_int64(statement_.get(), ++bound_, value));
    }
    Statement& bind(const std::string& text) {
        return bound(sqlite3_bind_text64(statement_.get(), ++bound_, text.data(), text.size(),
                                         SQLITE_TRANSIENT, SQLITE_UTF8));
    }
    // Zero bytes are a blob of length 0, not NULL.
    Statement& bind(Bytes bytes) {
        static constexpr std::uint8_t kNothing = 0;
        return bound(sqlite3_bind_blob64(statement_.get(), ++bound_,
                                         bytes.empty() ? &kNothing : bytes.data(), bytes.size(),
                                         SQLITE_TRANSIENT));
    }
    Statement& bind_null() { return bound(sqlite3_bind_null(statement_.get(), ++bound_)); }

    // False when there is no further row.
    bool step() {
        const int result = sqlite3_step(statement_.get());
        if (result == SQLITE_ROW) return true;
        if (result == SQLITE_DONE) return false;
        throw store_.failure("use");
    }
    void run() {
        while (step()) {
        }
    }

    [[nodiscard]] bool is_null(int column) const {
        return sqlite3_column_type(statement_.get(), column) == SQLITE_NULL;
    }
    [[nodiscard]] std::int64_t integer(int column) const {
        return sqlite3_column_int64(statement_.get(), column);
    }
    [[nodiscard]] std::string text(int column) const {
        const Bytes bytes = blob(column);
        return {bytes.begin(), bytes.end()};
    }
    [[nodiscard]] Bytes blob(int column) const {
        const void* data = sqlite3_column_blob(statement_.get(), column);
        const int size = sqlite3_column_bytes(statement_.get(), column);
        if (data == nullptr) return {};
        return {static_cast<const std::uint8_t*>(data), static_cast<std::size_t>(size)};
    }
    [[nodiscard]] ParsedHeartbeat heartbeat(int column) const {
        auto parsed = parse_heartbeat(blob(column));
        if (!parsed) throw store_.failure("understand");
        return std::move(*parsed);
    }
    template <WireStruct T>
    [[nodiscard]] T value(int column) const {
        Reader reader{blob(column)};
        const auto taken = reader.take<T>();
        if (!taken || !reader.empty()) throw store_.failure("understand");
        return *taken;
    }

  private:
    Statement& bound(int result) {
        if (result != SQLITE_OK) throw store_.failure("use");
        return *this;
    }

    struct Finalize {
        void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
    };
    Store& store_;
    std::unique_ptr<sqlite3_stmt, Finalize> statement_;
    int bound_ = 0;
};

void Store::Close::operator()(sqlite3* db) const {
    sqlite3_close(db);
}

StoreError Store::failure(const char* what) const {
    std::string sentence = std::string{"cannot "} + what + " the store " + path_.string();
    const int code = db_ ? sqlite3_errcode(db_.get()) : SQLITE_OK;
    if (code != SQLITE_OK && code != SQLITE_ROW && code != SQLITE_DONE) {
        sentence += std::string{": "} + sqlite3_errmsg(db_.get());
    } else {
        sentence += ": its contents are not what this version writes";
    }
    return StoreError{sentence};
}

Store::Store(const std::filesystem::path& path) : path_{path} {
    struct stat status{};
    if (::stat(path.c_str(), &status) == 0 && (status.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
        throw StoreError{"refused to use the store " + path.string() +
                         ": others may read or write it; run chmod 600 on it"};
    }
    sqlite3* db = nullptr;
    const int result = sqlite3_open_v2(path.c_str(), &db, SQLITE_OPEN_READWRITE, nullptr);
    db_.reset(db);
    if (result != SQLITE_OK) throw failure("open");
    sqlite3_busy_timeout(db, kBusyTimeoutMs);
    execute("PRAGMA journal_mode = WAL");
    execute("PRAGMA synchronous = NORMAL");
    atomically([this] { make_tables(); });
}

Store::~Store() = default;
Store::Store(Store&&) noexcept = default;

Store Store::create_or_open(const std::filesystem::path& path) {
    // Made here, because SQLite would give it the mode that umask allows.
    const int fd = ::open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0) {
        throw StoreError{"cannot open the store " + path.string() + ": " +
                         std::generic_category().message(errno)};
    }
    ::close(fd);
    return Store{path};
}

Store Store::open_existing(const std::filesystem::path& path) {
    if (::access(path.c_str(), R_OK | W_OK) != 0) {
        const int error = errno;
        std::string sentence = "cannot open the store " + path.string() + ": " +
                               std::generic_category().message(error);
        if (error == ENOENT) sentence += " (the remote makes it when it runs for the first time)";
        throw StoreError{sentence};
    }
    return Store{path};
}

Store::Statement Store::prepare(const char* sql) {
    return Statement{*this, sql};
}

void Store::execute(const char* sql) {
    if (sqlite3_exec(db_.get(), sql, nullptr, nullptr, nullptr) != SQLITE_OK) throw failure("use");
}

void Store::roll_back() noexcept {
    sqlite3_exec(db_.get(), "ROLLBACK", nullptr, nullptr, nullptr);
}

// Two programs may open a new store at once, so this is called within a transaction.
void Store::make_tables() {
    Statement version = prepare("PRAGMA user_version");
    version.step();
    const std::int64_t found = version.integer(0);
    version.run();
    if (found == 0) {
        execute(kSchema);
        execute(("PRAGMA user_version = " + std::to_string(kSchemaVersion)).c_str());
    } else if (found != kSchemaVersion) {
        throw StoreError{"cannot use the store " + path_.string() + ": it is of schema version " +
                         std::to_string(found) + ", this program writes version " +
                         std::to_string(kSchemaVersion)};
    }
}

void Store::keep_newest(const char* table, const char* key, std::int64_t count) {
    const std::string sql = std::string{"DELETE FROM "} + table + " WHERE " + key +
                            " <= (SELECT max(" + key + ") FROM " + table + ") - ?";
    prepare(sql.c_str()).bind(count).run();
}

std::optional<Store::StoredBoot> Store::newest_boot() {
    Statement row = prepare(
        "SELECT boot, sequence, missing, command_sequence, heartbeat FROM boots ORDER BY row DESC "
        "LIMIT 1");
    if (!row.step()) return std::nullopt;
    const Bytes payload = row.blob(4);
    return StoredBoot{.boot = {.id = row.value<wire::BootId>(0),
                               .sequence = from_column(row.integer(1)),
                               .missing = from_column(row.integer(2)),
                               .payload = {payload.begin(), payload.end()},
                               .last = row.heartbeat(4)},
                      .command_sequence = from_column(row.integer(3))};
}

std::uint64_t Store::highest_rules_version() {
    std::uint64_t highest = 0;
    Statement row = prepare("SELECT heartbeat FROM boots");
    while (row.step())
        highest = std::max(highest, row.heartbeat(0).beat.rules_version);
    return highest;
}

bool Store::knows_boot(const wire::BootId& id) {
    return prepare("SELECT 1 FROM boots WHERE boot = ?").bind(Bytes{id}).step();
}

void Store::save_boot(const Boot& boot) {
    prepare(
        "INSERT INTO boots (boot, sequence, missing, software_sgx, heartbeat) VALUES (?, ?, ?, ?, "
        "?) "
        "ON CONFLICT (boot) DO UPDATE SET sequence = excluded.sequence, missing = "
        "excluded.missing, "
        "heartbeat = excluded.heartbeat")
        .bind(Bytes{boot.id})
        .bind(to_column(boot.sequence))
        .bind(to_column(boot.missing))
        .bind(std::int64_t{boot.software_sgx()})
        .bind(Bytes{boot.payload})
        .run();
    keep_newest("boots", "row", kKeptBoots);
}

void Store::save_command_sequence(const wire::BootId& id, std::uint64_t sequence) {
    prepare("UPDATE boots SET command_sequence = ? WHERE boot = ?")
        .bind(to_column(sequence))
        .bind(Bytes{id})
        .run();
}

void Store::add_heartbeat(const Boot& boot, UtcMs received, bool live) {
    const wire::Heartbeat& beat = boot.last.beat;
    prepare(
        "INSERT INTO heartbeats (received, live, boot, beat, scan, processes, open_findings, "
        "heartbeat) VALUES (?, ?, ?, ?, ?, ?, ?, ?)")
        .bind(received)
        .bind(std::int64_t{live})
        .bind(Bytes{boot.id})
        .bind(to_column(beat.beat))
        .bind(to_column(beat.scan))
        .bind(std::int64_t{beat.process_count})
        .bind(std::int64_t{beat.open_findings})
        .bind(Bytes{boot.payload})
        .run();
    keep_newest("heartbeats", "row", kKeptHeartbeats);
}

void Store::add_finding(const wire::BootId& boot, UtcMs received, const wire::Finding& finding) {
    prepare(
        "INSERT INTO findings (received, boot, state, severity, finding) "
        "VALUES (?, ?, ?, ?, ?)")
        .bind(received)
        .bind(Bytes{boot})
        .bind(static_cast<std::int64_t>(finding.state))
        .bind(static_cast<std::int64_t>(finding.severity))
        .bind(bytes_of(finding))
        .run();
    keep_newest("findings", "row", kKeptFindings);
}

void Store::add_alert(UtcMs raised, const Observation& alert) {
    prepare("INSERT INTO alerts (raised, severity, kind, text) VALUES (?, ?, ?, ?)")
        .bind(raised)
        .bind(static_cast<std::int64_t>(alert.severity))
        .bind(alert.kind)
        .bind(alert.text)
        .run();
    keep_newest("alerts", "row", kKeptAlerts);
}

void Store::set_status(const DaemonStatus& status) {
    Statement statement = prepare(
        "INSERT OR REPLACE INTO status (one, updated, running, life, last_sign_of_life, "
        "rules_version, refused_messages, last_refusal) VALUES (1, ?, ?, ?, ?, ?, ?, ?)");
    statement.bind(status.updated)
        .bind(std::int64_t{status.running})
        .bind(static_cast<std::int64_t>(status.life));
    if (status.last_sign_of_life) {
        statement.bind(*status.last_sign_of_life);
    } else {
        statement.bind_null();
    }
    statement.bind(to_column(status.rules_version))
        .bind(to_column(status.refused_messages))
        .bind(status.last_refusal)
        .run();
}

std::vector<StoredQuery> Store::waiting_queries() {
    Statement row = prepare("SELECT row, kind, asked FROM queries WHERE state = ? ORDER BY row");
    row.bind(static_cast<std::int64_t>(QueryState::waiting));
    std::vector<StoredQuery> queries;
    while (row.step()) {
        queries.push_back({.id = row.integer(0),
                           .kind = static_cast<wire::QueryKind>(row.integer(1)),
                           .asked = row.integer(2),
                           .state = QueryState::waiting,
                           .answer = {},
                           .failure = {}});
    }
    return queries;
}

void Store::set_query_sent(std::int64_t id) {
    prepare("UPDATE queries SET state = ? WHERE row = ?")
        .bind(static_cast<std::int64_t>(QueryState::sent))
        .bind(id)
        .run();
}

bool Store::answer_query(std::int64_t id, Bytes answer) {
    prepare("UPDATE queries SET state = ?, answer = ? WHERE row = ? AND state = ?")
        .bind(static_cast<std::int64_t>(QueryState::answered))
        .bind(answer)
        .bind(id)
        .bind(static_cast<std::int64_t>(QueryState::sent))
        .run();
    return sqlite3_changes(db_.get()) == 1;
}

void Store::fail_query(std::int64_t id, const std::string& reason) {
    prepare("UPDATE queries SET state = ?, failure = ? WHERE row = ?")
        .bind(static_cast<std::int64_t>(QueryState::failed))
        .bind(reason)
        .bind(id)
        .run();
}

std::optional<DaemonStatus> Store::status() {
    Statement row = prepare(
        "SELECT updated, running, life, last_sign_of_life, rules_version, refused_messages, "
        "last_refusal FROM status");
    if (!row.step()) return std::nullopt;
    return DaemonStatus{
        .updated = row.integer(0),
        .running = row.integer(1) != 0,
        .life = static_cast<Life>(row.integer(2)),
        .last_sign_of_life = row.is_null(3) ? std::nullopt : std::optional{row.integer(3)},
        .rules_version = from_column(row.integer(4)),
        .refused_messages = from_column(row.integer(5)),
        .last_refusal = row.text(6)};
}

std::optional<StoredHeartbeat> Store::last_heartbeat() {
    const auto last = heartbeats(0, 1);
    if (last.empty()) return std::nullopt;
    return last.front();
}

std::vector<StoredHeartbeat> Store::heartbeats(std::int64_t after, std::int64_t limit) {
    Statement row = prepare(
        "SELECT row, received, live, heartbeat FROM heartbeats WHERE row > ? "
        "ORDER BY row DESC LIMIT ?");
    row.bind(after).bind(limit);
    std::vector<StoredHeartbeat> rows;
    while (row.step()) {
        rows.push_back({.row = row.integer(0),
                        .received = row.integer(1),
                        .live = row.integer(2) != 0,
                        .heartbeat = row.heartbeat(3)});
    }
    std::ranges::reverse(rows);
    return rows;
}

std::vector<StoredFinding> Store::findings(std::int64_t after, std::int64_t limit) {
    Statement row = prepare(
        "SELECT row, received, finding FROM findings WHERE row > ? ORDER BY row DESC LIMIT ?");
    row.bind(after).bind(limit);
    std::vector<StoredFinding> rows;
    while (row.step()) {
        rows.push_back({.row = row.integer(0),
                        .received = row.integer(1),
                        .finding = row.value<wire::Finding>(2)});
    }
    std::ranges::reverse(rows);
    return rows;
}

std::vector<StoredAlert> Store::alerts(std::int64_t after, std::int64_t limit) {
    Statement row = prepare(
        "SELECT row, raised, severity, kind, text FROM alerts WHERE row > ? "
        "ORDER BY row DESC LIMIT ?");
    row.bind(after).bind(limit);
    std::vector<StoredAlert> rows;
    while (row.step()) {
        rows.push_back({.row = row.integer(0),
                        .raised = row.integer(1),
                        .alert = {.severity = static_cast<wire::Severity>(row.integer(2)),
                                  .kind = row.text(3),
                                  .text = row.text(4)}});
    }
    std::ranges::reverse(rows);
    return rows;
}

std::int64_t Store::add_query(wire::QueryKind kind, UtcMs asked) {
    prepare("INSERT INTO queries (kind, asked, state) VALUES (?, ?, ?)")
        .bind(static_cast<std::int64_t>(kind))
        .bind(asked)
        .bind(static_cast<std::int64_t>(QueryState::waiting))
        .run();
    const std::int64_t id = sqlite3_last_insert_rowid(db_.get());
    keep_newest("queries", "row", kKeptQueries);
    return id;
}

std::optional<StoredQuery> Store::query(std::int64_t id) {
    Statement row =
        prepare("SELECT kind, asked, state, answer, failure FROM queries WHERE row = ?");
    row.bind(id);
    if (!row.step()) return std::nullopt;
    const Bytes answer = row.blob(3);
    return StoredQuery{.id = id,
                       .kind = static_cast<wire::QueryKind>(row.integer(0)),
                       .asked = row.integer(1),
                       .state = static_cast<QueryState>(row.integer(2)),
                       .answer = {answer.begin(), answer.end()},
                       .failure = row.text(4)};
}

}  // namespace sgm::remote
