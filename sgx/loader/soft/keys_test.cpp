// SPDX-License-Identifier: MIT
// Sealing and local attestation with the keys of a (software) CPU: enclaves, machines and signers
// as the test wants them.
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "config/temporary_directory.hpp"
#include "sgx/enclave/enclu.hpp"
#include "sgx/image/image.hpp"
#include "sgx/image/sigstruct.hpp"
#include "sgx/loader/loader.hpp"
#include "sgx/loader/soft/keys_enclave.hpp"
#include "wire/ring.hpp"

namespace sgm::sgx {
namespace {

using enclave::SealTo;
using soft::KeysCommand;
using wire::EnclaveResult;
using Octets = std::vector<std::uint8_t>;

template <WireStruct T>
Octets octets_of(const T& value) {
    const Bytes bytes = bytes_of(value);
    return {bytes.begin(), bytes.end()};
}

void write(const std::filesystem::path& path, Bytes bytes) {
    std::ofstream file{path, std::ios::binary};
    file.write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
}

// What makes one enclave another: its image, its signer, its version, debug; and where it runs.
struct Which {
    std::string label = "one";  // of the measured configuration
    std::string signer = "one";
    std::string machine = "one";
    SigningOptions signing{};
};

// One loaded enclave and the host that serves it.
class Loaded final : public OcallHandler {
  public:
    Loaded(const config::TemporaryDirectory& directory, const Which& which) {
        static const SignerKey one = SignerKey::generate().value();
        static const SignerKey another = SignerKey::generate().value();
        std::ifstream file{SGM_KEYS_ENCLAVE, std::ios::binary};
        const Octets built{std::istreambuf_iterator<char>{file}, {}};
        const auto elf = prepare_image(built, {.heap_size = std::uint64_t{2} << 20,
                                               .stack_size = std::uint64_t{128} << 10,
                                               .label = which.label})
                             .value();
        write(directory / "keys.elf", elf);
        const auto description =
            describe_enclave(EnclaveImage::build(elf)->measure(), which.signing);
        write(directory / "keys.sig",
              bytes_of(sign_sigstruct(description, which.signer == "one" ? one : another).value()));
        enclave_ = load_enclave(Platform::software, {.image = directory / "keys.elf",
                                                     .sigstruct = directory / "keys.sig",
                                                     .fuse_key = directory / which.machine,
                                                     .monitor = SGM_SOFT_MONITOR})
                       .value();
        ring_ = enclave_->allocate(wire::kRingSize).value();
        frame_ = enclave_->allocate(4096).value();
        buffer_ = enclave_->allocate(wire::kMinOcallBuffer).value();
    }

    // What the enclave answers; nothing when it refuses.
    Octets run(KeysCommand command, std::deque<Octets> messages) {
        to_receive_ = std::move(messages);
        sent_.clear();
        wire::StartInfo info{};
        info.ring = ring_.enclave_address;
        info.ocall_frame = frame_.enclave_address;
        info.buffer = buffer_.enclave_address;
        info.buffer_size = buffer_.host.size();
        info.domain[0] = static_cast<std::uint8_t>(command);
        std::ranges::copy(bytes_of(info), frame_.host.subspan(1024).begin());
        const auto result =
            enclave_->run(wire::EcallNumber::run, frame_.enclave_address + 1024, *this);
        EXPECT_TRUE(result.has_value());
        EXPECT_TRUE(*result == EnclaveResult::ok || *result == EnclaveResult::bad_argument);
        return *result == EnclaveResult::ok ? sent_ : Octets{};
    }

    Octets seal(SealTo policy, const Octets& contents) {
        return run(KeysCommand::seal, {octets_of(policy), contents});
    }
    Octets unseal(SealTo policy, const Octets& blob) {
        return run(KeysCommand::unseal, {octets_of(policy), blob});
    }
    // A report of this enclave for that one.
    Report report_for(Loaded& target) {
        const Octets report = run(KeysCommand::report, {target.run(KeysCommand::target_info, {})});
        return Reader{report}.take<Report>().value();
    }
    // What the report says; nullopt: it is not for this enclave.
    std::optional<ReportBody> verify(const Report& report) {
        return Reader{run(KeysCommand::verify, {octets_of(report)})}.take<ReportBody>();
    }
    [[nodiscard]] const EnclaveIdentity& identity() const { return enclave_->identity(); }

    void on_ocall(wire::OcallFrame& frame) override {
        auto result = wire::OcallResult::nothing;
        if (frame.number == wire::OcallNumber::send) {
            const auto message = buffer_.host.first(static_cast<std::size_t>(frame.size));
            sent_.assign(message.begin(), message.end());
            result = wire::OcallResult::ok;
        } else if (frame.number == wire::OcallNumber::receive && !to_receive_.empty()) {
            std::ranges::copy(to_receive_.front(), buffer_.host.begin());
            frame.size = to_receive_.front().size();
            to_receive_.pop_front();
            result = wire::OcallResult::ok;
        }
        frame.result = static_cast<std::uint32_t>(result);
    }

