// SPDX-License-Identifier: MIT
#include "sgx/loader/device/device_enclave.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <optional>
#include <vector>

#include "config/descriptor.hpp"
#include "sgx/image/sigstruct.hpp"
#include "sgx/loader/device/enclave_memory.hpp"
#include "sgx/loader/device/entry.hpp"

namespace sgm::sgx::device {
namespace {

using config::Descriptor;
using FileBytes = std::vector<std::uint8_t>;

std::expected<FileBytes, std::string> read_file(const std::filesystem::path& path,
                                                std::size_t most) {
    const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
    if (!file) return std::unexpected(fmt::format("{}: {}", path.string(), std::strerror(errno)));
    auto bytes = read_descriptor(file.get(), most);
    if (!bytes) return std::unexpected(fmt::format("{}: {}", path.string(), bytes.error()));
    return bytes;
}

// As the signals that the kernel sends for the same exceptions outside.
int signal_of(std::uint16_t vector) {
    switch (vector) {
        case 0:   // #DE
        case 16:  // #MF
        case 19:  // #XM
            return SIGFPE;
        case 6: return SIGILL;   // #UD
        case 17: return SIGBUS;  // #AC
        default: return SIGSEGV;
    }
}

// The thread control structures that no thread uses now.
class TcsPool final {
  public:
    explicit TcsPool(std::vector<std::uint64_t> free) : free_{std::move(free)} {}
    // Waits for one; nullopt once the enclave is lost.
    [[nodiscard]] std::optional<std::uint64_t> take() {
        std::unique_lock lock{mutex_};
        changed_.wait(lock, [this] { return lost_ || !free_.empty(); });
        if (lost_) return std::nullopt;
        const std::uint64_t tcs = free_.back();
        free_.pop_back();
        return tcs;
    }
    void give_back(std::uint64_t tcs) {
        const std::lock_guard lock{mutex_};
        free_.push_back(tcs);
        changed_.notify_one();
    }
    // For good: nobody gets one any more.
    void lose() {
        const std::lock_guard lock{mutex_};
        lost_ = true;
        changed_.notify_all();
    }

  private:
    std::mutex mutex_;
    std::condition_variable changed_;
    std::vector<std::uint64_t> free_;
    bool lost_ = false;
};

class DeviceEnclave final : public Enclave {
  public:
    DeviceEnclave(std::unique_ptr<EnclaveMemory> memory, vdso_sgx_enter_enclave_t enter_function,
                  const EnclaveIdentity& identity)
        : memory_{std::move(memory)},
          enter_function_{enter_function},
          identity_{identity},
          protection_{(identity_.attributes.flags & kAttributeDebug) != 0
                          ? "SGX, but a DEBUG enclave: this host's root can read and write it"
                          : "SGX: the CPU keeps the enclave's memory from this host"},
          tcs_{memory_->tcs()} {
        if (!memory_->growth().empty()) protection_ += "; " + memory_->growth();
    }
    ~DeviceEnclave() override {
        memory_.reset();
        for (const SharedMemory& memory : shared_)
            ::munmap(memory.host.data(), memory.host.size());
    }

    const EnclaveIdentity& identity() const override { return identity_; }
    std::string_view protection() const override { return protection_; }
    std::uint32_t features() const override {
        return memory_->heap_grows() ? std::uint32_t{wire::kStartHeapGrows} : 0;
    }
    std::expected<SharedMemory, std::string> share(int descriptor, std::size_t size) override;
    std::expected<wire::EnclaveResult, EnclaveLoss> run(wire::EcallNumber number,
                                                        std::uint64_t argument,
                                                        OcallHandler& handler) override;
    void kill() override {
        killed_ = true;
        tcs_.lose();
        memory_->revoke();
    }

  private:
    [[nodiscard]] std::expected<wire::EnclaveResult, EnclaveLoss> run_on(std::uint64_t tcs,
                                                                         Crossing crossing,
                                                                         OcallHandler& handler);
    [[nodiscard]] EnclaveLoss loss_of(const Exit& exit) const;

