// SPDX-License-Identifier: MIT
#include "bench/conventional.hpp"

#include <algorithm>
#include <cstring>

namespace sgm::bench {
namespace {

constexpr std::uint64_t kAddressMask = 0x000f'ffff'ffff'f000;
constexpr std::uint64_t kPresent = 1;
constexpr std::uint64_t kLarge = 1u << 7;
constexpr std::size_t kMost = 65'536;

// Reads fields through a port, each with a page walk of its own.
class WalkingReader final {
  public:
    WalkingReader(hypervisor::Domain& domain, guest::AddressSpace space)
        : domain_{domain}, space_{space} {}

    template <WireStruct T>
    [[nodiscard]] T read(std::uint64_t address) {
        T value{};
        const MutableBytes out = mutable_bytes_of(value);
        const std::size_t first = std::min<std::size_t>(out.size(), 4096 - address % 4096);
        read_piece(address, out.first(first));
        if (first < out.size()) read_piece(address + first, out.subspan(first));
        return value;
    }
    [[nodiscard]] bool ok() const { return ok_; }

  private:
    void read_piece(std::uint64_t address, MutableBytes out) {
        const auto physical = translate(address);
        ok_ = ok_ && physical && domain_.read(*physical, out);
    }
    [[nodiscard]] std::optional<std::uint64_t> translate(std::uint64_t address) {
        std::uint64_t table = space_.root;
        for (int shift = space_.paging == wire::Paging::five_level ? 48 : 39;; shift -= 9) {
            std::uint64_t entry = 0;
            if (!domain_.read(table + ((address >> shift) & 511) * 8, mutable_bytes_of(entry)) ||
                (entry & kPresent) == 0)
                return std::nullopt;
            const std::uint64_t below = (std::uint64_t{1} << shift) - 1;
            if (shift == 12 || (entry & kLarge) != 0)
                return (entry & kAddressMask & ~below) | (address & below);
            table = entry & kAddressMask;
        }
    }

    hypervisor::Domain& domain_;
    guest::AddressSpace space_;
    bool ok_ = true;
};

void set_comm(wire::ProcessRow& row, const char* comm) {
    std::copy_n(comm, ::strnlen(comm, row.comm.size()), row.comm.begin());
}

}  // namespace

bool list_by_field(hypervisor::Domain& domain, const guest::Kernel& kernel, Rows& rows) {
    const guest::TaskLayout& at = kernel.layout().task;
    WalkingReader memory{domain, kernel.space()};
    rows.clear();
    std::uint64_t task = kernel.init_task();
    while (memory.ok() && rows.size() < kMost) {
        task = memory.read<std::uint64_t>(task + at.tasks) - at.tasks;
        if (task == kernel.init_task()) return memory.ok();
        const auto parent = memory.read<std::uint64_t>(task + at.real_parent);
        const auto cred = memory.read<std::uint64_t>(task + at.real_cred);
        wire::ProcessRow row{.task = task,
                             .start_time_ns = memory.read<std::uint64_t>(task + at.start_time),
                             .pid = memory.read<std::int32_t>(task + at.pid),
                             .tgid = memory.read<std::int32_t>(task + at.tgid),
                             .ppid = memory.read<std::int32_t>(parent + at.tgid),
                             .uid = memory.read<std::uint32_t>(cred + kernel.layout().cred_uid),
                             .state = memory.read<std::uint32_t>(task + at.state) |
                                      memory.read<std::uint32_t>(task + at.exit_state),
                             .reserved = 0,
                             .comm = {}};
        set_comm(row, memory.read<std::array<char, 16>>(task + at.comm).data());
        rows.push_back(row);
    }
    return false;
}

HandWritten::HandWritten(Bytes ram, std::uint64_t below_4g, const guest::Kernel& kernel)
    : ram_{ram},
      below_4g_{below_4g},
      root_{kernel.space().root},
      init_task_{kernel.init_task()},
      at_{kernel.layout().task},
      cred_uid_{kernel.layout().cred_uid} {}

const std::uint8_t* HandWritten::physical(std::uint64_t address, std::size_t size) const {
    const std::uint64_t four_g = std::uint64_t{1} << 32;
    const std::uint64_t at = address < below_4g_ ? address : address - four_g + below_4g_;
    return at <= ram_.size() - size ? &ram_[at] : nullptr;
}

const std::uint8_t* HandWritten::virtual_address(std::uint64_t address, std::size_t size) const {
    std::uint64_t table = root_;
    for (int shift = 39;; shift -= 9) {
        const std::uint8_t* at =
            physical(table + ((address >> shift) & 511) * 8, sizeof(std::uint64_t));
        if (at == nullptr) return nullptr;
        std::uint64_t entry = 0;
        std::memcpy(&entry, at, sizeof entry);
        if ((entry & kPresent) == 0) return nullptr;
        const std::uint64_t below = (std::uint64_t{1} << shift) - 1;
        if (shift == 12 || (entry & kLarge) != 0)
            return physical((entry & kAddressMask & ~below) | (address & below), size);
        table = entry & kAddressMask;
    }
}

template <typename Lookup>
bool HandWritten::list(Rows& rows, const Lookup& lookup) const {
    rows.clear();
    bool ok = true;
    const auto read = [&]<typename T>(std::uint64_t address, T& value) {
        const std::uint8_t* from = lookup(address, sizeof value);
        ok = ok && from != nullptr;
        if (ok) std::memcpy(&value, from, sizeof value);
    };
    std::uint64_t task = init_task_;
    while (ok && rows.size() < kMost) {
        std::uint64_t next = 0;
        read(task + at_.tasks, next);
        task = next - at_.tasks;
        if (task == init_task_) return ok;
        std::uint64_t parent = 0;
        std::uint64_t cred = 0;
        std::uint32_t exit_state = 0;
        std::array<char, 16> comm{};
        wire::ProcessRow& row = rows.emplace_back();
        row.task = task;
        read(task + at_.pid, row.pid);
        read(task + at_.tgid, row.tgid);
        read(task + at_.comm, comm);
        read(task + at_.state, row.state);
        read(task + at_.exit_state, exit_state);
        read(task + at_.start_time, row.start_time_ns);
        read(task + at_.real_parent, parent);
        read(task + at_.real_cred, cred);
        read(parent + at_.tgid, row.ppid);
        read(cred + cred_uid_, row.uid);
        row.state |= exit_state;
        set_comm(row, comm.data());
    }
    return false;
}

bool HandWritten::list(Rows& rows) const {
    return list(rows, [this](std::uint64_t address, std::size_t size) {
        return virtual_address(address, size);
    });
}

bool HandWritten::list_with_cache(Rows& rows) const {
    // One slot for each page number's low bits, forgotten when the list ends.
    std::array<LastPage, 64> pages;
    return list(rows, [&](std::uint64_t address, std::size_t) -> const std::uint8_t* {
        LastPage& last = pages[address / 4096 % pages.size()];
        if (last.page != address / 4096) {
            const std::uint8_t* memory = virtual_address(address & ~std::uint64_t{4095}, 4096);
            if (memory == nullptr) return nullptr;
            last = {address / 4096, memory};
        }
        return last.memory + address % 4096;
    });
}

}  // namespace sgm::bench
