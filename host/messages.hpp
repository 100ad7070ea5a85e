// SPDX-License-Identifier: MIT
// The relay's way to the authority and to the VM's owner: plain HTTP, because everything inside
// is signed or sealed. It carries bytes that it cannot read; what it drops, the owner notices.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <expected>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace sgm::host {

using Message = std::vector<std::uint8_t>;

// Asks the authority. nullopt: it cannot be reached. Otherwise an AuthorityReply, followed by the
// SignedAttestationResult when it accepted.
class AuthorityClient final {
  public:
    explicit AuthorityClient(std::string url) : url_{std::move(url)} {}
    [[nodiscard]] std::optional<Message> attest(const Message& evidence) const;
    // The signed list of what it has taken back, as it came; nullopt: there is none, or the
    // authority cannot be reached.
    [[nodiscard]] std::optional<Message> revocations() const;

  private:
    std::string url_;
};

// Two threads, one for each direction, and a bounded queue for each: an owner who is away for a
// while gets what was said meanwhile, oldest dropped first.
class OwnerRelay final {
  public:
    OwnerRelay(std::string url, std::string domain);
    ~OwnerRelay();
    OwnerRelay(const OwnerRelay&) = delete;
    OwnerRelay& operator=(const OwnerRelay&) = delete;

    void send(Message message);

    // The next message from the owner, waiting at most `timeout`.
    [[nodiscard]] std::optional<Message> receive(std::chrono::nanoseconds timeout);

    // Comes back when a message is there (true), after `timeout`, or at stop().
    bool wait(std::chrono::nanoseconds timeout);

    // Ends all waiting; called from the signal thread.
    void stop();

  private:
    void deliver();
    void fetch();
    // Sleeps before a failed connection is tried again; false at stop().
    [[nodiscard]] bool pause();

    std::string url_;
    std::string domain_;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<Message> outgoing_;
    std::deque<Message> incoming_;
    bool stopping_ = false;
    std::thread deliverer_;
    std::thread fetcher_;
};

}  // namespace sgm::host
