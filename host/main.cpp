// SPDX-License-Identifier: MIT
// sgmonitord, the relay on the VM's host: loads the signed enclave and carries its messages.
// UNTRUSTED, and written so that it need not be trusted: it holds no key that matters and sees
// ciphertext only.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <optional>
#include <thread>

#include "cli/program.hpp"
#include "cli/stop_signal.hpp"
#include "config/file.hpp"
#include "config/text.hpp"
#include "host/doctor.hpp"
#include "host/hypervisor_link.hpp"
#include "host/lives.hpp"
#include "host/messages.hpp"
#include "host/ocalls.hpp"
#include "host/revocation_courier.hpp"
#include "host/settings.hpp"
#include "host/xen_link.hpp"
#include "sgx/loader/loader.hpp"
#include "sgx/loader/soft/quoting.hpp"

namespace sgm::host {
namespace {

using config::Error;
using config::Result;

// How long an enclave may take to come out after it was told to stop.
constexpr std::chrono::seconds kStopGrace{5};

struct Shared {
    sgx::SharedMemory ring;
    sgx::SharedMemory area;  // StartInfo, OcallFrame, message buffer
};

// Offsets in the area.
constexpr std::size_t kStartInfo = 0;
constexpr std::size_t kOcallFrame = 1024;
constexpr std::size_t kBuffer = 4096;
static_assert(kStartInfo + sizeof(wire::StartInfo) <= kOcallFrame);
static_assert(kOcallFrame + sizeof(wire::OcallFrame) <= kBuffer);

Result<Shared> share(sgx::Enclave& enclave, const Hypervisor& hypervisor) {
    auto ring = enclave.share(hypervisor.ring_descriptor(), wire::kRingSize);
    if (!ring) return std::unexpected(Error{ring.error()});
    auto area = enclave.allocate(kBuffer + wire::kMinOcallBuffer);
    if (!area) return std::unexpected(Error{area.error()});
    return Shared{*ring, *area};
}

void write_start_info(const Shared& shared, const Settings& settings,
                      const sgx::TargetInfo& quoting_target, std::uint32_t features) {
    wire::StartInfo start{};
    start.ring = shared.ring.enclave_address;
    start.ocall_frame = shared.area.enclave_address + kOcallFrame;
    start.buffer = shared.area.enclave_address + kBuffer;
    start.buffer_size = shared.area.host.size() - kBuffer;
    start.domain = settings.domain;
    std::ranges::copy(bytes_of(quoting_target), start.quoting_target.begin());
    start.interval_ms = settings.interval_ms;
    start.features = features;
    std::ranges::copy(bytes_of(start), shared.area.host.subspan(kStartInfo).begin());
}

// Tells the OCALLs to stop when the signal comes, and ends an enclave that does not listen.
class Stopper final {
  public:
    Stopper(const cli::StopSignal& signal, Ocalls& ocalls, sgx::Enclave& enclave)
        : thread_{[this, &signal, &ocalls, &enclave] {
              while (!done_ && !signal.wait_for(kLook)) {
              }
              if (done_) return;
              ocalls.stop();
              for (auto waited = kLook; waited < kStopGrace && !done_; waited += kLook) {
                  std::this_thread::sleep_for(kLook);
              }
              if (!done_) enclave.kill();
          }} {}
    ~Stopper() {
        done_ = true;
        thread_.join();
    }
    Stopper(const Stopper&) = delete;
    Stopper& operator=(const Stopper&) = delete;

  private:
    static constexpr std::chrono::milliseconds kLook{50};
    std::atomic<bool> done_{false};
    std::thread thread_;
};

std::string explain(wire::EnclaveResult result) {
    switch (result) {
        case wire::EnclaveResult::ok: return "it ended";
        case wire::EnclaveResult::bad_argument: return "it refused what the host passed in";
        case wire::EnclaveResult::already_running: return "it is running already";
        case wire::EnclaveResult::out_of_memory: return "its heap is full";
        case wire::EnclaveResult::no_randomness: return "the CPU gives no randomness (RDRAND)";
        case wire::EnclaveResult::exception: return "a fault happened inside";
        case wire::EnclaveResult::internal: return "it found itself in an impossible state";
        case wire::EnclaveResult::stopped: return "it was told to stop";
    }
    return "it left for an unknown reason";
}

// A REPORT becomes a quote only where this machine can sign quotes.
class Quotes final {
  public:
    [[nodiscard]] static Result<Quotes> create(sgx::Platform platform, const Settings& settings) {
        Quotes quotes;
        if (platform != sgx::Platform::software) return quotes;
        auto soft = sgx::soft::QuotingEnclave::load_or_create(settings.platform_directory,
                                                              fuse_key(settings));
        if (!soft) return std::unexpected(Error{soft.error()});
        quotes.soft_ = std::move(*soft);
        return quotes;
    }
    [[nodiscard]] static std::filesystem::path fuse_key(const Settings& settings) {
        return settings.platform_directory / "fuse.key";
    }

