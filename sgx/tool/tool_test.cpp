// SPDX-License-Identifier: MIT
// sgmonitor-enclave as its user meets it: exit status, and one sentence when something is wrong.
#include <gtest/gtest.h>
#include <stdio.h>
#include <sys/stat.h>

#include <algorithm>
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
    EXPECT_EQ(shown["debug"], false);
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
    EXPECT_EQ(settings->heap_size, defaults.heap_size);
    EXPECT_EQ(settings->stack_size, defaults.stack_size);
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

}  // namespace
}  // namespace sgm::sgx::tool
