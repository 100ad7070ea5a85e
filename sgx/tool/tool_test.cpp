// SPDX-License-Identifier: MIT
// sgmonitor-enclave as its user meets it: exit status, and one sentence when something is wrong.
#include <gtest/gtest.h>
#include <stdio.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "config/key_file.hpp"
#include "config/temporary_directory.hpp"
#include "sgx/image/elf_fixture.hpp"
#include "sgx/tool/settings.hpp"

namespace sgm::sgx::tool {
namespace {

struct Outcome {
    int status;
    std::string output;  // both streams
};

class ToolTest : public testing::Test {
  protected:
    ToolTest() {
        const ElfFixture elf;
        linked_ = directory_.write("linked.elf", {elf.bytes.begin(), elf.bytes.end()});
        EXPECT_TRUE(config::create_signing_key_pair(directory_ / "authority").has_value());
    }

    [[nodiscard]] Outcome run(const std::string& arguments) const {
        const std::string command = "cd '" + directory_.path().string() + "' && '" +
                                    SGM_ENCLAVE_TOOL + "' " + arguments + " 2>&1";
        FILE* pipe = ::popen(command.c_str(), "r");
        Outcome outcome{};
        for (int character = 0; (character = ::fgetc(pipe)) != EOF;)
            outcome.output.push_back(static_cast<char>(character));
        outcome.status = ::pclose(pipe);
        return outcome;
    }
    [[nodiscard]] Outcome sign(const std::string& more = "--new-key") const {
        return run(
            "sign --enclave linked.elf --authority-key authority.pub --key signer.pem "
            "--out signed " +
            more);
    }
    void expect_refused(const Outcome& outcome, std::string_view reason) const {
        EXPECT_NE(outcome.status, 0);
        EXPECT_TRUE(outcome.output.starts_with("error: ")) << outcome.output;
        EXPECT_NE(outcome.output.find(reason), std::string::npos) << outcome.output;
        EXPECT_EQ(std::count(outcome.output.begin(), outcome.output.end(), '\n'), 1)
            << outcome.output;
    }

