// SPDX-License-Identifier: MIT
// Software SGX from end to end: a signed enclave in its monitor process, and the host around it.
#include "sgx/loader/loader.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <barrier>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <deque>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "config/temporary_directory.hpp"
#include "sgx/image/image.hpp"
#include "sgx/image/sigstruct.hpp"
#include "sgx/loader/extended_state.hpp"
#include "sgx/loader/soft/platform.hpp"
#include "sgx/loader/soft/test_enclave.hpp"
#include "wire/ring.hpp"

namespace sgm::sgx {
namespace {

using soft::TestCommand;
using wire::EnclaveResult;

std::vector<std::uint8_t> contents_of(const std::filesystem::path& path) {
    std::ifstream file{path, std::ios::binary};
    return {std::istreambuf_iterator<char>{file}, {}};
}

void write(const std::filesystem::path& path, Bytes bytes) {
    std::ofstream file{path, std::ios::binary};
    file.write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
}

const SignerKey& signer() {
    static const SignerKey key = SignerKey::generate().value();
    return key;
}

// One machine and one signed enclave on its disk.
class LoaderTest : public testing::Test {
  protected:
    LoaderTest() { sign(options_); }

    void sign(const ImageOptions& options, const SigningOptions& signing = {}) {
        elf_ = prepare_image(contents_of(SGM_TEST_ENCLAVE), options).value();
        sigstruct_ = sign_sigstruct(describe_enclave(EnclaveImage::build(elf_)->measure(), signing),
                                    signer())
                         .value();
        store();
    }
    void store() {
        write(request_.image, elf_);
        write(request_.sigstruct, bytes_of(sigstruct_));
    }
    [[nodiscard]] std::unique_ptr<Enclave> load() {
        auto enclave = load_enclave(Platform::software, request_);
        EXPECT_TRUE(enclave.has_value()) << enclave.error();
        return std::move(enclave.value());
    }
    [[nodiscard]] std::string refusal() {
        const auto enclave = load_enclave(Platform::software, request_);
        return enclave ? "" : enclave.error();
    }

    config::TemporaryDirectory directory_;
    ImageOptions options_{.heap_size = std::uint64_t{2} << 20,
                          .stack_size = std::uint64_t{128} << 10,
                          .authority_key = {7, 7, 7},
                          .label = "test"};
    LoadRequest request_{.image = directory_ / "test.elf",
                         .sigstruct = directory_ / "test.sig",
                         .fuse_key = directory_ / "fuse.key",
                         .monitor = SGM_SOFT_MONITOR};
    std::vector<std::uint8_t> elf_;
    Sigstruct sigstruct_{};
};

// The host: the memory that the enclave is given, and the four OCALLs over two queues.
class Host : public OcallHandler {
  public:
    explicit Host(Enclave& enclave) : enclave_{enclave} {
        ring_ = enclave.allocate(wire::kRingSize).value();
        frame_ = enclave.allocate(4096).value();
        buffer_ = enclave.allocate(wire::kMinOcallBuffer).value();
    }

    std::expected<EnclaveResult, EnclaveLoss> run(TestCommand command) {
        return run(start_info(command));
    }
    std::expected<EnclaveResult, EnclaveLoss> run(const wire::StartInfo& info) {
        std::memcpy(frame_.host.data() + 1024, &info, sizeof info);
        return enclave_.run(wire::EcallNumber::run, frame_.enclave_address + 1024, *this);
    }
    [[nodiscard]] wire::StartInfo start_info(TestCommand command) const {
        wire::StartInfo info{};
        info.ring = ring_.enclave_address;
        info.ocall_frame = frame_.enclave_address;
        info.buffer = buffer_.enclave_address;
        info.buffer_size = buffer_.host.size();
        info.domain[0] = static_cast<std::uint8_t>(command);
        info.features = enclave_.features();
        return info;
    }