    [[nodiscard]] sgx::TargetInfo target_info() const {
        return soft_ ? soft_->target_info() : sgx::TargetInfo{};
    }
    [[nodiscard]] Message quote(const Message& report) const {
        if (!soft_) {
            spdlog::warn(
                "no quote: this version cannot ask AESM for quotes of real SGX, and the authority "
                "accepts none yet");
            return {};
        }
        auto quote = soft_->quote(report);
        if (quote) return *quote;
        spdlog::warn("no quote: {}", quote.error());
        return {};
    }

  private:
    std::optional<sgx::soft::QuotingEnclave> soft_;
};

// What outlives an enclave.
struct Surroundings {
    const cli::StopSignal& signal;
    const Settings& settings;
    sgx::Platform platform;
    Hypervisor& hypervisor;
    AuthorityClient& authority;
    OwnerRelay& owner;
    const Quotes& quotes;
};

Result<Life> live(const Surroundings& around) {
    const Settings& settings = around.settings;
    const auto enclave = sgx::load_enclave(around.platform, {.image = settings.enclave,
                                                             .sigstruct = settings.sigstruct,
                                                             .fuse_key = Quotes::fuse_key(settings),
                                                             .monitor = {}});
    if (!enclave) return std::unexpected(Error{enclave.error()});
    const auto shared = share(**enclave, around.hypervisor);
    if (!shared) return std::unexpected(shared.error());
    write_start_info(*shared, settings, around.quotes.target_info(), (*enclave)->features());
    const KeptBlob kept{settings.state_directory, settings.domain,
                        (*enclave)->identity().mrenclave};
    Ocalls ocalls{around.hypervisor,
                  around.authority,
                  around.owner,
                  kept,
                  [&around](const Message& report) { return around.quotes.quote(report); },
                  [](std::string_view line) { spdlog::info("enclave: {}", line); },
                  shared->area.host.subspan(kBuffer)};
    spdlog::warn("{}", (*enclave)->protection());
    cli::announce_ready(fmt::format("enclave MRENCLAVE {} for domain {}",
                                    config::to_hex((*enclave)->identity().mrenclave),
                                    config::uuid_text(settings.domain)));
    const Stopper stopper{around.signal, ocalls, **enclave};
    const auto end =
        (*enclave)->run(wire::EcallNumber::run, shared->area.enclave_address + kStartInfo, ocalls);
    return Life{.end = end, .did_something = ocalls.served_any()};
}

std::expected<std::unique_ptr<Hypervisor>, std::string> reach(const Settings& settings) {
    if (settings.hypervisor == HypervisorKind::xen) return XenLink::create(linux_privcmd());
    return HypervisorLink::create(settings.hypervisor_socket);
}

Result<void> serve(const std::filesystem::path& config, const std::string& sgx,
                   const std::string& kind) {
    const cli::StopSignal signal;
    cli::start_log();
    auto settings = load_settings(config);
    if (!settings) return std::unexpected(settings.error());
    if (!sgx.empty()) {
        const auto platform = sgx::parse_platform(sgx);
        if (!platform) return std::unexpected(Error{"--sgx: " + platform.error()});
        settings->platform = *platform;
    }
    if (!kind.empty()) {
        const auto parsed = parse_hypervisor(kind);
        if (!parsed) return std::unexpected(Error{"--hypervisor: " + parsed.error()});
        settings->hypervisor = *parsed;
    }
    const auto choice =
        sgx::choose_platform(settings->platform, settings->allow_software_sgx, sgx::check_device());
    if (!choice) return std::unexpected(Error{choice.error()});
    spdlog::info("{}", choice->reason);

    const auto hypervisor = reach(*settings);
    if (!hypervisor) return std::unexpected(Error{hypervisor.error()});
    const auto quotes = Quotes::create(choice->platform, *settings);
    if (!quotes) return std::unexpected(quotes.error());
    AuthorityClient authority{settings->authority_url};
    OwnerRelay owner{settings->remote_url, config::uuid_text(settings->domain)};
    const RevocationCourier courier{authority, [&settings] { return reach(*settings); },
                                    [](std::string_view line) { spdlog::info("{}", line); }};
    const Surroundings around{.signal = signal,
                              .settings = *settings,
                              .platform = choice->platform,
                              .hypervisor = **hypervisor,
                              .authority = authority,
                              .owner = owner,
                              .quotes = *quotes};
    const auto result = live_until_the_end([&around] { return live(around); },
                                           [](std::string_view line) { spdlog::warn("{}", line); });
    if (!result) return std::unexpected(result.error());
    if (*result == wire::EnclaveResult::ok || *result == wire::EnclaveResult::stopped) return {};
    return std::unexpected(Error{"the enclave ended: " + explain(*result)});
}

Result<void> doctor(bool json) {
    const Diagnosis diagnosis = diagnose(*this_machine());
    fmt::print("{}", render(diagnosis, json ? cli::Format::json : cli::Format::text));
    if (diagnosis.platform) return {};
    return std::unexpected(Error{diagnosis.reason});
}

Result<void> xen_protect(std::uint32_t domid) {
    auto ops = XenOps::open(linux_privcmd());
    if (!ops) return std::unexpected(Error{ops.error()});
    const auto done = ops->protect(domid);
    if (!done) return std::unexpected(Error{done.error()});
    fmt::print("domain {} is protected until it is destroyed\n", domid);
    if (done->foreign_mappings == 0) return {};
    return std::unexpected(
        Error{fmt::format("{} pages of it were mapped before, without its grant, and stay so until "
                          "whoever mapped them lets go; ask again then",
                          done->foreign_mappings)});
}

Result<void> xen_state(std::uint32_t domid, bool json) {
    auto ops = XenOps::open(linux_privcmd());
    if (!ops) return std::unexpected(Error{ops.error()});
    const auto state = ops->state(domid);
    if (!state) return std::unexpected(Error{state.error()});
    fmt::print("{}",
               describe_xen(*state, domid).render(json ? cli::Format::json : cli::Format::text));
    return {};
}

Result<void> init(const std::filesystem::path& directory, const InitialSettings& initial) {
    const auto settings = write_settings(directory, initial);
    if (!settings) return std::unexpected(settings.error());
    fmt::print("wrote {}\n", settings->string());
    if (!initial.allow_software_sgx) return {};
    const auto platform = directory / "platform";
    if (const auto made = config::make_directory(platform); !made) {
        return std::unexpected(made.error());
    }
    const auto quoting = sgx::soft::QuotingEnclave::load_or_create(platform, platform / "fuse.key");
    if (!quoting) return std::unexpected(Error{quoting.error()});
    fmt::print("{}\nsoftware SGX root for the authority's policy: {}\n", cli::kSoftwareSgxBanner,
               (platform / "root.pem").string());
    return {};
}

}  // namespace
}  // namespace sgm::host

