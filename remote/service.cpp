// SPDX-License-Identifier: MIT
#include "remote/service.hpp"

#include <algorithm>
#include <charconv>

#include "config/text.hpp"

namespace sgm::remote {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kMaxWait{30'000};

std::optional<milliseconds> parse_wait(const std::map<std::string, std::string>& keys) {
    const auto found = keys.find("wait_ms");
    if (found == keys.end()) return milliseconds{0};
    const std::string& text = found->second;
    std::uint32_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
    return std::min(milliseconds{value}, kMaxWait);
}

}  // namespace

Now now() {
    return {.instant = std::chrono::steady_clock::now(),
            .utc = std::chrono::duration_cast<milliseconds>(
                       std::chrono::system_clock::now().time_since_epoch())
                       .count()};
}

Service::Service(Monitor& monitor, const wire::Uuid& domain)
    : monitor_{monitor}, domain_{config::uuid_text(domain)} {
    server_.post("/v1/messages", wire::kMaxOwnerMessage,
                 [this](Bytes body) { return take_message(body); });
    server_.get("/v1/commands",
                [this](const auto& name, const auto& keys) { return give_command(name, keys); });
}

Service::~Service() {
    stop();
}

config::Result<std::uint16_t> Service::start(const std::string& address, std::uint16_t port) {
    return server_.start(address, port);
}

void Service::tick() {
    const std::lock_guard lock{mutex_};
    monitor_.tick(now());
    changed_.notify_all();
}

void Service::stop() {
    {
        const std::lock_guard lock{mutex_};
        stopping_ = true;
        changed_.notify_all();
    }
    server_.stop();
}

cli::HttpReply Service::take_message(Bytes message) {
    const std::lock_guard lock{mutex_};
    const auto taken = monitor_.take_message(message, now());
    changed_.notify_all();
    if (taken) return {};
    return {.status = taken.error().malformed ? 400 : 403, .body = taken.error().reason + "\n"};
}

cli::HttpReply Service::give_command(const std::string& domain,
                                     const std::map<std::string, std::string>& keys) {
    const auto wait = parse_wait(keys);
    if (!wait) return {.status = 400, .body = "wait_ms must be a number\n"};
    if (domain != domain_) return {.status = 404, .body = "no such domain here\n"};
    const auto deadline = std::chrono::steady_clock::now() + *wait;
    std::unique_lock lock{mutex_};
    // There is one relay. Only the newest poll waits, so that stale ones, or a stranger's, never
    // hold more than one of the server's threads.
    const std::uint64_t poll = ++newest_poll_;
    changed_.notify_all();
    while (poll == newest_poll_ && !stopping_) {
        if (const auto command = monitor_.next_command()) {
            return {.status = 200,
                    .content_type = "application/octet-stream",
                    .body = {command->begin(), command->end()}};
        }
        if (changed_.wait_until(lock, deadline) == std::cv_status::timeout) break;
    }
    return {};
}

}  // namespace sgm::remote
