// SPDX-License-Identifier: MIT
// sgmonitord, the relay on the VM's host: loads the signed enclave and carries its messages.
// UNTRUSTED, and written so that it need not be trusted: it holds no key that matters and sees
// ciphertext only.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <thread>

#include "cli/program.hpp"
#include "cli/stop_signal.hpp"
#include "config/file.hpp"
#include "config/text.hpp"
#include "host/hypervisor_link.hpp"
#include "host/messages.hpp"
#include "host/ocalls.hpp"
#include "host/settings.hpp"
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

Result<Shared> share(sgx::Enclave& enclave, const HypervisorLink& hypervisor) {
    auto ring = enclave.share(hypervisor.ring_descriptor(), wire::kRingSize);
    if (!ring) return std::unexpected(Error{ring.error()});
    auto area = enclave.allocate(kBuffer + wire::kMinOcallBuffer);
    if (!area) return std::unexpected(Error{area.error()});
    return Shared{*ring, *area};
}

void write_start_info(const Shared& shared, const Settings& settings,
                      const sgx::TargetInfo& quoting_target) {
    wire::StartInfo start{};
    start.ring = shared.ring.enclave_address;
    start.ocall_frame = shared.area.enclave_address + kOcallFrame;
    start.buffer = shared.area.enclave_address + kBuffer;
    start.buffer_size = shared.area.host.size() - kBuffer;
    start.domain = settings.domain;
    std::ranges::copy(bytes_of(quoting_target), start.quoting_target.begin());
    start.interval_ms = settings.interval_ms;
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

Result<void> serve(const std::filesystem::path& config) {
    const cli::StopSignal signal;
    cli::start_log();
    const auto settings = load_settings(config);
    if (!settings) return std::unexpected(settings.error());

    const auto hypervisor = HypervisorLink::create(settings->hypervisor_socket);
    if (!hypervisor) return std::unexpected(Error{hypervisor.error()});
    const auto fuse_key = settings->platform_directory / "fuse.key";
    const auto enclave = sgx::load_enclave(settings->platform,
                                           {settings->enclave, settings->sigstruct, fuse_key, {}});
    if (!enclave) return std::unexpected(Error{enclave.error()});
    const auto quoting =
        sgx::soft::QuotingEnclave::load_or_create(settings->platform_directory, fuse_key);
    if (!quoting) return std::unexpected(Error{quoting.error()});
    const auto shared = share(**enclave, **hypervisor);
    if (!shared) return std::unexpected(shared.error());
    write_start_info(*shared, *settings, quoting->target_info());

    AuthorityClient authority{settings->authority_url};
    OwnerRelay owner{settings->remote_url, config::uuid_text(settings->domain)};
    Ocalls ocalls{**hypervisor,
                  authority,
                  owner,
                  [&quoting](const Message& report) -> Message {
                      auto quote = quoting->quote(report);
                      if (quote) return *quote;
                      spdlog::warn("no quote: {}", quote.error());
                      return {};
                  },
                  [](std::string_view line) { spdlog::info("enclave: {}", line); },
                  shared->area.host.subspan(kBuffer)};

    spdlog::warn("{}", (*enclave)->protection());
    cli::announce_ready(fmt::format("enclave MRENCLAVE {} for domain {}",
                                    config::to_hex((*enclave)->identity().mrenclave),
                                    config::uuid_text(settings->domain)));
    const Stopper stopper{signal, ocalls, **enclave};
    const auto result =
        (*enclave)->run(wire::EcallNumber::run, shared->area.enclave_address + kStartInfo, ocalls);
    if (!result) return std::unexpected(Error{sgx::text(result.error())});
    if (*result == wire::EnclaveResult::ok || *result == wire::EnclaveResult::stopped) return {};
    return std::unexpected(Error{"the enclave ended: " + explain(*result)});
}

Result<void> init(const std::filesystem::path& directory, const InitialSettings& initial) {
    const auto settings = write_settings(directory, initial);
    if (!settings) return std::unexpected(settings.error());
    const auto platform = directory / "platform";
    if (const auto made = config::make_directory(platform); !made) {
        return std::unexpected(made.error());
    }
    const auto quoting = sgx::soft::QuotingEnclave::load_or_create(platform, platform / "fuse.key");
    if (!quoting) return std::unexpected(Error{quoting.error()});
    fmt::print("wrote {}\n{}\nsoftware SGX root for the authority's policy: {}\n",
               settings->string(), cli::kSoftwareSgxBanner, (platform / "root.pem").string());
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
    init_command
        .add_option("--hypervisor-socket", initial.hypervisor_socket,
                    "Where the hypervisor process listens")
        ->capture_default_str();
    init_command.add_option("--authority-url", initial.authority_url, "Who approves enclaves")
        ->capture_default_str();
    init_command.add_option("--remote-url", initial.remote_url, "The VM's owner")
        ->capture_default_str();

    std::string config;
    auto& run_command =
        program.command("run", "Run the IDS until SIGTERM", [&] { return serve(config); });
    run_command.add_option("--config", config, "host.toml")->required();
    return program.run(argc, argv);
}
