// SPDX-License-Identifier: MIT
// The CPU of software SGX: makes the enclave's pages in this process, checks SIGSTRUCT as EINIT
// does, enters, and executes the enclave's ENCLU. One enclave for each process.
#pragma once

#include <array>
#include <cstdint>
#include <expected>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "sgx/image/image.hpp"
#include "sgx/loader/soft/platform.hpp"

namespace sgm::sgx::soft {

// The registers that carry values across EENTER and EEXIT.
struct Crossing {
    std::uint64_t rdi;  // 0   cpu_entry.S knows these offsets
    std::uint64_t rsi;  // 8
    std::uint64_t rdx;  // 16
};

// The host's side of one thread while it is inside.
struct Outer {
    std::uint64_t fs;   // 0   cpu_entry.S knows these offsets, too
    std::uint64_t gs;   // 8
    std::uint64_t rsp;  // 16
};

class Cpu final {
  public:
    // ECREATE to EINIT. `elf` and `sigstruct` may come from anyone; the error is one sentence.
    [[nodiscard]] static std::expected<std::unique_ptr<Cpu>, std::string> load(Bytes elf,
                                                                               Bytes sigstruct,
                                                                               FuseKey key);
    ~Cpu();
    Cpu(const Cpu&) = delete;
    Cpu& operator=(const Cpu&) = delete;

    // EENTER with the TCS of this number, and back at EEXIT. One caller for each thread.
    void enter(Crossing& crossing, std::size_t thread);

    // For a signal handler: the record of the thread whose GS base this is; nullptr when it was not
    // inside.
    [[nodiscard]] const Outer* outer_of(std::uint64_t gs) const;

    [[nodiscard]] std::uint64_t base() const { return base_; }
    [[nodiscard]] std::uint64_t size() const { return layout_.elrange_size; }
    [[nodiscard]] bool contains(std::uint64_t address) const {
        return address - base_ < layout_.elrange_size;
    }
    [[nodiscard]] const EnclaveLayout& layout() const { return layout_; }
    [[nodiscard]] std::uint64_t entry() const { return base_ + entry_; }
    [[nodiscard]] const Secs& secs() const { return secs_; }
    // How the writable pages are kept from the rest of this host: one sentence.
    [[nodiscard]] const std::string& memory_protection() const { return memory_protection_; }

    // EREPORT, EGETKEY and EACCEPT, called by cpu_entry.S. The operands are the enclave's pointers;
    // what the manual answers with #GP or #PF ends this process.
    [[nodiscard]] std::uint64_t leaf(std::uint32_t number, std::uint64_t rbx, std::uint64_t rcx,
                                     std::uint64_t rdx);

  private:
    explicit Cpu(FuseKey key) : platform_{std::move(key)} {}
    [[nodiscard]] std::expected<void, std::string> map(const EnclaveImage& image);
    [[nodiscard]] AcceptError accept(const SecInfo& expected, std::uint64_t page);
    [[nodiscard]] std::uint8_t* operand(std::uint64_t address, std::size_t size,
                                        std::size_t alignment) const;

    SoftPlatform platform_;
    std::mutex leaf_mutex_;
    // Pages of the heap's room to grow that were accepted. All of them are mapped from the start:
    // this process may map nothing once the enclave runs.
    std::vector<bool> accepted_;
    std::array<Outer, kMaxThreads> outer_{};
    Secs secs_{};
    EnclaveLayout layout_{};
    std::uint64_t base_ = 0;
    std::uint64_t entry_ = 0;
    std::string memory_protection_;
};

}  // namespace sgm::sgx::soft