    config::TemporaryDirectory directory_;
    std::filesystem::path linked_;
};

TEST_F(ToolTest, what_it_signs_it_verifies_and_describes) {
    const Outcome sign_outcome = sign("--new-key --label hello --json");
    ASSERT_EQ(sign_outcome.status, 0) << sign_outcome.output;
    const auto said = nlohmann::json::parse(sign_outcome.output);
    EXPECT_EQ(run("verify --enclave signed.elf").status, 0);
    const auto shown = nlohmann::json::parse(run("inspect --enclave signed.elf --json").output);
    for (const char* key : {"mrenclave", "mrsigner", "label", "authority_key", "heap_size"})
        EXPECT_EQ(shown[key], said[key]) << key;
    EXPECT_EQ(shown["label"], "hello");
    EXPECT_EQ(shown["kind"], "production");
    // Anyone with the linked file, the key and the label comes to the same measurement.
    const std::string mrenclave = said["mrenclave"].get<std::string>() + "\n";
    EXPECT_EQ(run("measure --enclave signed.elf").output, mrenclave);
    EXPECT_EQ(
        run("measure --enclave linked.elf --authority-key authority.pub --label hello").output,
        mrenclave);
    EXPECT_NE(run("measure --enclave linked.elf --authority-key authority.pub").output, mrenclave);
}

TEST_F(ToolTest, the_settings_that_it_writes_are_the_defaults_that_it_uses) {
    ASSERT_EQ(run("init --dir .").status, 0);
    const auto settings = load_settings(directory_ / "enclave.toml");
    ASSERT_TRUE(settings.has_value()) << settings.error().sentence;
    const Settings defaults;
    EXPECT_EQ(settings->image.heap_size, defaults.image.heap_size);
    EXPECT_EQ(settings->image.stack_size, defaults.image.stack_size);
    EXPECT_EQ(settings->image.thread_count, defaults.image.thread_count);
    EXPECT_EQ(settings->image.label, defaults.image.label);
    EXPECT_EQ(settings->has_authority, defaults.has_authority);
    EXPECT_EQ(settings->signing.isv_prod_id, defaults.signing.isv_prod_id);
    EXPECT_EQ(settings->signing.isv_svn, defaults.signing.isv_svn);
    EXPECT_EQ(settings->signing.debug, defaults.signing.debug);
    expect_refused(run("init --dir ."), "enclave.toml");
}

TEST_F(ToolTest, wrong_settings_are_refused_with_their_line) {
    directory_.write("bad.toml", "heap_mib = 8\nstack_kib = 65\n");
    expect_refused(sign("--config bad.toml --new-key"), "bad.toml:2: ");
    directory_.write("bad.toml", "heap_mb = 8\n");
    expect_refused(sign("--config bad.toml --new-key"), "bad.toml:1: ");
    directory_.write("bad.toml", "heap_mib = 0\n");
    expect_refused(sign("--config bad.toml --new-key"), "bad.toml:1: ");
}

TEST_F(ToolTest, broken_files_get_one_sentence) {
    ASSERT_EQ(sign().status, 0);
    std::filesystem::resize_file(directory_ / "signed.elf", 0x2800);
    expect_refused(run("verify --enclave signed.elf"), "cut off");
    std::filesystem::resize_file(directory_ / "signed.sig", 100);
    ASSERT_EQ(sign("").status, 0);
    std::filesystem::resize_file(directory_ / "signed.sig", 100);
    expect_refused(run("verify --enclave signed.elf"), "1808 bytes");
    expect_refused(run("verify --enclave linked.elf"), "not signed yet");
    expect_refused(run("measure --enclave nowhere.elf"), "No such file");
    expect_refused(run("measure --enclave linked.elf --authority-key nowhere.pub"), "nowhere.pub");
}

TEST_F(ToolTest, the_signature_of_another_enclave_is_refused) {
    ASSERT_EQ(sign().status, 0);
    std::filesystem::rename(directory_ / "signed.sig", directory_ / "first.sig");
    ASSERT_EQ(sign("--label other").status, 0);
    expect_refused(run("verify --enclave signed.elf --sigstruct first.sig"),
                   "SIGSTRUCT.ENCLAVEHASH");
}

TEST_F(ToolTest, a_signers_key_is_made_only_when_asked_and_kept_private) {
    expect_refused(sign(""), "signer.pem");
    ASSERT_EQ(sign("--new-key").status, 0);
    struct stat status{};
    ASSERT_EQ(::stat((directory_ / "signer.pem").c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777, 0600u);
    const auto first = nlohmann::json::parse(run("inspect --enclave signed.elf --json").output);
    ASSERT_EQ(sign("--new-key").status, 0);  // it is there: used, not replaced
    const auto second = nlohmann::json::parse(run("inspect --enclave signed.elf --json").output);
    EXPECT_EQ(first["mrsigner"], second["mrsigner"]);
    ::chmod((directory_ / "signer.pem").c_str(), 0644);
    expect_refused(sign(""), "chmod 600");
}

TEST_F(ToolTest, one_file_describes_an_enclave) {
    directory_.write("enclave.toml",
                     "heap_mib = 2\nstack_kib = 64\nthreads = 3\nproduct_id = 7\n"
                     "security_version = 9\nlabel = \"blue\"\nauthority_key = \"authority.pub\"\n");
    const Outcome outcome = run(
        "sign --enclave linked.elf --config enclave.toml --key signer.pem --new-key --out signed "
        "--json");
    ASSERT_EQ(outcome.status, 0) << outcome.output;
    const auto shown = nlohmann::json::parse(run("inspect --enclave signed.elf --json").output);
    EXPECT_EQ(shown["heap_size"], 2 << 20);
    EXPECT_EQ(shown["stack_size"], 64 << 10);
    EXPECT_EQ(shown["threads"], 3);
    EXPECT_EQ(shown["product_id"], 7);
    EXPECT_EQ(shown["security_version"], 9);
    EXPECT_EQ(shown["label"], "blue");
    EXPECT_EQ(shown["kind"], "production");
    EXPECT_EQ(shown["xfrm"], "0x7");
    EXPECT_EQ(shown["optional_xfrm"], "0xe0");
    EXPECT_EQ(shown["miscselect"], "0x0");
    // Three segments, the heap, and three regions for each thread.
    ASSERT_EQ(shown["page_map"].size(), 13u);
    EXPECT_EQ(shown["page_map"][1]["region"], "code");
    EXPECT_EQ(shown["page_map"][1]["permissions"], "r-x");
    EXPECT_EQ(shown["page_map"][3]["measured"], false) << "the heap";
    EXPECT_EQ(shown["tcb_size"], 0x2000 + 0x800 + 16);
    expect_refused(run("sign --enclave linked.elf --key signer.pem --out signed"), "authority");
}

TEST_F(ToolTest, a_key_that_lives_elsewhere_signs_in_two_steps) {
    const Outcome begun = run(
        "sign --enclave linked.elf --authority-key authority.pub --digest-out digest --out signed");
    ASSERT_EQ(begun.status, 0) << begun.output;
    EXPECT_EQ(std::filesystem::file_size(directory_ / "digest"), 32u);
    // As the first step tells its user to, with any RSA-3072 key of exponent 3.
    const std::string elsewhere =
        "cd '" + directory_.path().string() +
        "' && openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:3072 "
        "-pkeyopt rsa_keygen_pubexp:3 -out KEY.pem && "
        "openssl pkeyutl -sign -inkey KEY.pem -pkeyopt digest:sha256 -in digest -out digest.sig && "
        "openssl pkey -in KEY.pem -pubout -out KEY.pub.pem";
    ASSERT_NE(begun.output.find("openssl pkeyutl -sign -inkey KEY.pem -pkeyopt digest:sha256"),
              std::string::npos);
    ASSERT_EQ(std::system(elsewhere.c_str()), 0);

    expect_refused(run("sign --signature-in digest --public-key KEY.pub.pem --out signed"),
                   "384 bytes");
    expect_refused(run("sign --signature-in digest.sig --public-key authority.pub --out signed"),
                   "RSA public key");
    EXPECT_FALSE(std::filesystem::exists(directory_ / "signed.sig"));
    const Outcome finished =
        run("sign --signature-in digest.sig --public-key KEY.pub.pem --out signed --json");
    ASSERT_EQ(finished.status, 0) << finished.output;
    EXPECT_EQ(run("verify --enclave signed.elf").status, 0);
    EXPECT_FALSE(std::filesystem::exists(directory_ / "signed.unsigned"));
    expect_refused(run("sign --signature-in digest.sig --public-key KEY.pub.pem --out signed"),
                   "--digest-out");
}

TEST_F(ToolTest, a_signature_of_anything_else_does_not_finish) {
    ASSERT_EQ(run("sign --enclave linked.elf --authority-key authority.pub --digest-out digest "
                  "--out signed")
                  .status,
              0);
    const std::string elsewhere =
        "cd '" + directory_.path().string() +
        "' && openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:3072 "
        "-pkeyopt rsa_keygen_pubexp:3 -out KEY.pem && openssl pkey -in KEY.pem -pubout -out "
        "KEY.pub.pem && head -c 32 /dev/zero >other && "
        "openssl pkeyutl -sign -inkey KEY.pem -pkeyopt digest:sha256 -in other -out other.sig && "
        "openssl pkeyutl -sign -inkey KEY.pem -pkeyopt digest:sha256 -in digest -out digest.sig";
    ASSERT_EQ(std::system(elsewhere.c_str()), 0);
    expect_refused(run("sign --signature-in other.sig --public-key KEY.pub.pem --out signed"),
                   "SIGSTRUCT.SIGNATURE");
    // The enclave was exchanged between the two steps.
    std::filesystem::copy_file(directory_ / "signed.unsigned", directory_ / "first.unsigned");
    ASSERT_EQ(run("sign --enclave linked.elf --authority-key authority.pub --label other "
                  "--digest-out digest2 --out signed")
                  .status,
              0);
    std::filesystem::rename(directory_ / "first.unsigned", directory_ / "signed.unsigned");
    expect_refused(run("sign --signature-in digest.sig --public-key KEY.pub.pem --out signed"),
                   "SIGSTRUCT.ENCLAVEHASH");
    EXPECT_FALSE(std::filesystem::exists(directory_ / "signed.sig"));
}

TEST_F(ToolTest, ways_of_signing_are_not_mixed) {
    expect_refused(run("sign --enclave linked.elf --authority-key authority.pub --out signed"),
                   "say how to sign");
    expect_refused(sign("--new-key --digest-out digest"), "say how to sign");
    expect_refused(run("sign --signature-in x --out signed"), "--public-key");
    expect_refused(run("sign --authority-key authority.pub --key signer.pem --out signed"),
                   "--enclave");
}

TEST_F(ToolTest, a_debug_enclave_is_visibly_another_thing) {
    directory_.write("debug.toml", "debug = true\n");
    const Outcome outcome = sign("--config debug.toml --new-key");
    ASSERT_EQ(outcome.status, 0) << outcome.output;
    EXPECT_NE(outcome.output.find("DEBUG"), std::string::npos);
    EXPECT_NE(outcome.output.find("warning: "), std::string::npos);
    EXPECT_FALSE(std::filesystem::exists(directory_ / "signed.sig"));
    expect_refused(run("verify --enclave signed.elf"), "signed.sig");
    const Outcome verified = run("verify --enclave signed.elf --sigstruct signed.debug.sig");
    EXPECT_EQ(verified.status, 0);
    EXPECT_NE(verified.output.find("warning: "), std::string::npos);
}

TEST_F(ToolTest, the_sha256_of_the_measured_stream_is_mrenclave) {
    ASSERT_EQ(sign().status, 0);
    const Outcome outcome = run("measure --enclave signed.elf --sgxs signed.sgxs");
    ASSERT_EQ(outcome.status, 0) << outcome.output;
    const std::string command =
        "sha256sum '" + (directory_ / "signed.sgxs").string() + "' | cut -d' ' -f1";
    FILE* pipe = ::popen(command.c_str(), "r");
    std::array<char, 80> digest{};
    ASSERT_NE(::fgets(digest.data(), digest.size(), pipe), nullptr);
    ::pclose(pipe);
    EXPECT_EQ(outcome.output, digest.data());
}

TEST_F(ToolTest, build_info_tells_what_was_linked) {
    const auto linked = nlohmann::json::parse(run("build-info --enclave linked.elf --json").output);
    EXPECT_EQ(linked["signed"], false);
    EXPECT_EQ(linked["code_size"], 0x800);
    EXPECT_EQ(linked["tcb_size"], 0x2000 + 0x800 + 16);
    EXPECT_EQ(linked["segments"].size(), 3u);
    ASSERT_EQ(sign().status, 0);
    const auto prepared =
        nlohmann::json::parse(run("build-info --enclave signed.elf --json").output);
    EXPECT_EQ(prepared["signed"], true);
    expect_refused(run("build-info --enclave authority.pub"), "refused as an enclave");
}

}  // namespace
}  // namespace sgm::sgx::tool
