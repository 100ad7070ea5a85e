// SPDX-License-Identifier: MIT
// The enclave of the benchmark programs: registers and attaches as the IDS does, then repeats what
// it is told to. Linked twice, once with sessions that do not seal.
#include <algorithm>
#include <array>
#include <optional>
#include <utility>
#include <vector>

#include "bench/by_field.hpp"
#include "bench/messages.hpp"
#include "crypto/aead.hpp"
#include "guest/linux/kernel.hpp"
#include "guest/linux/tasks.hpp"
#include "guest/memory.hpp"
#include "ids/enclave_environment.hpp"
#include "ids/owner_channel.hpp"
#include "ids/registration.hpp"
#include "sgx/enclave/ocall.hpp"
#include "sgx/enclave/runtime.hpp"

namespace sgm::bench {
namespace {

// Leaves the enclave for every call, as the original did for every field.
class OcallEnvironment final : public ids::Environment {
  public:
    OcallEnvironment(ids::EnclaveEnvironment& rest, enclave::Outside ring)
        : rest_{rest}, ring_{ring} {}

    std::expected<std::size_t, ids::EnvironmentError> call_hypervisor(Bytes call,
                                                                      MutableBytes reply) override {
        if (always_leave) return leave(call, reply);
        return rest_.call_hypervisor(call, reply);
    }
    std::expected<void, ids::EnvironmentError> send(wire::Peer peer, Bytes message) override {
        return rest_.send(peer, message);
    }
    std::expected<std::size_t, ids::EnvironmentError> receive(wire::Peer peer,
                                                              std::uint64_t wait_ns,
                                                              MutableBytes into) override {
        return rest_.receive(peer, wait_ns, into);
    }
    std::expected<void, ids::EnvironmentError> wait(std::uint64_t wait_ns) override {
        return rest_.wait(wait_ns);
    }
    std::expected<std::array<std::uint8_t, 432>, ids::EnvironmentError> report(
        const std::array<std::uint8_t, 64>& report_data) override {
        return rest_.report(report_data);
    }
    enclave::SealKeys& seal_keys() override { return rest_.seal_keys(); }

    bool always_leave = false;

  private:
    std::expected<std::size_t, ids::EnvironmentError> leave(Bytes call, MutableBytes reply) {
        ring_.copy_out(wire::kRingCallOffset, call);
        ring_.store(offsetof(wire::RingHeader, call_size), static_cast<std::uint32_t>(call.size()));
        ring_.store_release(offsetof(wire::RingHeader, state),
                            static_cast<std::uint32_t>(wire::RingState::call));
        if (!enclave::ocall_hypervisor())
            return std::unexpected(ids::EnvironmentError::unreachable);
        const auto size = ring_.load<std::uint32_t>(offsetof(wire::RingHeader, reply_size));
        if (size > reply.size()) return std::unexpected(ids::EnvironmentError::too_large);
        ring_.copy_in(wire::kRingReplyOffset, reply.first(size));
        ring_.store_release(offsetof(wire::RingHeader, state),
                            static_cast<std::uint32_t>(wire::RingState::idle));
        return size;
    }

    ids::EnclaveEnvironment& rest_;
    enclave::Outside ring_;
};

class Worker final {
  public:
    Worker(OcallEnvironment& environment, guest::Memory& memory, const guest::Kernel& kernel)
        : environment_{environment}, memory_{memory}, kernel_{kernel}, text_(kMaxSealed) {}

    void run(const Job& job) {
        result_ = {};
        clocks_.clear();
        for (std::uint32_t i = 0; i < job.count && result_.failed == 0; ++i)
            result_.failed = repeat(job) ? 0 : 1;
    }
    [[nodiscard]] std::vector<std::uint8_t> message() {
        result_.clock_count = static_cast<std::uint32_t>(clocks_.size());
        result_.rows = static_cast<std::uint32_t>(rows_.size());
        result_.checksum = checksum(rows_);
        std::vector<std::uint8_t> bytes(sizeof(JobResult) + clocks_.size() * 8);
        Writer writer{bytes};
        writer.put(result_);
        for (const std::uint64_t clock : clocks_)
            writer.put(clock);
        return bytes;
    }