    void on_ocall(wire::OcallFrame& frame) override {
        if (++ocalls == 1 && at_first_ocall) {
            at_first_ocall();
            was_inside = true;
            was_inside.notify_all();
        }
        auto result = wire::OcallResult::ok;
        if (frame.number == wire::OcallNumber::send) {
            const Bytes message = buffer_.host.first(static_cast<std::size_t>(frame.size));
            sent.emplace_back(message.begin(), message.end());
        } else if (frame.number == wire::OcallNumber::receive) {
            if (to_receive.empty()) {
                result = wire::OcallResult::stop;
            } else {
                const auto message = to_receive.front();
                to_receive.pop_front();
                std::memcpy(buffer_.host.data(), message.data(), message.size());
                frame.size = message.size() + lie;
            }
        }
        frame.result = static_cast<std::uint32_t>(result);
    }

    template <WireStruct T>
    void queue(const T& message) {
        const Bytes bytes = bytes_of(message);
        to_receive.emplace_back(bytes.begin(), bytes.end());
    }

    std::deque<std::vector<std::uint8_t>> to_receive;
    std::vector<std::vector<std::uint8_t>> sent;
    int ocalls = 0;
    std::function<void()> at_first_ocall;
    std::atomic<bool> was_inside = false;
    std::uint64_t lie = 0;  // added to each received size

