// SPDX-License-Identifier: MIT
// What the benchmark programs measure: a real enclave in software SGX, the shared ring, a real
// hypervisor process, and the RAM file of a guest. Only QEMU's control socket and the authority are
// played here: neither takes part in a request.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "bench/messages.hpp"
#include "bench/workplace.hpp"
#include "config/error.hpp"
#include "crypto/keys.hpp"
#include "host/hypervisor.hpp"
#include "hypervisor/qemu/testing/fake_qemu.hpp"
#include "sgx/loader/loader.hpp"
#include "wire/attestation.hpp"

namespace sgm::bench {

using Message = std::vector<std::uint8_t>;

// The RAM of a guest: `below_4g` bytes of the file from 0 up, the rest from 4 GiB up.
struct GuestRam {
    std::filesystem::path file;
    std::uint64_t size;
    std::uint64_t below_4g;
};
[[nodiscard]] config::Result<GuestRam> open_ram(const std::filesystem::path& file);
// A file in `workplace` with a kernel of the test generator that has so many processes.
[[nodiscard]] config::Result<GuestRam> make_ram(const Workplace& workplace,
                                                std::uint32_t processes);

// Spends so many cycles of the time-stamp counter: what a transition of real SGX would take.
void spend_cycles(std::uint64_t cycles);

// What an authority that believes everything answers to this evidence.
[[nodiscard]] Message approve(Bytes evidence, const crypto::SigningKeyPair& authority,
                              const wire::OwnerKeys& owner);

enum class Sealing { sealed, unsealed };

// What a job gave.
struct Outcome {
    JobResult result;
    std::vector<std::uint64_t> clocks;  // see JobResult
    double elapsed_ns;                  // from the job's way into the enclave to its result's out
    std::vector<double> ocalls_ns;      // from one OCALL to the next, for Task::ocall
    std::uint64_t hypervisor_ocalls;    // OCALLs for the hypervisor
};

// One enclave and the hypervisor process that it talks to.
class Rig final : private sgx::OcallHandler {
  public:
    // Starts both; the enclave has registered and attached to the kernel when this returns.
    // `transition_cycles` are spent at each EENTER and each EEXIT.
    [[nodiscard]] static config::Result<std::unique_ptr<Rig>> start(
        Sealing sealing, const GuestRam& ram, const std::filesystem::path& directory,
        std::uint64_t transition_cycles);
    // With a hypervisor that runs already and that pins this authority.
    struct Elsewhere {
        std::unique_ptr<host::Hypervisor> hypervisor;
        wire::Uuid domain;
        crypto::SigningKeyPair authority;
        std::chrono::seconds patience;
    };
    [[nodiscard]] static config::Result<std::unique_ptr<Rig>> start(
        Elsewhere there, const std::filesystem::path& directory);
    ~Rig() override;

    // From the enclave's start until it had registered and attached.
    [[nodiscard]] double start_ns() const { return start_ns_; }

    [[nodiscard]] config::Result<Outcome> run(const Job& job);
    // An ECALL that returns at once, in ns. The enclave is not used any more after these.
    [[nodiscard]] config::Result<std::vector<double>> empty_ecalls(std::uint32_t count);

  private:
    Rig(std::uint64_t transition_cycles, crypto::SigningKeyPair authority, const wire::Uuid& domain,
        std::chrono::seconds patience)
        : transition_cycles_{transition_cycles},
          authority_{std::move(authority)},
          domain_{domain},
          patience_{patience} {}

    [[nodiscard]] config::Result<void> start_hypervisor(Sealing sealing, const GuestRam& ram,
                                                        const std::filesystem::path& directory);
    [[nodiscard]] config::Result<void> load_enclave(Sealing sealing,
                                                    const std::filesystem::path& directory);
    [[nodiscard]] config::Result<void> start_enclave();
    [[nodiscard]] std::uint64_t write_start_info(std::uint32_t interval_ms);

    void on_ocall(wire::OcallFrame& frame) override;
    [[nodiscard]] wire::OcallResult serve(wire::OcallFrame& frame);
    [[nodiscard]] wire::OcallResult take(wire::Peer peer, Message message);
    [[nodiscard]] wire::OcallResult give(wire::OcallFrame& frame);
    [[nodiscard]] std::optional<Job> next_job();
    void stop_enclave();

    const std::uint64_t transition_cycles_;
    crypto::SigningKeyPair authority_;
    const wire::Uuid domain_;
    const std::chrono::seconds patience_;
    std::unique_ptr<qemu::testing::FakeQemu> qemu_;
    pid_t hypervisor_ = -1;
    std::unique_ptr<host::Hypervisor> link_;
    std::unique_ptr<sgx::Enclave> enclave_;
    sgx::SharedMemory ring_{};
    sgx::SharedMemory area_{};
    double start_ns_ = 0;
    std::map<wire::Peer, Message> replies_;
    std::thread thread_;
    const std::atomic<bool> never_{false};

    std::mutex mutex_;  // for what follows
    std::condition_variable changed_;
    bool idle_ = false;  // the enclave waits for a job
    bool stopping_ = false;
    bool ended_ = false;
    std::string log_;
    std::optional<Job> job_;
    std::optional<Outcome> outcome_;
    std::uint64_t job_began_ = 0;
    std::vector<std::uint64_t> ocall_times_;
    std::uint64_t hypervisor_ocalls_ = 0;
};

}  // namespace sgm::bench
