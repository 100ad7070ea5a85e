// SPDX-License-Identifier: MIT
#include "host/settings.hpp"

#include <gtest/gtest.h>

#include "config/file.hpp"
#include "config/temporary_directory.hpp"

namespace sgm::host {
namespace {

const InitialSettings kInitial{.domain = "6f1c0b4e-1d2a-4c55-9a37-0c8d5e2b7f10",
                               .enclave = "ids \"new\".elf",
                               .hypervisor = "qemu",
                               .hypervisor_socket = "hypervisor.sock",
                               .authority_url = "http://127.0.0.1:7400",
                               .remote_url = "http://127.0.0.1:7401"};

class HostSettings : public testing::Test {
  protected:
    // What load_settings says of host.toml with `from` replaced, without the file's name.
    std::string refusal(const std::string& from, const std::string& to) const {
        std::string text = config::read_file(directory_ / "host.toml").value();
        const std::size_t at = text.find(from);
        EXPECT_NE(at, std::string::npos) << from;
        const auto path = directory_.write("changed.toml", text.replace(at, from.size(), to));
        const auto settings = load_settings(path);
        return settings ? "" : settings.error().sentence.substr(path.string().size());
    }

    config::TemporaryDirectory directory_;
    config::Result<std::filesystem::path> written_ = write_settings(directory_.path(), kInitial);
};

TEST_F(HostSettings, what_init_writes_is_read_back) {
    ASSERT_TRUE(written_);
    const auto settings = load_settings(*written_);
    ASSERT_TRUE(settings) << settings.error().sentence;
    EXPECT_EQ(settings->platform, sgx::Platform::automatic);
    EXPECT_FALSE(settings->allow_software_sgx) << "production is what nobody has to ask for";
    EXPECT_EQ(settings->enclave, directory_ / kInitial.enclave);
    EXPECT_EQ(settings->sigstruct, directory_ / "ids \"new\".sig");
    EXPECT_EQ(settings->remote_url, kInitial.remote_url);
    EXPECT_EQ(settings->interval_ms, 1000u);
}

TEST_F(HostSettings, the_hypervisor_is_qemu_or_xen) {
    EXPECT_EQ(load_settings(*written_)->hypervisor, HypervisorKind::qemu);
    EXPECT_EQ(refusal("hypervisor = \"qemu\"", "hypervisor = \"xen\""), "");
    EXPECT_NE(refusal("hypervisor = \"qemu\"", "hypervisor = \"kvm\"").find("qemu or xen"),
              std::string::npos);
    InitialSettings xen = kInitial;
    xen.hypervisor = "xen";
    EXPECT_EQ(load_settings(*write_settings(directory_ / "xen", xen))->hypervisor,
              HypervisorKind::xen);
    xen.hypervisor = "kvm";
    EXPECT_FALSE(write_settings(directory_ / "kvm", xen));
}

TEST_F(HostSettings, an_existing_file_and_a_wrong_uuid_are_refused) {
    const auto again = write_settings(directory_.path(), kInitial);
    ASSERT_FALSE(again);
    EXPECT_NE(again.error().sentence.find("is not overwritten"), std::string::npos);
    InitialSettings wrong = kInitial;
    wrong.domain = "the web server";
    EXPECT_FALSE(write_settings(directory_ / "other", wrong));
}

TEST_F(HostSettings, unknown_keys_and_wrong_values_are_refused_with_their_line) {
    EXPECT_NE(refusal("interval_ms = 1000", "intervall_ms = 1").find("unknown key"),
              std::string::npos);
    EXPECT_NE(refusal("interval_ms = 1000", "interval_ms = 99").find("between 100 and 60000"),
              std::string::npos);
    EXPECT_NE(refusal("sgx = \"auto\"", "sgx = \"hard\"").find("auto, device or soft"),
              std::string::npos);
    EXPECT_NE(refusal("http://127.0.0.1:7400", "https://x").find("'authority_url' must be http"),
              std::string::npos);
    EXPECT_NE(refusal("6f1c0b4e-", "6f1c0b4e").find("'domain'"), std::string::npos);
}

}  // namespace
}  // namespace sgm::host