  private:
    std::unique_ptr<Enclave> enclave_;
    SharedMemory ring_;
    SharedMemory frame_;
    SharedMemory buffer_;
    std::deque<Octets> to_receive_;
    Octets sent_;
};

class KeysTest : public testing::Test {
  protected:
    [[nodiscard]] Loaded load(const Which& which = {}) { return {directory_, which}; }
    config::TemporaryDirectory directory_;
    const Octets contents_{'r', 'u', 'l', 'e', 's'};
};

TEST_F(KeysTest, what_an_enclave_sealed_it_opens_after_a_restart) {
    const Octets blob = load().seal(SealTo::this_enclave, contents_);
    EXPECT_EQ(load().unseal(SealTo::this_enclave, blob), contents_);
    Octets changed = blob;
    changed.back() ^= 1;
    EXPECT_TRUE(load().unseal(SealTo::this_enclave, changed).empty());
}

TEST_F(KeysTest, what_is_sealed_to_an_enclave_opens_for_no_other_one_and_on_no_other_machine) {
    const Octets blob = load().seal(SealTo::this_enclave, contents_);
    EXPECT_TRUE(load({.label = "another"}).unseal(SealTo::this_enclave, blob).empty());
    EXPECT_TRUE(load({.machine = "another"}).unseal(SealTo::this_enclave, blob).empty());
    EXPECT_TRUE(load({.signing = {.debug = true}}).unseal(SealTo::this_enclave, blob).empty());
    EXPECT_EQ(load({.signer = "another"}).unseal(SealTo::this_enclave, blob), contents_);
}

TEST_F(KeysTest, what_is_sealed_to_a_signer_opens_for_its_next_version_and_for_nobody_elses) {
    const Octets blob = load().seal(SealTo::this_signer, contents_);
    const Which next{.label = "next", .signing = {.isv_svn = 2}};
    EXPECT_EQ(load(next).unseal(SealTo::this_signer, blob), contents_);
    EXPECT_TRUE(load({.signer = "another"}).unseal(SealTo::this_signer, blob).empty());
    EXPECT_TRUE(load({.signing = {.isv_prod_id = 9}}).unseal(SealTo::this_signer, blob).empty());
    const Octets newer = load(next).seal(SealTo::this_signer, contents_);
    EXPECT_TRUE(load().unseal(SealTo::this_signer, newer).empty());
}

TEST_F(KeysTest, one_enclave_verifies_what_another_one_on_its_machine_reports_to_it) {
    Loaded alice = load();
    Loaded bob = load({.label = "bob", .signer = "another", .signing = {.isv_svn = 7}});
    const auto body = alice.verify(bob.report_for(alice));
    ASSERT_TRUE(body.has_value());
    EXPECT_EQ(body->mrenclave, bob.identity().mrenclave);
    EXPECT_EQ(body->mrsigner, bob.identity().mrsigner);
    EXPECT_EQ(body->isvsvn, 7);
    EXPECT_EQ(body->report_data[63], 0x5a);
    EXPECT_TRUE(bob.verify(alice.report_for(bob)).has_value());
}

TEST_F(KeysTest, a_report_of_another_machine_is_refused) {
    Loaded here = load();
    Loaded here_too = load({.label = "too"});
    Loaded elsewhere = load({.label = "too", .machine = "another"});
    EXPECT_TRUE(here.verify(here_too.report_for(here)).has_value());
    EXPECT_FALSE(here.verify(elsewhere.report_for(here)).has_value());
}

TEST_F(KeysTest, a_report_for_another_target_is_refused) {
    Loaded alice = load();
    Loaded bob = load({.label = "bob"});
    Loaded debug = load({.signing = {.debug = true}});
    EXPECT_FALSE(alice.verify(alice.report_for(bob)).has_value());
    EXPECT_FALSE(debug.verify(bob.report_for(alice)).has_value());
}

TEST_F(KeysTest, every_flipped_bit_of_a_report_is_refused) {
    Loaded alice = load();
    const Report report = alice.report_for(alice);
    ASSERT_TRUE(alice.verify(report).has_value());
    for (std::size_t bit = 0; bit < sizeof(Report) * 8; ++bit) {
        Report changed = report;
        mutable_bytes_of(changed)[bit / 8] ^= static_cast<std::uint8_t>(1u << bit % 8);
        EXPECT_FALSE(alice.verify(changed).has_value()) << "bit " << bit;
    }
}

}  // namespace
}  // namespace sgm::sgx
