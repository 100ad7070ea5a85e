// SPDX-License-Identifier: MIT
#include "host/ring.hpp"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

namespace sgm::host {

namespace {

std::string system_error(const std::string& what) {
    return what + ": " + std::strerror(errno);
}

}  // namespace

std::expected<Ring, std::string> Ring::create() {
    config::Descriptor memory{::memfd_create("sgm-ring", MFD_CLOEXEC | MFD_ALLOW_SEALING)};
    if (!memory) return std::unexpected(system_error("cannot make the shared ring"));
    if (::ftruncate(memory.get(), wire::kRingSize) != 0 ||
        ::fcntl(memory.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
        return std::unexpected(system_error("cannot size the shared ring"));
    }
    void* mapped =
        ::mmap(nullptr, wire::kRingSize, PROT_READ | PROT_WRITE, MAP_SHARED, memory.get(), 0);
    if (mapped == MAP_FAILED) return std::unexpected(system_error("cannot map the shared ring"));
    return Ring{std::move(memory), static_cast<wire::RingHeader*>(mapped)};
}

Ring::~Ring() {
    if (header_ != nullptr) ::munmap(header_, wire::kRingSize);
}

bool Ring::put_call(Bytes frame) {
    if (frame.size() > wire::kRingMaxCall) return false;
    std::memcpy(at(wire::kRingCallOffset), frame.data(), frame.size());
    header_->call_size = static_cast<std::uint32_t>(frame.size());
    state().store(static_cast<std::uint32_t>(wire::RingState::call), std::memory_order_release);
    return true;
}

std::optional<std::vector<std::uint8_t>> Ring::take_reply() {
    const bool replied = state().exchange(static_cast<std::uint32_t>(wire::RingState::idle)) ==
                         static_cast<std::uint32_t>(wire::RingState::reply);
    const std::uint32_t size = std::atomic_ref{header_->reply_size}.load();
    if (!replied || size > wire::kRingMaxReply) return std::nullopt;
    const std::uint8_t* const reply = at(wire::kRingReplyOffset);
    return std::vector<std::uint8_t>{reply, reply + size};
}

std::optional<Bytes> Ring::call() {
    const bool called = state().load(std::memory_order_acquire) ==
                        static_cast<std::uint32_t>(wire::RingState::call);
    const std::uint32_t size = std::atomic_ref{header_->call_size}.load();
    if (!called || size > wire::kRingMaxCall) return std::nullopt;
    return Bytes{at(wire::kRingCallOffset), size};
}

void Ring::put_reply(Bytes frame) {
    std::memcpy(at(wire::kRingReplyOffset), frame.data(), frame.size());
    header_->reply_size = static_cast<std::uint32_t>(frame.size());
    state().store(static_cast<std::uint32_t>(wire::RingState::reply), std::memory_order_release);
}

}  // namespace sgm::host
