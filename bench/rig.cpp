// SPDX-License-Identifier: MIT
#include "bench/rig.hpp"

#include <errno.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <x86intrin.h>

#include <chrono>
#include <cstring>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "bench/names.hpp"
#include "config/key_file.hpp"
#include "config/text.hpp"
#include "crypto/hash.hpp"
#include "guest/testing/synthetic_kernel.hpp"
#include "host/hypervisor_link.hpp"
#include "hypervisor/qemu/settings.hpp"
#include "sgx/image/image.hpp"
#include "sgx/image/sigstruct.hpp"
#include "wire/attestation.hpp"

namespace sgm::bench {
namespace {

using config::Error;
using config::Result;

constexpr std::uint64_t k4G = std::uint64_t{1} << 32;
constexpr std::string_view kDomain = "6f1c0b4e-1d2a-4c55-9a37-0c8d5e2b7f10";
constexpr std::chrono::seconds kPatience{120};
// The stride of tasks in the slab cache of a Debian 6.1 kernel.
constexpr std::uint64_t kTaskStride = 9536;

// Offsets in the area shared with the enclave.
constexpr std::size_t kOcallFrame = 1024;
constexpr std::size_t kBuffer = 4096;

constexpr JobResult kNoResult{.failed = 1, .clock_count = 0, .rows = 0, .checksum = 0};

std::unexpected<Error> failed(std::string_view what) {
    return std::unexpected{Error{fmt::format("{}: {}", what, std::strerror(errno))}};
}

std::uint64_t now_ns() {
    return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                          std::chrono::steady_clock::now().time_since_epoch())
                                          .count());
}

std::filesystem::path beside_us(std::string_view name) {
    return std::filesystem::read_symlink("/proc/self/exe").parent_path() / name;
}

Message contents_of(const std::filesystem::path& path) {
    std::ifstream file{path, std::ios::binary};
    return {std::istreambuf_iterator<char>{file}, {}};
}

void write(const std::filesystem::path& path, Bytes bytes) {
    std::ofstream{path, std::ios::binary}.write(reinterpret_cast<const char*>(bytes.data()),
                                                static_cast<std::streamsize>(bytes.size()));
}

// What `info mtree -f` says of a q35 machine with this RAM.
std::string memory_map(const GuestRam& ram) {
    std::string text = "FlatView #0\n AS \"memory\", root: system\n Root memory region: system\n" +
                       fmt::format("  {:016x}-{:016x} (prio 0, ram): ram\n", 0, ram.below_4g - 1);
    if (ram.size > ram.below_4g)
        text += fmt::format("  {:016x}-{:016x} (prio 0, ram): ram @{:016x}\n", k4G,
                            k4G + ram.size - ram.below_4g - 1, ram.below_4g);
    return text + "\n";
}

bool answers(const std::filesystem::path& socket_path) {
    const config::Descriptor probe{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    socket_path.string().copy(address.sun_path, sizeof(address.sun_path) - 1);
    return ::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
}

}  // namespace

Result<GuestRam> open_ram(const std::filesystem::path& file) {
    std::error_code error;
    const std::uint64_t size = std::filesystem::file_size(file, error);
    if (error) return std::unexpected{Error{fmt::format("{}: {}", file.string(), error.message())}};
    // QEMU hw/i386/pc_q35.c, pc_q35_init.
    const std::uint64_t below =
        std::min<std::uint64_t>(size, size >= 0xb000'0000 ? 0x8000'0000 : 0xb000'0000);
    return GuestRam{file, size, below};
}

Result<GuestRam> make_ram(const Workplace& workplace, std::uint32_t processes) {
    guest::testing::SyntheticOptions options;
    const std::uint64_t tasks = (processes + 1) * kTaskStride;
    options.ram_size = std::max<std::uint64_t>(64u << 20, ((2 * tasks >> 21) + 8) << 21);
    options.task_stride = kTaskStride;
    options.tasks.clear();
    for (std::uint32_t pid = 1; pid <= processes; ++pid) {
        // A few parents have all the children, as init and kthreadd do.
        options.tasks.push_back({.pid = static_cast<std::int32_t>(pid),
                                 .ppid = static_cast<std::int32_t>(pid <= 2 ? 0 : 1 + pid % 2),
                                 .uid = pid % 5 == 0 ? 1000u : 0u,
                                 .comm = fmt::format("task-{}", pid)});
    }
    guest::testing::SyntheticKernel kernel{std::move(options)};
    const auto path = workplace / fmt::format("ram-{}", processes);
    const config::Descriptor file{
        ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600)};
    const std::uint64_t size = kernel.options().ram_size;
    if (!file || ::ftruncate(file.get(), static_cast<off_t>(size)) != 0)
        return failed("cannot make the guest's RAM");
    Message buffer;
    for (std::uint64_t at = 0; at < size;) {
        const wire::RamRange part = kernel.vm().populated(at, size);
        if (part.size == 0) break;
        buffer.resize(part.size);
        if (!kernel.vm().read(part.start, buffer) ||
            ::pwrite(file.get(), buffer.data(), buffer.size(), static_cast<off_t>(part.start)) !=
                static_cast<ssize_t>(buffer.size()))
            return failed("cannot write the guest's RAM");
        at = part.start + part.size;
    }
    return GuestRam{path, size, size};
}

