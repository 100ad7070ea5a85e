// SPDX-License-Identifier: MIT
// Loads a signed enclave and runs it. UNTRUSTED: this is the host's side. What it does wrong can
// stop the enclave or starve it, and nothing more.
#pragma once

#include <cstdint>
#include <expected>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "sgx/image/arch.hpp"
#include "wire/bytes.hpp"
#include "wire/enclave_abi.hpp"

namespace sgm::sgx {

// Who the loaded enclave is, as its reports will say.
struct EnclaveIdentity {
    wire::Digest mrenclave;
    wire::Digest mrsigner;
    Attributes attributes;
    std::uint16_t isv_prod_id;
    std::uint16_t isv_svn;
};

// Untrusted memory that this process and the enclave both see.
struct SharedMemory {
    MutableBytes host;              // here; lives as long as the Enclave
    std::uint64_t enclave_address;  // there: what goes into StartInfo
};

// Why an enclave is no longer there.
struct EnclaveLoss {
    enum class Cause {
        killed,       // kill() was called, or somebody else killed it
        exited,       // its process ended by itself
        fault,        // a fault inside: `signal`, and `offset` when it happened in enclave code
        protocol,     // it left in a way that the ABI does not know
        not_loaded,   // it was lost before this call
        memory_lost,  // the CPU has lost its memory: loading it anew is all there is to do
    };
    static constexpr std::uint64_t kNoOffset = ~std::uint64_t{0};

    Cause cause = Cause::exited;
    int signal = 0;
    // From the enclave's base. Software SGX tells the instruction; hardware hides it, and tells the
    // exception's vector and, of #PF, the page of the enclave that was accessed.
    std::uint64_t offset = kNoOffset;
    std::uint64_t data_offset = kNoOffset;
    int vector = -1;
};
// One sentence, e.g. "the enclave was stopped: it made a system call (SIGSYS) at +0x5120".
[[nodiscard]] std::string text(const EnclaveLoss& loss);

class OcallHandler {
  public:
    virtual ~OcallHandler() = default;

    // Serves one OCALL. `frame` lies in shared memory, where StartInfo.ocall_frame said; the
    // handler reads number, peer, size and wait_ns, uses the message buffer, and writes size and
    // result. Called on the thread that called run().
    virtual void on_ocall(wire::OcallFrame& frame) = 0;
};

class Enclave {
  public:
    virtual ~Enclave() = default;  // ends the enclave and waits until nothing of it is left
    Enclave(const Enclave&) = delete;
    Enclave& operator=(const Enclave&) = delete;

    [[nodiscard]] virtual const EnclaveIdentity& identity() const = 0;

    // Lines for the operator: what protects this enclave, and what does not.
    [[nodiscard]] virtual std::string_view protection() const = 0;

    // wire::StartFeatures: what the enclave may be told of this platform.
    [[nodiscard]] virtual std::uint32_t features() const = 0;

    // Maps `size` bytes of `fd` (a memfd, e.g. the ring) here and in the enclave's address space.
    // The descriptor stays the caller's. Only before the first run().
    [[nodiscard]] virtual std::expected<SharedMemory, std::string> share(int fd,
                                                                         std::size_t size) = 0;

    // New zeroed shared memory, for StartInfo, the OcallFrame and the message buffer.
    [[nodiscard]] std::expected<SharedMemory, std::string> allocate(std::size_t size);

    // One ECALL from beginning to end. `argument` is an address as the enclave sees it. Blocks. As
    // many callers at a time as the enclave has threads; one more waits for the first to come back.
    // Abort reasons come back as their EnclaveResult.
    [[nodiscard]] virtual std::expected<wire::EnclaveResult, EnclaveLoss> run(
        wire::EcallNumber number, std::uint64_t argument, OcallHandler& handler) = 0;

    // Ends the enclave at once, from any thread; a run() under way returns with Cause::killed.
    virtual void kill() = 0;

  protected:
    Enclave() = default;

    // The OcallFrame at an address that the enclave gave; nullptr when it is not in shared memory.
    [[nodiscard]] static wire::OcallFrame* frame_at(std::span<const SharedMemory> shared,
                                                    std::uint64_t enclave_address);
};

enum class Platform {
    automatic,  // the device where there is one that works, else software where it is allowed
    device,     // the kernel's /dev/sgx_enclave
    software,   // a process of its own; no protection from this host's root
};
// "auto", "device", "soft".
[[nodiscard]] std::expected<Platform, std::string> parse_platform(std::string_view name);

// Whether this machine can run enclaves on real SGX; the error is one sentence that says what is
// missing and what to do.
[[nodiscard]] std::expected<void, std::string> check_device();

// What `wanted` becomes: device or software, and one sentence for the operator that says why.
// Software only where it is allowed; the error says what is missing and what to do.
struct PlatformChoice {
    Platform platform;
    std::string reason;
};
[[nodiscard]] std::expected<PlatformChoice, std::string> choose_platform(
    Platform wanted, bool allow_software, const std::expected<void, std::string>& device);

struct LoadRequest {
    std::filesystem::path image;      // signed ELF
    std::filesystem::path sigstruct;  // its SIGSTRUCT
    // Software only: the machine's key (created, mode 0600, if it is not there) and the monitor
    // program (empty: sgm-soft-monitor beside this executable).
    std::filesystem::path fuse_key;
    std::filesystem::path monitor;
};

// `platform`: as choose_platform() decided, not automatic. The error is one sentence for the
// operator.
[[nodiscard]] std::expected<std::unique_ptr<Enclave>, std::string> load_enclave(
    Platform platform, const LoadRequest& request);

}  // namespace sgm::sgx