    std::unique_ptr<EnclaveMemory> memory_;
    vdso_sgx_enter_enclave_t enter_function_;
    EnclaveIdentity identity_;
    std::string protection_;
    TcsPool tcs_;
    std::vector<SharedMemory> shared_;
    std::atomic<bool> started_{false};
    std::atomic<bool> killed_{false};
};

std::expected<SharedMemory, std::string> DeviceEnclave::share(int descriptor, std::size_t size) {
    if (started_) return std::unexpected("memory can be shared only before the enclave runs");
    struct stat status{};
    if (size == 0 || ::fstat(descriptor, &status) != 0 || status.st_size < 0 ||
        static_cast<std::uint64_t>(status.st_size) < size)
        return std::unexpected("the memory to share is smaller than was said");
    void* here = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    if (here == MAP_FAILED)
        return std::unexpected(fmt::format("memory cannot be shared: {}", std::strerror(errno)));
    shared_.push_back({.host = {static_cast<std::uint8_t*>(here), size},
                       .enclave_address = reinterpret_cast<std::uint64_t>(here)});
    return shared_.back();
}

EnclaveLoss DeviceEnclave::loss_of(const Exit& exit) const {
    // The revoked pages fault like any others.
    if (killed_) return {.cause = EnclaveLoss::Cause::killed, .signal = SIGKILL};
    switch (exit.kind) {
        case Exit::Kind::memory_lost: return {.cause = EnclaveLoss::Cause::memory_lost};
        case Exit::Kind::exception: {
            EnclaveLoss loss{.cause = EnclaveLoss::Cause::fault, .signal = signal_of(exit.vector)};
            loss.vector = exit.vector;
            if (memory_->contains(exit.address)) loss.data_offset = exit.address - memory_->base();
            return loss;
        }
        default: return {.cause = EnclaveLoss::Cause::protocol};
    }
}

std::expected<wire::EnclaveResult, EnclaveLoss> DeviceEnclave::run(wire::EcallNumber number,
                                                                   std::uint64_t argument,
                                                                   OcallHandler& handler) {
    started_ = true;
    const auto tcs = tcs_.take();
    if (!tcs)
        return std::unexpected(
            killed_ ? EnclaveLoss{.cause = EnclaveLoss::Cause::killed, .signal = SIGKILL}
                    : EnclaveLoss{.cause = EnclaveLoss::Cause::not_loaded});
    auto result = run_on(*tcs, {static_cast<std::uint64_t>(number), argument, 0}, handler);
    // Also after a loss: take() gives none out any more.
    tcs_.give_back(*tcs);
    return result;
}

std::expected<wire::EnclaveResult, EnclaveLoss> DeviceEnclave::run_on(std::uint64_t tcs,
                                                                      Crossing crossing,
                                                                      OcallHandler& handler) {
    for (;;) {
        const Exit exit = enter(enter_function_, tcs, crossing);
        if (exit.kind != Exit::Kind::eexit) {
            tcs_.lose();
            return std::unexpected(loss_of(exit));
        }
        switch (wire::ExitReason{crossing.rdi}) {
            case wire::ExitReason::ocall: {
                wire::OcallFrame* frame = frame_at(shared_, crossing.rdx);
                if (frame == nullptr) break;
                handler.on_ocall(*frame);
                crossing = {wire::kReturnFromOcall, 0, 0};
                continue;
            }
            case wire::ExitReason::ecall_done: return wire::EnclaveResult{crossing.rsi};
            case wire::ExitReason::abort: tcs_.lose(); return wire::EnclaveResult{crossing.rsi};
        }
        tcs_.lose();
        return std::unexpected(EnclaveLoss{.cause = EnclaveLoss::Cause::protocol});
    }
}

}  // namespace

std::expected<void, std::string> check_device(Driver& driver) {
    const int descriptor = driver.open(kEnclaveNode);
    if (descriptor < 0) return std::unexpected(explain(Step::open, -descriptor));
    driver.close(descriptor);
    if (driver.enter_function() == nullptr)
        return std::unexpected(
            "this kernel's vDSO has no __vdso_sgx_enter_enclave: enclaves need Linux 5.11 or "
            "later, "
            "not started with vdso=0");
    return {};
}

std::expected<std::unique_ptr<Enclave>, std::string> load_device_enclave(const LoadRequest& request,
                                                                         Driver& driver) {
    if (auto usable = check_device(driver); !usable) return std::unexpected(usable.error());
    const auto elf = read_file(request.image, kMaxEnclaveFile);
    if (!elf) return std::unexpected(elf.error());
    const auto refused = [&](const std::filesystem::path& path, std::string_view what,
                             const std::string& why) {
        return std::unexpected(fmt::format("{}: {} is refused: {}", path.string(), what, why));
    };
    const auto image = EnclaveImage::build(*elf);
    if (!image) return refused(request.image, "the enclave file", image.error());
    const auto bytes = read_file(request.sigstruct, sizeof(Sigstruct) + 1);
    if (!bytes) return std::unexpected(bytes.error());
    // What the CPU would refuse without a word is refused here, with the field's name.
    const auto sigstruct = verify_sigstruct(*bytes);
    if (!sigstruct) return refused(request.sigstruct, "the signature file", sigstruct.error());
    const wire::Digest mrenclave = image->measure();
    if (const auto checked =
            check_enclave(*sigstruct, mrenclave, sigstruct->attributes, sigstruct->miscselect);
        !checked)
        return refused(request.image, "the enclave", checked.error());
    auto memory = EnclaveMemory::build(driver, *image, *sigstruct);
    if (!memory) return refused(request.image, "the enclave", memory.error());
    EnclaveIdentity identity{.mrenclave = mrenclave,
                             .mrsigner = mrsigner(*sigstruct),
                             .attributes = attributes_for(*sigstruct, driver.useful_xfrm()),
                             .isv_prod_id = sigstruct->isvprodid,
                             .isv_svn = sigstruct->isvsvn};
    identity.attributes.flags |= kAttributeInit;
    return std::make_unique<DeviceEnclave>(std::move(*memory), driver.enter_function(), identity);
}

}  // namespace sgm::sgx::device