void spend_cycles(std::uint64_t cycles) {
    const std::uint64_t begin = __rdtsc();
    while (__rdtsc() - begin < cycles)
        _mm_pause();
}

Message approve(Bytes evidence, const crypto::SigningKeyPair& authority,
                const wire::OwnerKeys& owner) {
    const auto header = Reader{evidence}.take<wire::EvidenceHeader>();
    if (!header) return {};
    wire::SignedAttestationResult word{};
    word.result.label = wire::kAttestationLabel;
    word.result.registration_nonce = header->binding.registration_nonce;
    word.result.binding_digest = crypto::sha256(bytes_of(header->binding));
    word.result.domain = header->binding.domain;
    word.result.hypervisor_key_id = header->hypervisor_key_id;
    word.result.owner = owner;
    word.result.ids = header->binding.ids;
    word.result.flags = wire::kAttestedSoftwareSgx;
    word.result.lifetime_seconds = 3600;
    word.signature = authority.sign({bytes_of(word.result)});
    Message reply(sizeof(wire::AuthorityReply) + sizeof word);
    Writer writer{reply};
    writer.put(wire::AuthorityReply{.accepted = 1, .reserved = 0, .reason = {}});
    writer.put(word);
    return reply;
}

// ---------------------------------------------------------------------------------------------

Result<std::unique_ptr<Rig>> Rig::start(Sealing sealing, const GuestRam& ram,
                                        const std::filesystem::path& directory,
                                        std::uint64_t transition_cycles) {
    std::unique_ptr<Rig> rig{new Rig{transition_cycles, crypto::SigningKeyPair::generate().value(),
                                     config::parse_uuid(kDomain).value(), kPatience}};
    std::error_code error;
    std::filesystem::create_directory(directory, error);
    if (error) return std::unexpected{Error{directory.string() + ": " + error.message()}};
    if (auto done = rig->start_hypervisor(sealing, ram, directory); !done)
        return std::unexpected{done.error()};
    if (auto done = rig->load_enclave(sealing, directory); !done)
        return std::unexpected{done.error()};
    if (auto done = rig->start_enclave(); !done) return std::unexpected{done.error()};
    return rig;
}

Result<std::unique_ptr<Rig>> Rig::start(Elsewhere there, const std::filesystem::path& directory) {
    std::unique_ptr<Rig> rig{new Rig{0, std::move(there.authority), there.domain, there.patience}};
    rig->link_ = std::move(there.hypervisor);
    if (auto done = rig->load_enclave(Sealing::sealed, directory); !done)
        return std::unexpected{done.error()};
    if (auto done = rig->start_enclave(); !done) return std::unexpected{done.error()};
    return rig;
}

Rig::~Rig() {
    stop_enclave();
    enclave_.reset();
    link_.reset();
    if (hypervisor_ > 0) {
        ::kill(hypervisor_, SIGTERM);
        ::waitpid(hypervisor_, nullptr, 0);
    }
}

void Rig::stop_enclave() {
    {
        const std::lock_guard lock{mutex_};
        stopping_ = true;
    }
    changed_.notify_all();
    if (thread_.joinable()) thread_.join();
}

