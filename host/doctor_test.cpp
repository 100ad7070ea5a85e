// SPDX-License-Identifier: MIT
#include "host/doctor.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <nlohmann/json.hpp>

namespace sgm::host {
namespace {

// A Xeon with SGX2, set up as the documentation says; tests take away from it.
class Machine final : public Probes {
  public:
    Machine() {
        leaves[{0, 0}] = {0x20, 0x756e6547, 0x6c65746e, 0x49656e69};  // GenuineIntel
        leaves[{7, 0}] = {0, 1u << 2, 1u << 30, 0};
        leaves[{0x12, 0}] = {3, 1, 0, 0x381f};
        leaves[{0x12, 2}] = {0x70200001, 0, 0x80000001, 0};  // 2 GiB
        leaves[{0x12, 3}] = {1, 0x20, 0x1, 1};               // 4 GiB, above 4 GiB
    }

    CpuidLeaf cpuid(std::uint32_t leaf, std::uint32_t subleaf) const override {
        const auto found = leaves.find({leaf, subleaf});
        return found == leaves.end() ? CpuidLeaf{} : found->second;
    }
    Node node(const std::string& path) const override {
        const auto found = nodes.find(path);
        return found == nodes.end() ? Node{false, ENOENT, {}} : found->second;
    }
    std::optional<std::string> file(const std::string& path) const override {
        const auto found = files.find(path);
        if (found == files.end()) return std::nullopt;
        return found->second;
    }
    std::string kernel_release() const override { return "6.1.0-test"; }
    bool vdso_enters_enclaves() const override { return vdso; }
    bool fsgsbase() const override { return has_fsgsbase; }
    int try_memfd_secret(std::size_t size) const override {
        return secret_error != 0 ? secret_error : size > memlock ? EAGAIN : 0;
    }
    int try_user_namespace() const override { return namespace_error; }
    int landlock_abi() const override { return landlock; }
    std::uint64_t memlock_limit() const override { return memlock; }
    unsigned cores() const override { return core_count; }

