// SPDX-License-Identifier: MIT
#include "sgx/loader/loader.hpp"

#include <fmt/format.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "config/descriptor.hpp"
#include "sgx/loader/device/device_enclave.hpp"
#include "sgx/loader/soft/soft_enclave.hpp"

namespace sgm::sgx {
namespace {

std::string_view meaning(int signal) {
    switch (signal) {
        case SIGSYS: return "it made a system call";
        case SIGSEGV: return "it used memory or an instruction that it may not use";
        case SIGBUS: return "shared memory under it went away";
        case SIGILL: return "it executed an invalid instruction";
        case SIGFPE: return "it divided by zero";
        default: return "it faulted";
    }
}

}  // namespace

std::string text(const EnclaveLoss& loss) {
    switch (loss.cause) {
        case EnclaveLoss::Cause::killed:
            return fmt::format("the enclave was killed (SIG{})", ::sigabbrev_np(loss.signal));
        case EnclaveLoss::Cause::exited: return "the enclave's process ended by itself";
        case EnclaveLoss::Cause::fault: {
            if (loss.vector >= 0)
                return fmt::format("the enclave was stopped: {} (exception {}{})",
                                   meaning(loss.signal), loss.vector,
                                   loss.data_offset == EnclaveLoss::kNoOffset
                                       ? ""
                                       : fmt::format(" in its page +{:#x}", loss.data_offset));
            const std::string place = loss.offset == EnclaveLoss::kNoOffset
                                          ? "outside its code"
                                          : fmt::format("at +{:#x}", loss.offset);
            return fmt::format("the enclave was stopped: {} (SIG{}) {}", meaning(loss.signal),
                               ::sigabbrev_np(loss.signal), place);
        }
        case EnclaveLoss::Cause::protocol:
            return "the enclave was stopped: it left in a way that the loader does not know";
        case EnclaveLoss::Cause::not_loaded: return "the enclave is no longer loaded";
        case EnclaveLoss::Cause::memory_lost:
            return "the CPU has lost the enclave's memory, as when the machine sleeps: it has to "
                   "be "
                   "loaded anew";
    }
    return "the enclave is lost";
}

std::expected<SharedMemory, std::string> Enclave::allocate(std::size_t size) {
    const config::Descriptor memory{::memfd_create("sgm-arena", MFD_CLOEXEC | MFD_ALLOW_SEALING)};
    if (!memory || ::ftruncate(memory.get(), static_cast<off_t>(size)) != 0) {
        return std::unexpected(
            fmt::format("no {} bytes of shared memory: {}", size, std::strerror(errno)));
    }
    return share(memory.get(), size);
}

wire::OcallFrame* Enclave::frame_at(std::span<const SharedMemory> shared,
                                    std::uint64_t enclave_address) {
    for (const SharedMemory& memory : shared) {
        const std::uint64_t offset = enclave_address - memory.enclave_address;
        if (offset < memory.host.size() &&
            memory.host.size() - offset >= sizeof(wire::OcallFrame) &&
            offset % alignof(wire::OcallFrame) == 0)
            return reinterpret_cast<wire::OcallFrame*>(memory.host.data() + offset);
    }
    return nullptr;
}

std::expected<Platform, std::string> parse_platform(std::string_view name) {
    if (name == "auto") return Platform::automatic;
    if (name == "device") return Platform::device;
    if (name == "soft") return Platform::software;
    return std::unexpected(fmt::format("`{}` is no SGX platform: auto, device or soft", name));
}

std::expected<void, std::string> check_device() {
    return device::check_device(device::linux_driver());
}

std::expected<PlatformChoice, std::string> choose_platform(
    Platform wanted, bool allow_software, const std::expected<void, std::string>& device) {
    if (wanted != Platform::software && device)
        return PlatformChoice{Platform::device,
                              "real SGX: the kernel's driver and the vDSO's way in are there"};
    if (wanted == Platform::device) return std::unexpected(device.error());
    const std::string why = device ? "" : fmt::format("no real SGX here: {}. ", device.error());
    if (!allow_software)
        return std::unexpected(
            why +
            (wanted == Platform::software ? "Software SGX was asked for, and" : "Software SGX") +
            " is not allowed on this host: production runs on real SGX; for a trial set "
            "allow_software_sgx = true here, at the authority, the hypervisor and the owner");
    if (wanted == Platform::software)
        return PlatformChoice{Platform::software, "software SGX was asked for"};
    return PlatformChoice{Platform::software,
                          "auto became software SGX, " + why.substr(0, why.size() - 2)};
}

std::expected<std::unique_ptr<Enclave>, std::string> load_enclave(Platform platform,
                                                                  const LoadRequest& request) {
    switch (platform) {
        case Platform::device: return device::load_device_enclave(request, device::linux_driver());
        case Platform::software: return soft::load_soft_enclave(request);
        case Platform::automatic: break;
    }
    return std::unexpected("the platform `auto` is to be decided before an enclave is loaded");
}

}  // namespace sgm::sgx