Result<void> Rig::start_hypervisor(Sealing sealing, const GuestRam& ram,
                                   const std::filesystem::path& directory) {
    qemu_ = std::make_unique<qemu::testing::FakeQemu>(directory / "qmp");
    qemu_->answer("info mtree -f", nlohmann::json(memory_map(ram)).dump());
    if (auto saved = config::save_signing_key(directory / "authority.pub", authority_.public_key());
        !saved)
        return saved;
    const auto party = directory / "hypervisor";
    const auto socket = directory / "ring.sock";
    const auto program = beside_us(sealing == Sealing::sealed ? kHypervisor : kUnsealedHypervisor);
    const std::vector<std::string> init = {program,
                                           "init",
                                           "--dir",
                                           party,
                                           "--authority-key",
                                           directory / "authority.pub",
                                           "--socket",
                                           socket,
                                           "--allow-software-sgx",
                                           "--domain",
                                           std::string{kDomain},
                                           "--ram",
                                           ram.file,
                                           "--qmp",
                                           directory / "qmp"};
    const std::vector<std::string> run = {program, "run", "--config", party / "hypervisor.toml"};
    const auto log = directory / "hypervisor.log";
    const auto spawn = [&](const std::vector<std::string>& words) {
        std::vector<char*> arguments;
        for (const std::string& word : words)
            arguments.push_back(const_cast<char*>(word.c_str()));
        arguments.push_back(nullptr);
        const pid_t child = ::fork();
        if (child != 0) return child;
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        const int to = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
        ::dup2(to, 1);
        ::dup2(to, 2);
        ::execv(arguments[0], arguments.data());
        ::_exit(127);
    };
    int status = -1;
    if (const pid_t child = spawn(init); child < 0 || ::waitpid(child, &status, 0) != child)
        return failed("cannot start the hypervisor process");
    if (status == 0) hypervisor_ = spawn(run);
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    while (hypervisor_ > 0 && !answers(socket) && std::chrono::steady_clock::now() < deadline) {
        if (::waitpid(hypervisor_, &status, WNOHANG) == hypervisor_) hypervisor_ = -1;
        std::this_thread::sleep_for(std::chrono::milliseconds{5});
    }
    if (hypervisor_ < 0) {
        const Message said = contents_of(log);
        return std::unexpected{Error{
            fmt::format("{} ended: {}", program.string(), std::string{said.begin(), said.end()})}};
    }
    auto link = host::HypervisorLink::create(socket);
    if (!link) return std::unexpected{Error{link.error()}};
    link_ = std::move(*link);
    return {};
}

Result<void> Rig::load_enclave(Sealing sealing, const std::filesystem::path& directory) {
    const auto source = beside_us(sealing == Sealing::sealed ? kEnclave : kUnsealedEnclave);
    const auto elf = sgx::prepare_image(
        contents_of(source), {.authority_key = authority_.public_key(), .label = "bench"});
    if (!elf) return std::unexpected{Error{source.string() + ": " + elf.error()}};
    const auto image = sgx::EnclaveImage::build(*elf);
    if (!image) return std::unexpected{Error{source.string() + ": " + image.error()}};
    // One for all: to make one takes longer than all the rest.
    static const auto signer = sgx::SignerKey::generate();
    if (!signer) return std::unexpected{Error{signer.error()}};
    const auto sigstruct =
        sgx::sign_sigstruct(sgx::describe_enclave(image->measure(), {}), *signer);
    if (!sigstruct) return std::unexpected{Error{sigstruct.error()}};
    write(directory / "enclave.elf", *elf);
    write(directory / "enclave.sig", bytes_of(*sigstruct));
    auto enclave =
        sgx::load_enclave(sgx::Platform::software, {.image = directory / "enclave.elf",
                                                    .sigstruct = directory / "enclave.sig",
                                                    .fuse_key = directory / "fuse.key",
                                                    .monitor = beside_us("sgm-soft-monitor")});
    if (!enclave) return std::unexpected{Error{enclave.error()}};
    enclave_ = std::move(*enclave);
    auto ring = enclave_->share(link_->ring_descriptor(), wire::kRingSize);
    auto area = enclave_->allocate(kBuffer + wire::kMinOcallBuffer);
    if (!ring || !area) return std::unexpected{Error{"no memory to share with the enclave"}};
    ring_ = *ring;
    area_ = *area;
    return {};
}

std::uint64_t Rig::write_start_info(std::uint32_t interval_ms) {
    wire::StartInfo start{};
    start.ring = ring_.enclave_address;
    start.ocall_frame = area_.enclave_address + kOcallFrame;
    start.buffer = area_.enclave_address + kBuffer;
    start.buffer_size = area_.host.size() - kBuffer;
    start.domain = domain_;
    start.interval_ms = interval_ms;
    std::memcpy(area_.host.data(), &start, sizeof start);
    return area_.enclave_address;
}

Result<void> Rig::start_enclave() {
    const std::uint64_t start = write_start_info(1000);
    const std::uint64_t began = now_ns();
    thread_ = std::thread{[this, start] {
        const auto result = enclave_->run(wire::EcallNumber::run, start, *this);
        const std::lock_guard lock{mutex_};
        if (!result) log_ += sgx::text(result.error());
        ended_ = true;
        changed_.notify_all();
    }};
    std::unique_lock lock{mutex_};
    if (!changed_.wait_for(lock, patience_, [this] { return idle_ || ended_; }))
        return std::unexpected{Error{"the enclave did not attach in time: " + log_}};
    if (ended_) return std::unexpected{Error{"the enclave ended: " + log_}};
    start_ns_ = static_cast<double>(now_ns() - began);
    return {};
}

