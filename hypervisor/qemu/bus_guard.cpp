// SPDX-License-Identifier: MIT
#include "hypervisor/qemu/bus_guard.hpp"

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>

#include <array>
#include <atomic>
#include <mutex>
#include <utility>

namespace sgm::qemu {
namespace {

// Read by a signal handler at any time: plain atomics, `end` 0 where a slot is free.
struct Range {
    std::atomic<std::uintptr_t> begin;
    std::atomic<std::uintptr_t> end;
    std::atomic<std::uint64_t> page_size;
    std::atomic<bool> lost;
};
static_assert(std::atomic<std::uintptr_t>::is_always_lock_free);

std::array<Range, BusGuard::kMaxRanges> ranges;
std::mutex ranges_mutex;  // who takes and frees slots; the handler takes it never
constexpr std::size_t kNoSlot = BusGuard::kMaxRanges;

// Only async-signal-safe calls; mmap is a bare system call in glibc.
void on_bus_error(int signal, siginfo_t* info, void*) {
    const int saved_errno = errno;
    const auto address = reinterpret_cast<std::uintptr_t>(info->si_addr);
    for (Range& range : ranges) {
        if (address < range.begin || address >= range.end) continue;
        const std::uint64_t size = range.page_size;
        auto* page = reinterpret_cast<void*>(address & ~(size - 1));
        range.lost = true;
        if (::mmap(page, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == page) {
            errno = saved_errno;
            return;
        }
        break;
    }
    ::signal(signal, SIG_DFL);  // the read is tried once more and ends the process
}

bool install_handler() {
    struct sigaction action{};
    action.sa_sigaction = &on_bus_error;
    action.sa_flags = SA_SIGINFO;
    ::sigemptyset(&action.sa_mask);
    return ::sigaction(SIGBUS, &action, nullptr) == 0;
}

}  // namespace

config::Result<BusGuard> BusGuard::watch(const void* begin, std::uint64_t size,
                                         std::uint64_t page_size) {
    const std::lock_guard lock{ranges_mutex};
    static const bool installed = install_handler();
    if (!installed) return std::unexpected{config::Error{"cannot catch SIGBUS"}};
    for (std::size_t slot = 0; slot < ranges.size(); ++slot) {
        Range& range = ranges[slot];
        if (range.end != 0) continue;
        range.lost = false;
        range.page_size = page_size;
        range.begin = reinterpret_cast<std::uintptr_t>(begin);
        range.end = range.begin + size;
        return BusGuard{slot};
    }
    return std::unexpected{config::Error{"too many memory files are open"}};
}

BusGuard::~BusGuard() {
    if (slot_ == kNoSlot) return;
    const std::lock_guard lock{ranges_mutex};
    ranges[slot_].end = 0;
    ranges[slot_].begin = 0;
}

BusGuard::BusGuard(BusGuard&& other) noexcept : slot_{std::exchange(other.slot_, kNoSlot)} {}

bool BusGuard::lost() const {
    return ranges[slot_].lost.load(std::memory_order_relaxed);
}

}  // namespace sgm::qemu