  private:
    bool repeat(const Job& job) {
        switch (job.task) {
            case Task::list: {
                auto rows = guest::list_processes(memory_, kernel_);
                return rows && note(std::move(*rows));
            }
            case Task::list_by_field:
            case Task::list_by_field_ring: {
                environment_.always_leave = job.task == Task::list_by_field;
                auto rows = list_by_field(memory_, kernel_);
                environment_.always_leave = false;
                return rows && note(std::move(*rows));
            }
            case Task::ring: {
                const MutableBytes out = MutableBytes{text_}.first(job.size);
                const bool done = memory_.read(guest::kPhysical, 1u << 20, out).has_value();
                clocks_.push_back(memory_.clock());
                return done;
            }
            case Task::ocall: return enclave::wait(0).has_value();
            case Task::seal: return seal(job.size);
            case Task::open: return seal(job.size) && open(job.size);
        }
        return false;
    }
    bool note(Rows rows) {
        clocks_.push_back(memory_.clock());
        rows_ = std::move(rows);
        return true;
    }
    bool seal(std::size_t size) {
        const MutableBytes text = MutableBytes{text_}.first(size);
        return key_.seal(nonce_, {}, text, text, tag_).has_value();
    }
    bool open(std::size_t size) {
        const MutableBytes text = MutableBytes{text_}.first(size);
        return key_.open(nonce_, {}, text, tag_, text).has_value();
    }

    OcallEnvironment& environment_;
    guest::Memory& memory_;
    const guest::Kernel& kernel_;
    JobResult result_{};
    std::vector<std::uint64_t> clocks_;
    Rows rows_;
    std::vector<std::uint8_t> text_;
    // Measures AES alone: no secret, nothing of it leaves, so one nonce does.
    crypto::Aes256Gcm key_{std::array<std::uint8_t, 32>{}};
    std::array<std::uint8_t, 12> nonce_{};
    std::array<std::uint8_t, 16> tag_{};
};

wire::EnclaveResult serve(OcallEnvironment& environment, const wire::Uuid& domain) {
    auto keys = ids::IdsKeyPairs::generate();
    if (!keys) return wire::EnclaveResult::no_randomness;
    auto registered = ids::register_ids(environment, enclave::measured_config().authority_key,
                                        domain, keys->public_keys());
    if (!registered) {
        environment.log(ids::describe(registered.error()));
        return wire::EnclaveResult::internal;
    }
    guest::Memory memory{*registered->session};
    const auto kernel = guest::Kernel::attach(memory);
    if (!kernel) {
        environment.log(kernel.error().why);
        return wire::EnclaveResult::internal;
    }
    Worker worker{environment, memory, *kernel};
    for (;;) {
        std::array<std::uint8_t, sizeof(Job)> bytes{};
        const auto size = environment.receive(wire::Peer::owner, 0, bytes);
        if (!size) return wire::EnclaveResult::stopped;
        const auto job = Reader{Bytes{bytes}.first(*size)}.take<Job>();
        if (!job || job->count > kMaxRepetitions || job->size > kMaxSealed)
            return wire::EnclaveResult::bad_argument;
        worker.run(*job);
        if (!environment.send(wire::Peer::owner, worker.message()))
            return wire::EnclaveResult::stopped;
    }
}

}  // namespace
}  // namespace sgm::bench

sgm::wire::EnclaveResult sgm::enclave_main(const wire::StartInfo& start) {
    if (start.interval_ms == 0) return wire::EnclaveResult::ok;  // what an ECALL alone costs
    const auto ring = enclave::Outside::at(start.ring, wire::kRingSize, alignof(wire::RingHeader));
    auto environment = ids::enclave_environment(start);
    if (!ring || !environment) return wire::EnclaveResult::bad_argument;
    bench::OcallEnvironment chosen{*environment, *ring};
    return bench::serve(chosen, start.domain);
}