Result<Outcome> Rig::run(const Job& job) {
    std::unique_lock lock{mutex_};
    outcome_.reset();
    job_ = job;
    changed_.notify_all();
    if (!changed_.wait_for(lock, patience_, [this] { return (outcome_ && idle_) || ended_; }))
        return std::unexpected{Error{"the enclave did not do its job in time: " + log_}};
    if (!outcome_ || outcome_->result.failed != 0)
        return std::unexpected{Error{"the enclave could not do its job: " + log_}};
    return std::move(*outcome_);
}

Result<std::vector<double>> Rig::empty_ecalls(std::uint32_t count) {
    stop_enclave();
    const std::uint64_t start = write_start_info(0);
    std::vector<double> times;
    for (std::uint32_t i = 0; i < count; ++i) {
        const std::uint64_t begin = now_ns();
        spend_cycles(transition_cycles_);
        const auto result = enclave_->run(wire::EcallNumber::run, start, *this);
        spend_cycles(transition_cycles_);
        if (!result) return std::unexpected{Error{sgx::text(result.error())}};
        times.push_back(static_cast<double>(now_ns() - begin));
    }
    return times;
}

// ---------------------------------------------------------------------------------------------

void Rig::on_ocall(wire::OcallFrame& frame) {
    spend_cycles(transition_cycles_);
    frame.result = static_cast<std::uint32_t>(serve(frame));
    spend_cycles(transition_cycles_);
}

wire::OcallResult Rig::serve(wire::OcallFrame& frame) {
    switch (frame.number) {
        case wire::OcallNumber::hypervisor:
            ++hypervisor_ocalls_;
            return link_->wake_and_wait(never_);
        case wire::OcallNumber::send: {
            const Bytes text = area_.host.subspan(kBuffer).first(
                std::min<std::uint64_t>(frame.size, area_.host.size() - kBuffer));
            return take(frame.peer, {text.begin(), text.end()});
        }
        case wire::OcallNumber::receive: return give(frame);
        case wire::OcallNumber::wait:
            ocall_times_.push_back(now_ns());
            return wire::OcallResult::ok;
    }
    return wire::OcallResult::unreachable;
}

wire::OcallResult Rig::take(wire::Peer peer, Message message) {
    switch (peer) {
        // The authority that this program plays believes any quote.
        case wire::Peer::quoting: replies_[peer] = {1}; break;
        case wire::Peer::authority: replies_[peer] = approve(message, authority_, {}); break;
        case wire::Peer::storage: break;
        case wire::Peer::log: {
            const std::lock_guard lock{mutex_};
            log_ += std::string{message.begin(), message.end()} + "\n";
            break;
        }
        case wire::Peer::owner: {
            Outcome outcome{.result = {},
                            .clocks = {},
                            .elapsed_ns = static_cast<double>(now_ns() - job_began_),
                            .ocalls_ns = {},
                            .hypervisor_ocalls = hypervisor_ocalls_};
            Reader reader{message};
            outcome.result = reader.take<JobResult>().value_or(kNoResult);
            while (const auto clock = reader.take<std::uint64_t>())
                outcome.clocks.push_back(*clock);
            for (std::size_t i = 1; i < ocall_times_.size(); ++i)
                outcome.ocalls_ns.push_back(
                    static_cast<double>(ocall_times_[i] - ocall_times_[i - 1]));
            const std::lock_guard lock{mutex_};
            outcome_ = std::move(outcome);
            break;
        }
    }
    return wire::OcallResult::ok;
}

wire::OcallResult Rig::give(wire::OcallFrame& frame) {
    const auto put = [&](Bytes text) {
        std::memcpy(&area_.host[kBuffer], text.data(), text.size());
        frame.size = text.size();
        return wire::OcallResult::ok;
    };
    if (frame.peer != wire::Peer::owner) return put(replies_[frame.peer]);
    const auto job = next_job();
    if (!job) return wire::OcallResult::stop;
    ocall_times_.clear();
    hypervisor_ocalls_ = 0;
    job_began_ = now_ns();
    return put(bytes_of(*job));
}

std::optional<Job> Rig::next_job() {
    std::unique_lock lock{mutex_};
    idle_ = true;
    changed_.notify_all();
    changed_.wait(lock, [this] { return job_ || stopping_; });
    idle_ = false;
    if (stopping_) return std::nullopt;
    return std::exchange(job_, std::nullopt);
}

}  // namespace sgm::bench