    std::map<std::pair<std::uint32_t, std::uint32_t>, CpuidLeaf> leaves;
    std::map<std::string, Node> nodes = {{"/dev/sgx_enclave", {true, 0, "root:sgx 0660"}},
                                         {"/dev/sgx_provision", {true, 0, "root:sgx_prv 0660"}},
                                         {"/var/run/aesmd/aesm.socket", {true, 0, "aesmd:aesmd"}}};
    std::map<std::string, std::string> files = {
        {"/sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never"},
        {"/proc/sys/kernel/seccomp/actions_avail", "kill_process trap errno allow"}};
    bool vdso = true;
    bool has_fsgsbase = true;
    int secret_error = 0;
    int namespace_error = 0;
    int landlock = 4;
    std::uint64_t memlock = std::uint64_t{1} << 30;
    unsigned core_count = 8;
};

Check check_of(const Diagnosis& diagnosis, std::string_view key) {
    return *std::ranges::find(diagnosis.checks, key, &Check::key);
}

class Doctor : public testing::Test {
  protected:
    // Of the machine as it is now: the check, which must not be fine, and the platform.
    Check complaint(std::string_view key) {
        diagnosis_ = diagnose(machine_);
        const Check check = check_of(diagnosis_, key);
        EXPECT_NE(check.state, CheckState::ok);
        EXPECT_FALSE(check.costs.empty());
        EXPECT_FALSE(check.advice.empty());
        return check;
    }
    Machine machine_;
    Diagnosis diagnosis_;
};

TEST_F(Doctor, a_xeon_with_sgx2_runs_on_the_device_and_nothing_is_missing) {
    diagnosis_ = diagnose(machine_);
    EXPECT_EQ(diagnosis_.platform, sgx::Platform::device);
    for (const Check& check : diagnosis_.checks)
        EXPECT_EQ(check.state, CheckState::ok) << check.key << ": " << check.found;
    EXPECT_EQ(check_of(diagnosis_, "epc").found, "6144 MiB in 2 sections");
}

TEST_F(Doctor, without_launch_control_it_is_the_firmware_that_has_to_be_changed) {
    machine_.leaves[{7, 0}].ecx = 0;
    machine_.nodes.erase("/dev/sgx_enclave");
    EXPECT_NE(complaint("flc").advice.find("firmware"), std::string::npos);
    EXPECT_EQ(diagnosis_.platform, sgx::Platform::software);
    EXPECT_NE(diagnosis_.reason.find("Flexible Launch Control"), std::string::npos);
}

TEST_F(Doctor, sgx_that_the_firmware_keeps_off_is_told_from_a_cpu_without) {
    machine_.leaves[{0x12, 0}] = {};
    machine_.leaves.erase({0x12, 2});
    machine_.nodes.clear();
    EXPECT_EQ(complaint("sgx").found, "in the CPU, but off");
    EXPECT_NE(complaint("epc").advice.find("PRMRR"), std::string::npos);
    machine_.leaves[{7, 0}] = {};
    EXPECT_EQ(complaint("sgx").found, "not in this CPU");
}

TEST_F(Doctor, a_node_without_permission_names_its_group) {
    machine_.nodes["/dev/sgx_enclave"].open_error = EACCES;
    const Check check = complaint("sgx_enclave");
    EXPECT_NE(check.found.find("root:sgx 0660"), std::string::npos);
    EXPECT_NE(check.advice.find("usermod"), std::string::npos);
    EXPECT_EQ(diagnosis_.platform, sgx::Platform::software);
}

TEST_F(Doctor, an_old_kernel_has_no_node_and_no_way_in) {
    machine_.vdso = false;
    machine_.nodes.clear();
    EXPECT_NE(complaint("kernel").advice.find("CONFIG_X86_SGX=y"), std::string::npos);
    machine_.files["/boot/config-6.1.0-test"] = "CONFIG_X86_SGX=y\n";
    EXPECT_NE(complaint("kernel").advice.find("vdso=0"), std::string::npos);
}

TEST_F(Doctor, an_amd_machine_runs_software_sgx_and_its_leaf_12h_is_not_believed) {
    machine_.leaves[{0, 0}] = {0x20, 0x68747541, 0x444d4163, 0x69746e65};  // AuthenticAMD
    machine_.nodes.clear();
    machine_.vdso = false;
    EXPECT_EQ(complaint("sgx").found, "no Intel CPU");
    EXPECT_EQ(complaint("epc").found, "none");
    EXPECT_EQ(diagnosis_.platform, sgx::Platform::software);
}

TEST_F(Doctor, what_software_sgx_would_lack_is_told_with_its_cost) {
    machine_.secret_error = ENOSYS;
    EXPECT_NE(complaint("memfd_secret").costs.find("root reads"), std::string::npos);
    machine_.secret_error = 0;
    machine_.memlock = std::uint64_t{8} << 20;
    EXPECT_EQ(complaint("memlock").found, "8 MiB");
    machine_.landlock = 0;
    EXPECT_EQ(complaint("landlock").state, CheckState::optional);
    machine_.namespace_error = EPERM;
    EXPECT_EQ(complaint("user_namespaces").found, "Operation not permitted");
    machine_.core_count = 1;
    EXPECT_EQ(complaint("cores").state, CheckState::missing);
    machine_.files["/sys/kernel/mm/transparent_hugepage/enabled"] = "always madvise [never]";
    EXPECT_EQ(complaint("huge_pages").found, "never");
}

TEST_F(Doctor, a_machine_that_can_run_nothing_is_told_so) {
    machine_.nodes.clear();
    machine_.has_fsgsbase = false;
    EXPECT_EQ(complaint("fsgsbase").state, CheckState::missing);
    EXPECT_EQ(diagnosis_.platform, std::nullopt);
    EXPECT_NE(diagnosis_.reason.find("no enclave can run"), std::string::npos);
}

TEST_F(Doctor, people_get_a_table_and_advice_and_programs_the_same_as_json) {
    machine_.secret_error = ENOSYS;
    diagnosis_ = diagnose(machine_);
    const std::string text = render(diagnosis_, cli::Format::text);
    EXPECT_NE(text.find("WHAT "), std::string::npos);
    EXPECT_NE(text.find("\nmemfd_secret\n  costs: "), std::string::npos) << text;
    EXPECT_TRUE(text.ends_with("device: enclaves run on real SGX here\n")) << text;
    const auto json = nlohmann::json::parse(render(diagnosis_, cli::Format::json));
    EXPECT_EQ(json["platform"], "device");
    ASSERT_EQ(json["checks"].size(), diagnosis_.checks.size());
    EXPECT_EQ(json["checks"][9]["check"], "memfd_secret");
    EXPECT_EQ(json["checks"][9]["state"], "missing");
}

TEST(ThisMachine, every_probe_answers) {
    const auto machine = this_machine();
    const Diagnosis diagnosis = diagnose(*machine);
    EXPECT_FALSE(diagnosis.reason.empty());
    EXPECT_NE(machine->kernel_release(), "");
    EXPECT_GE(machine->cores(), 1u);
    EXPECT_TRUE(machine->node("/dev/null").exists);
    EXPECT_EQ(machine->node("/dev/null").open_error, 0);
    EXPECT_EQ(machine->node("/no/such/node").open_error, ENOENT);
}

}  // namespace
}  // namespace sgm::host
