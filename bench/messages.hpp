// SPDX-License-Identifier: MIT
// Between a benchmark program and its enclave: jobs and results, as messages of the owner's channel
// in the clear. Neither holds a secret, and no enclave that ships knows them.
#pragma once

#include <cstdint>

#include "wire/bytes.hpp"
#include "wire/owner.hpp"

namespace sgm::bench {

enum class Task : std::uint32_t {
    list = 1,                // the product: one `walk` for the whole process list
    list_by_field = 2,       // one request for each field, each by an OCALL
    list_by_field_ring = 3,  // one request for each field, over the ring without an OCALL
    ring = 4,                // one read of `size` bytes of physical memory over the ring
    ocall = 5,               // an OCALL that does nothing
    seal = 6,                // AES-256-GCM of `size` bytes inside the enclave, both ends of it
    open = 7,
};

struct Job {
    Task task;            // 0
    std::uint32_t count;  // 4   how often, 1..kMaxRepetitions
    std::uint64_t size;   // 8   for ring, seal and open, at most kMaxSealed
};
static_assert(sizeof(Job) == 16);
inline constexpr std::uint32_t kMaxRepetitions = 4096;
inline constexpr std::uint64_t kMaxSealed = 512 * 1024;

// Followed by `clock_count` u64: the hypervisor's clock in ns in the last answer of each
// repetition. The enclave has no clock of its own; from one repetition's end to the next is what
// one repetition takes, as the hypervisor saw it.
struct JobResult {
    std::uint32_t failed;       // 0   1: it could not be done
    std::uint32_t clock_count;  // 4
    std::uint32_t rows;         // 8   of the last list
    std::uint32_t checksum;     // 12  over the rows of the last list
};
static_assert(sizeof(JobResult) == 16);

// FNV-1a: whether two methods saw the same list.
[[nodiscard]] inline std::uint32_t checksum(std::span<const wire::ProcessRow> rows) {
    std::uint32_t sum = 2'166'136'261u;
    for (const wire::ProcessRow& row : rows) {
        for (const std::uint8_t byte : bytes_of(row))
            sum = (sum ^ byte) * 16'777'619u;
    }
    return sum;
}

}  // namespace sgm::bench