  private:
    Enclave& enclave_;
    SharedMemory ring_;
    SharedMemory frame_;
    SharedMemory buffer_;
};

TEST_F(LoaderTest, a_signed_enclave_loads_and_says_who_it_is) {
    const auto enclave = load();
    EXPECT_EQ(enclave->identity().mrenclave, sigstruct_.enclavehash);
    EXPECT_EQ(enclave->identity().mrsigner, mrsigner(sigstruct_));
    EXPECT_EQ(enclave->identity().attributes.flags, kAttributeInit | kAttributeMode64);
    EXPECT_EQ(enclave->identity().attributes.xfrm, useful_xfrm(enabled_xfrm()) & 0xe7);
    EXPECT_TRUE(
        enclave->protection().starts_with("SOFTWARE SGX: no protection from this host's "
                                          "root"))
        << enclave->protection();
}

TEST_F(LoaderTest, messages_make_the_round_trip_through_ocalls) {
    const auto enclave = load();
    Host host{*enclave};
    for (std::uint8_t i = 0; i < 200; ++i)
        host.to_receive.push_back(std::vector<std::uint8_t>(i * 300u, i));
    const auto expected = host.to_receive;
    EXPECT_EQ(host.run(TestCommand::echo), EnclaveResult::stopped);
    EXPECT_EQ(std::deque(host.sent.begin(), host.sent.end()), expected);
    EXPECT_EQ(host.ocalls, 401);
}

TEST_F(LoaderTest, eight_threads_are_inside_at_a_time_and_a_ninth_caller_waits) {
    options_.thread_count = 8;
    options_.heap_size = std::uint64_t{8} << 20;
    sign(options_);
    const auto enclave = load();
    constexpr std::size_t kCallers = 9;
    std::vector<std::unique_ptr<Host>> hosts;
    for (std::size_t i = 0; i < kCallers; ++i) {
        hosts.push_back(std::make_unique<Host>(*enclave));
        for (std::size_t message = 0; message < 100; ++message)
            hosts[i]->to_receive.push_back(
                std::vector<std::uint8_t>(message * 50, static_cast<std::uint8_t>(i)));
    }
    // The first eight meet in their first OCALL: nobody leaves before all are inside.
    std::barrier all_inside{8};
    std::vector<std::thread> callers;
    for (std::size_t i = 0; i < kCallers; ++i) {
        if (i < 8) hosts[i]->at_first_ocall = [&] { all_inside.arrive_and_wait(); };
        callers.emplace_back([&, i] {
            // The ninth comes when the others hold every thread.
            if (i == 8) hosts[0]->was_inside.wait(false);
            auto result = hosts[i]->run(TestCommand::echo);
            // Whoever meets the first thread on its very first steps is told to come again.
            while (result == EnclaveResult::already_running)
                result = hosts[i]->run(TestCommand::echo);
            EXPECT_EQ(result, EnclaveResult::stopped);
        });
    }
    for (std::thread& caller : callers)
        caller.join();
    for (std::size_t i = 0; i < kCallers; ++i) {
        ASSERT_EQ(hosts[i]->sent.size(), 100u);
        for (std::size_t message = 0; message < 100; ++message)
            EXPECT_EQ(hosts[i]->sent[message],
                      std::vector<std::uint8_t>(message * 50, static_cast<std::uint8_t>(i)));
    }
}

TEST_F(LoaderTest, the_runtime_keeps_its_promises_to_the_program) {
    const auto enclave = load();
    Host host{*enclave};
    EXPECT_EQ(host.run(TestCommand::self_test), EnclaveResult::ok);
    // And a second ECALL finds everything as the first did.
    EXPECT_EQ(host.run(TestCommand::self_test), EnclaveResult::ok);
}

TEST_F(LoaderTest, a_report_verifies_for_its_target_on_its_machine_only) {
    const auto enclave = load();
    Host host{*enclave};
    TargetInfo target{};
    target.measurement = {1, 2, 3};
    target.attributes = {kAttributeInit | kAttributeMode64, 3};
    host.queue(target);
    ASSERT_EQ(host.run(TestCommand::report), EnclaveResult::ok);
    ASSERT_EQ(host.sent.size(), 1u);
    const Report report = *Reader{host.sent[0]}.take<Report>();
    EXPECT_EQ(report.body.mrenclave, enclave->identity().mrenclave);
    EXPECT_EQ(report.body.mrsigner, enclave->identity().mrsigner);
    EXPECT_EQ(report.body.report_data[63], 0x5a);

    const soft::SoftPlatform machine{soft::load_or_create_fuse_key(request_.fuse_key).value()};
    EXPECT_TRUE(machine.verify_report(report, target));
    TargetInfo other = target;
    other.measurement[0] ^= 1;
    EXPECT_FALSE(machine.verify_report(report, other));
    other = target;
    other.attributes.flags |= kAttributeDebug;
    EXPECT_FALSE(machine.verify_report(report, other));
    Report forged = report;
    forged.body.isvsvn = 9;
    EXPECT_FALSE(machine.verify_report(forged, target));
    const soft::SoftPlatform elsewhere{
        soft::load_or_create_fuse_key(directory_ / "another.key").value()};
    EXPECT_FALSE(elsewhere.verify_report(report, target));
}

TEST_F(LoaderTest, seal_keys_follow_their_policy) {
    const auto key = [this](std::uint16_t policy) {
        const auto enclave = load();
        Host host{*enclave};
        host.queue(policy);
        EXPECT_EQ(host.run(TestCommand::seal_key), EnclaveResult::ok);
        return host.sent.at(0);
    };
    const auto for_enclave = key(kKeyPolicyMrenclave);
    const auto for_signer = key(kKeyPolicyMrsigner);
    EXPECT_NE(for_enclave, for_signer);
    EXPECT_EQ(key(kKeyPolicyMrenclave), for_enclave);

    ImageOptions next_version = options_;
    next_version.label = "the next version";
    sign(next_version);
    EXPECT_NE(key(kKeyPolicyMrenclave), for_enclave);
    EXPECT_EQ(key(kKeyPolicyMrsigner), for_signer);

    SigningOptions debug;
    debug.debug = true;
    sign(next_version, debug);
    EXPECT_NE(key(kKeyPolicyMrsigner), for_signer);

    request_.fuse_key = directory_ / "another.key";
    sign(options_);
    EXPECT_NE(key(kKeyPolicyMrenclave), for_enclave);
}

TEST_F(LoaderTest, the_enclave_sees_the_configuration_that_was_signed) {
    const auto enclave = load();
    Host host{*enclave};
    ASSERT_EQ(host.run(TestCommand::send_config), EnclaveResult::ok);
    const auto config = *Reader{host.sent.at(0)}.take<wire::MeasuredConfig>();
    EXPECT_EQ(config.authority_key, options_.authority_key);
    EXPECT_STREQ(config.label.data(), "test");
}

struct Crime {
    std::string name;
    TestCommand command;
    int signal;
};
class CrimeTest : public LoaderTest, public testing::WithParamInterface<Crime> {};

TEST_P(CrimeTest, ends_the_enclave_with_the_reason_and_the_place) {
    const auto enclave = load();
    Host host{*enclave};
    const auto result = host.run(GetParam().command);
    ASSERT_FALSE(result.has_value());
    EXPECT_EQ(result.error().cause, EnclaveLoss::Cause::fault) << text(result.error());
    EXPECT_EQ(result.error().signal, GetParam().signal) << text(result.error());
    EXPECT_LT(result.error().offset, EnclaveImage::build(elf_)->layout().image_end);
    const auto again = host.run(TestCommand::nothing);
    ASSERT_FALSE(again.has_value());
    EXPECT_EQ(again.error().cause, EnclaveLoss::Cause::not_loaded);
}

INSTANTIATE_TEST_SUITE_P(
    Of, CrimeTest,
    testing::Values(Crime{"a_system_call", TestCommand::system_call, SIGSYS},
                    Crime{"reading_the_time_stamp", TestCommand::time_stamp, SIGSEGV},
                    Crime{"a_null_pointer", TestCommand::null_pointer, SIGSEGV},
                    Crime{"writing_to_code", TestCommand::write_code, SIGSEGV},
                    Crime{"running_out_of_stack", TestCommand::exhaust_stack, SIGSEGV}),
    [](const testing::TestParamInfo<Crime>& crime) { return crime.param.name; });

TEST_F(LoaderTest, exhausted_memory_leaves_the_enclave_for_good) {
    const auto enclave = load();
    Host host{*enclave};
    EXPECT_EQ(host.run(TestCommand::exhaust_heap), EnclaveResult::out_of_memory);
    const auto again = host.run(TestCommand::nothing);
    ASSERT_FALSE(again.has_value());
    EXPECT_EQ(again.error().cause, EnclaveLoss::Cause::not_loaded);
}

TEST_F(LoaderTest, a_heap_with_room_grows_and_one_without_does_not) {
    const auto fixed = load();
    Host poor{*fixed};
    EXPECT_EQ(poor.run(TestCommand::grow_heap), EnclaveResult::out_of_memory);
    options_.heap_max = std::uint64_t{16} << 20;
    sign(options_);
    const auto growing = load();
    Host rich{*growing};
    EXPECT_EQ(rich.run(TestCommand::grow_heap), EnclaveResult::ok);
    EXPECT_EQ(rich.run(TestCommand::accept_again), EnclaveResult::ok);
    EXPECT_EQ(rich.run(TestCommand::exhaust_heap), EnclaveResult::out_of_memory)
        << "heap_max is where it ends";
}

TEST_F(LoaderTest, memory_that_runs_short_is_told_before_it_ends) {
    const auto enclave = load();
    Host host{*enclave};
    EXPECT_EQ(host.run(TestCommand::use_reserve), EnclaveResult::ok);
}

TEST_F(LoaderTest, an_enclave_without_memory_says_its_last_words) {
    const auto enclave = load();
    Host host{*enclave};
    EXPECT_EQ(host.run(TestCommand::say_last_words), EnclaveResult::out_of_memory);
    ASSERT_EQ(host.sent.size(), 1u);
    EXPECT_EQ(std::string(host.sent[0].begin(), host.sent[0].end()), "no memory");
}

TEST_F(LoaderTest, killing_an_enclave_ends_its_call) {
    const auto enclave = load();
    class Killer : public Host {
      public:
        explicit Killer(Enclave& enclave) : Host{enclave}, enclave_{enclave} {}
        void on_ocall(wire::OcallFrame& frame) override {
            enclave_.kill();
            Host::on_ocall(frame);
        }

      private:
        Enclave& enclave_;
    } host{*enclave};
    const auto result = host.run(TestCommand::echo);
    ASSERT_FALSE(result.has_value());
    EXPECT_EQ(result.error().cause, EnclaveLoss::Cause::killed) << text(result.error());
}

TEST_F(LoaderTest, an_enclave_that_never_comes_back_can_be_killed_from_another_thread) {
    const auto enclave = load();
    Host host{*enclave};
    std::thread killer{[&] { enclave->kill(); }};
    const auto result = host.run(TestCommand::loop);
    killer.join();
    ASSERT_FALSE(result.has_value());
    EXPECT_EQ(result.error().cause, EnclaveLoss::Cause::killed) << text(result.error());
}

TEST_F(LoaderTest, start_info_that_makes_no_sense_is_refused) {
    const auto enclave = load();
    Host host{*enclave};
    const wire::StartInfo good = host.start_info(TestCommand::nothing);
    EXPECT_EQ(host.run(good), EnclaveResult::ok);
    const auto expect_refused = [&](auto change) {
        wire::StartInfo bad = good;
        change(bad);
        EXPECT_EQ(host.run(bad), EnclaveResult::bad_argument);
    };
    expect_refused([](auto& info) { info.ring = 0; });
    expect_refused([](auto& info) { info.ring += 8; });
    expect_refused([](auto& info) { info.ring = ~std::uint64_t{0xfff}; });
    expect_refused([](auto& info) { info.ocall_frame += 1; });
    expect_refused([](auto& info) { info.ocall_frame = 0; });
    expect_refused([](auto& info) { info.buffer = ~std::uint64_t{0}; });
    expect_refused([](auto& info) { info.buffer_size = wire::kMinOcallBuffer - 1; });
    expect_refused([](auto& info) { info.buffer_size = ~std::uint64_t{0}; });
}

TEST_F(LoaderTest, no_range_that_touches_the_enclave_passes_for_outside) {
    const auto enclave = load();
    Host host{*enclave};
    const std::uint64_t size = EnclaveImage::build(elf_)->layout().elrange_size;
    const auto outside = [&](std::uint64_t from_base, std::uint64_t length) {
        host.queue(soft::TestRange{.from_base = from_base, .size = length});
        return host.run(TestCommand::judge_range) == EnclaveResult::ok;
    };
    EXPECT_TRUE(outside(size, 1));
    EXPECT_TRUE(outside(size, 4096));
    EXPECT_TRUE(outside(-std::uint64_t{4096}, 4096));
    EXPECT_FALSE(outside(-std::uint64_t{4096}, 4097));
    EXPECT_FALSE(outside(0, 1));
    EXPECT_FALSE(outside(size - 1, 1));
    EXPECT_FALSE(outside(size - 1, 2));
    EXPECT_FALSE(outside(-std::uint64_t{4096}, size + 8192));
    EXPECT_FALSE(outside(size, ~std::uint64_t{0}));  // wraps around
    EXPECT_FALSE(outside(size, 0));
    std::mt19937_64 random{7};
    for (int i = 0; i < 200; ++i)
        EXPECT_FALSE(outside(random() % size, 1 + random() % (2 * size)));
}

TEST_F(LoaderTest, a_host_that_lies_about_sizes_gets_nothing_copied) {
    const auto enclave = load();
    Host host{*enclave};
    host.to_receive.push_back({1, 2, 3});
    host.lie = std::uint64_t{1} << 40;
    EXPECT_EQ(host.run(TestCommand::echo), EnclaveResult::stopped);
    EXPECT_TRUE(host.sent.empty());
}

TEST_F(LoaderTest, a_changed_signature_is_refused) {
    const Sigstruct good = sigstruct_;
    sigstruct_.enclavehash[0] ^= 1;
    store();
    EXPECT_NE(refusal().find("SIGSTRUCT.SIGNATURE does not verify"), std::string::npos)
        << refusal();
    sigstruct_ = good;
    sigstruct_.q2[0] ^= 1;
    store();
    EXPECT_NE(refusal().find("SIGSTRUCT.Q2"), std::string::npos) << refusal();
}

TEST_F(LoaderTest, a_changed_page_is_refused) {
    // A byte of code, not of the tables that the parser looks at.
    elf_[0x3000 + 0x200] ^= 1;
    store();
    EXPECT_NE(refusal().find("SIGSTRUCT.ENCLAVEHASH"), std::string::npos) << refusal();
}

TEST_F(LoaderTest, files_that_are_no_enclave_get_one_sentence) {
    std::vector<std::uint8_t> whole = elf_;
    elf_.resize(elf_.size() / 2);
    store();
    EXPECT_NE(refusal().find("cut off"), std::string::npos) << refusal();
    elf_ = {'n', 'o'};
    store();
    EXPECT_NE(refusal().find("not an ELF file"), std::string::npos) << refusal();
    elf_ = contents_of(SGM_TEST_ENCLAVE);
    store();
    EXPECT_NE(refusal().find("not signed yet"), std::string::npos) << refusal();
    elf_ = whole;
    store();
    std::filesystem::resize_file(request_.sigstruct, 1000);
    EXPECT_NE(refusal().find("1808 bytes"), std::string::npos) << refusal();
    std::filesystem::remove(request_.sigstruct);
    EXPECT_NE(refusal().find("No such file"), std::string::npos) << refusal();
}

TEST_F(LoaderTest, state_that_this_cpu_has_not_is_refused) {
    SigningOptions signing;
    signing.xfrm = 3 | std::uint64_t{1} << 62;
    sign(options_, signing);
    EXPECT_NE(refusal().find("XFRM"), std::string::npos) << refusal();
}

TEST_F(LoaderTest, a_missing_monitor_is_named) {
    request_.monitor = directory_ / "nowhere";
    EXPECT_NE(refusal().find("nowhere"), std::string::npos) << refusal();
}

TEST_F(LoaderTest, a_fuse_key_that_others_may_read_is_refused) {
    (void)load();
    struct stat status{};
    ASSERT_EQ(::stat(request_.fuse_key.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777, 0600u);
    EXPECT_EQ(status.st_size, 16);
    ::chmod(request_.fuse_key.c_str(), 0644);
    EXPECT_NE(refusal().find("chmod 600"), std::string::npos) << refusal();
}

TEST_F(LoaderTest, memory_is_shared_before_the_first_run_only) {
    const auto enclave = load();
    Host host{*enclave};
    const int descriptor = ::memfd_create("short", MFD_CLOEXEC);
    EXPECT_FALSE(enclave->share(descriptor, 4096).has_value());
    ::close(descriptor);
    EXPECT_EQ(host.run(TestCommand::nothing), EnclaveResult::ok);
    EXPECT_FALSE(enclave->allocate(4096).has_value());
}

// The process that this one started as a monitor.
pid_t monitor_process() {
    for (const auto& entry : std::filesystem::directory_iterator{"/proc"}) {
        if (!std::isdigit(static_cast<unsigned char>(entry.path().filename().string()[0])))
            continue;
        // pid (comm) state ppid ...
        std::ifstream file{entry.path() / "stat"};
        std::string stat;
        std::getline(file, stat);  // empty when the process has ended
        const std::size_t comm = stat.find("(sgm-soft-monito) ");
        if (comm == std::string::npos) continue;
        std::istringstream rest{stat.substr(stat.rfind(')') + 2)};
        char state = 0;
        pid_t parent = 0;
        rest >> state >> parent;
        if (parent == ::getpid()) return std::stoi(stat);
    }
    return 0;
}

TEST_F(LoaderTest, a_running_monitor_has_no_descriptors_and_no_system_calls) {
    const auto enclave = load();
    Host host{*enclave};
    ASSERT_EQ(host.run(TestCommand::nothing), EnclaveResult::ok);
    const std::filesystem::path process = "/proc/" + std::to_string(monitor_process());
    std::ifstream file{process / "status"};
    const std::string status{std::istreambuf_iterator<char>{file}, {}};
    EXPECT_NE(status.find("Seccomp:\t2"), std::string::npos) << status;
    EXPECT_NE(status.find("NoNewPrivs:\t1"), std::string::npos) << status;
    // Not dumpable: only root may look, and sees none.
    std::error_code error;
    const std::filesystem::directory_iterator descriptors{process / "fd", error};
    EXPECT_TRUE(error || descriptors == std::filesystem::directory_iterator{});
}

TEST_F(LoaderTest, what_confines_a_monitor_is_told_as_it_is) {
    const auto enclave = load();
    const std::string said{enclave->protection()};
    EXPECT_TRUE(said.find("(Landlock)") != std::string::npos ||
                said.find("no Landlock (") != std::string::npos)
        << said;
    std::error_code error;
    const auto theirs = std::filesystem::read_symlink(
        "/proc/" + std::to_string(monitor_process()) + "/ns/net", error);
    if (error) GTEST_SKIP() << "only root may see the namespaces of a monitor";
    const bool separate = theirs != std::filesystem::read_symlink("/proc/self/ns/net");
    EXPECT_EQ(separate, said.find("empty namespaces") != std::string::npos) << said;
    if (!separate) {
        EXPECT_NE(said.find("no namespaces of its own ("), std::string::npos) << said;
    }
}

TEST_F(LoaderTest, another_process_cannot_read_the_enclaves_data) {
    const auto enclave = load();
    if (enclave->protection().find("ordinary memory") != std::string_view::npos && ::geteuid() == 0)
        GTEST_SKIP() << enclave->protection();
    Host host{*enclave};
    ASSERT_EQ(host.run(TestCommand::nothing), EnclaveResult::ok);
    const pid_t monitor = monitor_process();
    std::vector<std::uint64_t> addresses;
    std::ifstream maps{"/proc/" + std::to_string(monitor) + "/maps"};
    for (std::string line; std::getline(maps, line);)
        if (line.find("secretmem") != std::string::npos)
            addresses.push_back(std::stoull(line, nullptr, 16));
    if (::geteuid() == 0) {
        EXPECT_EQ(addresses.size(), 4u) << "data, heap, stack, SSA and thread page";
    } else {
        addresses.push_back(0x10000);  // refused whatever it names
    }
    for (const std::uint64_t address : addresses) {
        std::uint64_t word = 0;
        const iovec here{&word, sizeof word};
        const iovec there{reinterpret_cast<void*>(address), sizeof word};
        EXPECT_EQ(::process_vm_readv(monitor, &here, 1, &there, 1, 0), -1);
    }
}

TEST_F(LoaderTest, nothing_is_left_of_an_enclave_that_is_gone) {
    auto enclave = load();
    const pid_t monitor = monitor_process();
    ASSERT_GT(monitor, 0);
    enclave.reset();
    EXPECT_EQ(::kill(monitor, 0), -1);
    EXPECT_EQ(errno, ESRCH);
}

TEST_F(LoaderTest, an_enclave_that_somebody_else_kills_is_lost_at_once) {
    const auto enclave = load();
    class Killer : public Host {
      public:
        using Host::Host;
        void on_ocall(wire::OcallFrame& frame) override {
            ::kill(monitor_process(), SIGKILL);
            Host::on_ocall(frame);
        }
    } host{*enclave};
    const auto result = host.run(TestCommand::echo);
    ASSERT_FALSE(result.has_value());
    EXPECT_EQ(text(result.error()), "the enclave was killed (SIGKILL)");
}

TEST_F(LoaderTest, a_monitor_dies_with_its_host) {
    std::array<int, 2> report{};
    std::array<int, 2> go{};
    ASSERT_EQ(::pipe2(report.data(), O_CLOEXEC), 0);
    ASSERT_EQ(::pipe2(go.data(), O_CLOEXEC), 0);
    const pid_t host = ::fork();
    if (host == 0) {
        // A host that crashes: no destructor runs.
        const auto enclave = load_enclave(Platform::software, request_);
        const pid_t monitor = monitor_process();
        char byte = 0;
        const bool told = ::write(report[1], &monitor, sizeof monitor) == sizeof monitor &&
                          ::read(go[0], &byte, 1) == 1;
        ::_exit(told ? 0 : 1);
    }
    ::close(report[1]);
    pid_t monitor = 0;
    ASSERT_EQ(::read(report[0], &monitor, sizeof monitor), ssize_t{sizeof monitor});
    ASSERT_GT(monitor, 0);
    const auto descriptor = static_cast<int>(::syscall(SYS_pidfd_open, monitor, 0));
    ASSERT_GE(descriptor, 0);
    ASSERT_EQ(::write(go[1], "x", 1), 1);
    pollfd ended{descriptor, POLLIN, 0};
    EXPECT_EQ(::poll(&ended, 1, 30'000), 1) << "the monitor lives on";
    ::waitpid(host, nullptr, 0);
    for (const int each : {descriptor, report[0], go[0], go[1]})
        ::close(each);
}

TEST_F(LoaderTest, the_device_is_not_promised) {
    const auto enclave = load_enclave(Platform::device, request_);
    ASSERT_FALSE(enclave.has_value());
    EXPECT_NE(enclave.error().find("/dev/sgx_enclave"), std::string::npos);
    EXPECT_EQ(parse_platform("soft"), Platform::software);
    EXPECT_FALSE(parse_platform("hard").has_value());
}

TEST(ChoosePlatform, real_sgx_is_taken_wherever_it_is_there) {
    const auto choice = choose_platform(Platform::automatic, true, {});
    ASSERT_TRUE(choice.has_value());
    EXPECT_EQ(choice->platform, Platform::device);
    EXPECT_EQ(choose_platform(Platform::device, false, {})->platform, Platform::device);
}

TEST(ChoosePlatform, auto_falls_back_only_where_it_may_and_says_why) {
    const std::expected<void, std::string> none = std::unexpected("there is no /dev/sgx_enclave");
    const auto choice = choose_platform(Platform::automatic, true, none);
    ASSERT_TRUE(choice.has_value());
    EXPECT_EQ(choice->platform, Platform::software);
    EXPECT_EQ(choice->reason,
              "auto became software SGX, no real SGX here: there is no /dev/sgx_enclave");
    EXPECT_EQ(choose_platform(Platform::device, true, none).error(), none.error());
}

TEST(ChoosePlatform, production_takes_no_software_and_says_what_to_do) {
    const std::expected<void, std::string> none = std::unexpected("there is no /dev/sgx_enclave");
    const auto fallback = choose_platform(Platform::automatic, false, none);
    ASSERT_FALSE(fallback.has_value());
    EXPECT_NE(fallback.error().find(none.error()), std::string::npos);
    EXPECT_NE(fallback.error().find("allow_software_sgx = true"), std::string::npos);
    EXPECT_FALSE(choose_platform(Platform::software, false, none).has_value());
    EXPECT_FALSE(choose_platform(Platform::software, false, {}).has_value());
    EXPECT_EQ(choose_platform(Platform::software, true, {})->platform, Platform::software);
}

}  // namespace
}  // namespace sgm::sgx