int main(int argc, char** argv) {
    using namespace sgm::host;
    sgm::cli::Program program{"sgmonitord",
                              "The relay on the VM's host: loads the enclave, carries ciphertext"};

    std::string directory;
    InitialSettings initial{.domain = {},
                            .enclave = "ids.elf",
                            .hypervisor = "qemu",
                            .hypervisor_socket = "/run/sgmonitor/hypervisor.sock",
                            .authority_url = "http://127.0.0.1:7400",
                            .remote_url = "http://127.0.0.1:7401"};
    auto& init_command =
        program.command("init", "Write host.toml and, for software SGX, this machine's keys",
                        [&] { return init(directory, initial); });
    init_command.add_option("--dir", directory, "Directory to write to")->required();
    init_command.add_option("--domain", initial.domain, "UUID of the VM to watch")->required();
    init_command.add_option("--enclave", initial.enclave, "Signed enclave image")
        ->capture_default_str();
    init_command.add_option("--hypervisor", initial.hypervisor, "qemu or xen")
        ->capture_default_str();
    init_command
        .add_option("--hypervisor-socket", initial.hypervisor_socket,
                    "Where the hypervisor process listens")
        ->capture_default_str();
    init_command.add_option("--authority-url", initial.authority_url, "Who approves enclaves")
        ->capture_default_str();
    init_command.add_option("--remote-url", initial.remote_url, "The VM's owner")
        ->capture_default_str();
    init_command.add_flag("--allow-software-sgx", initial.allow_software_sgx,
                          "For trials: run where there is no real SGX");

    std::string config;
    std::string sgx;
    std::string hypervisor;
    auto& run_command = program.command("run", "Run the IDS until SIGTERM",
                                        [&] { return serve(config, sgx, hypervisor); });
    run_command.add_option("--config", config, "host.toml")->required();
    run_command.add_option("--sgx", sgx, "auto, device or soft, instead of what host.toml says");
    run_command.add_option("--hypervisor", hypervisor,
                           "qemu or xen, instead of what host.toml says");

    std::uint32_t domid = SGM_XEN_NO_DOMAIN;
    program
        .command("xen-protect", "On Xen: keep dom0 out of a domain until it is destroyed",
                 [&] { return xen_protect(domid); })
        .add_option("--domid", domid, "The domain's number (xl list)")
        ->required();
    bool json = false;
    auto& state_command = program.command("xen-state", "On Xen: what works, what is protected",
                                          [&] { return xen_state(domid, json); });
    state_command.add_option("--domid", domid, "A domain's number (xl list)");
    state_command.add_flag("--json", json, "For programs");

    program
        .command("doctor", "Explain this machine: SGX, kernel, permissions",
                 [&] { return doctor(json); })
        .add_flag("--json", json, "For programs");
    return program.run(argc, argv);
}
