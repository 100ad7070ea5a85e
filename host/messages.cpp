// SPDX-License-Identifier: MIT
#include "host/messages.hpp"

#include <httplib.h>

#include <utility>

#include "wire/attestation.hpp"
#include "wire/bytes.hpp"
#include "wire/enclave_abi.hpp"
#include "wire/fixed_text.hpp"
#include "wire/owner.hpp"
#include "wire/sgm_op.hpp"

namespace sgm::host {

namespace {

constexpr std::size_t kMaxQueued = 256;
constexpr std::chrono::seconds kConnectTimeout{2};
constexpr std::chrono::seconds kAuthorityTimeout{10};
// The long poll: short enough that a stop never waits long for it.
constexpr std::chrono::milliseconds kPollWait{1000};
constexpr std::chrono::milliseconds kRetryPause{200};
constexpr const char* kBinary = "application/octet-stream";

void push_bounded(std::deque<Message>& queue, Message message) {
    if (queue.size() >= kMaxQueued) queue.pop_front();
    queue.push_back(std::move(message));
}

Message to_message(const std::string& body) {
    return {body.begin(), body.end()};
}

}  // namespace

std::optional<Message> AuthorityClient::attest(const Message& evidence) const {
    httplib::Client client{url_};
    client.set_connection_timeout(kConnectTimeout);
    client.set_read_timeout(kAuthorityTimeout);
    const auto response = client.Post("/v1/attest", reinterpret_cast<const char*>(evidence.data()),
                                      evidence.size(), kBinary);
    if (!response) return std::nullopt;

    wire::AuthorityReply reply{};
    std::string_view body = response->body;
    const bool accepted =
        response->status == 200 && body.size() == sizeof(wire::SignedAttestationResult);
    reply.accepted = accepted ? 1 : 0;
    if (!accepted) {
        wire::set_text(reply.reason, body.substr(0, body.find_last_not_of("\r\n") + 1));
    }
    const Bytes head = bytes_of(reply);
    Message out{head.begin(), head.end()};
    if (accepted) out.insert(out.end(), body.begin(), body.end());
    return out;
}

std::optional<Message> AuthorityClient::revocations() const {
    httplib::Client client{url_};
    client.set_connection_timeout(kConnectTimeout);
    client.set_read_timeout(kAuthorityTimeout);
    const auto response = client.Get("/v1/revocations/current");
    if (!response || response->status != 200 ||
        response->body.size() != sizeof(wire::SignedRevocations)) {
        return std::nullopt;
    }
    return to_message(response->body);
}

OwnerRelay::OwnerRelay(std::string url, std::string domain)
    : url_{std::move(url)},
      domain_{std::move(domain)},
      deliverer_{[this] { deliver(); }},
      fetcher_{[this] { fetch(); }} {}

OwnerRelay::~OwnerRelay() {
    stop();
    deliverer_.join();
    fetcher_.join();
}

void OwnerRelay::stop() {
    const std::lock_guard lock{mutex_};
    stopping_ = true;
    changed_.notify_all();
}

bool OwnerRelay::pause() {
    std::unique_lock lock{mutex_};
    return !changed_.wait_for(lock, kRetryPause, [this] { return stopping_; });
}

void OwnerRelay::send(Message message) {
    const std::lock_guard lock{mutex_};
    push_bounded(outgoing_, std::move(message));
    changed_.notify_all();
}

std::optional<Message> OwnerRelay::receive(std::chrono::nanoseconds timeout) {
    std::unique_lock lock{mutex_};
    changed_.wait_for(lock, timeout, [this] { return stopping_ || !incoming_.empty(); });
    if (incoming_.empty()) return std::nullopt;
    Message message = std::move(incoming_.front());
    incoming_.pop_front();
    return message;
}

bool OwnerRelay::wait(std::chrono::nanoseconds timeout) {
    std::unique_lock lock{mutex_};
    return changed_.wait_for(lock, timeout, [this] { return stopping_ || !incoming_.empty(); });
}

void OwnerRelay::deliver() {
    httplib::Client client{url_};
    client.set_keep_alive(true);
    client.set_tcp_nodelay(true);
    client.set_connection_timeout(kConnectTimeout);
    for (;;) {
        Message message;
        {
            std::unique_lock lock{mutex_};
            changed_.wait(lock, [this] { return stopping_ || !outgoing_.empty(); });
            if (stopping_) return;
            message = std::move(outgoing_.front());
            outgoing_.pop_front();
        }
        // Whatever the owner's side says to it, the message was delivered; only silence is tried
        // again.
        while (!client.Post("/v1/messages", reinterpret_cast<const char*>(message.data()),
                            message.size(), kBinary)) {
            if (!pause()) return;
        }
    }
}

void OwnerRelay::fetch() {
    httplib::Client client{url_};
    client.set_keep_alive(true);
    client.set_tcp_nodelay(true);
    client.set_connection_timeout(kConnectTimeout);
    client.set_read_timeout(kPollWait + kConnectTimeout);
    const std::string path =
        "/v1/commands/" + domain_ + "?wait_ms=" + std::to_string(kPollWait.count());
    for (;;) {
        {
            const std::lock_guard lock{mutex_};
            if (stopping_) return;
        }
        const auto response = client.Get(path);
        if (response && response->status == 204) continue;
        if (!response || response->status != 200 ||
            response->body.size() > wire::kMaxOwnerMessage) {
            if (!pause()) return;
            continue;
        }
        const std::lock_guard lock{mutex_};
        push_bounded(incoming_, to_message(response->body));
        changed_.notify_all();
    }
}

}  // namespace sgm::host
