// SPDX-License-Identifier: MIT
#include "host/doctor.hpp"

#include <fmt/format.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace sgm::host {
namespace {

// What an enclave with the default heap of 64 MiB locks on software SGX, its stack included.
constexpr std::size_t kSecretMemory = std::size_t{66} << 20;
constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;

Check good(std::string key, std::string title, std::string found) {
    return {.key = std::move(key),
            .title = std::move(title),
            .state = CheckState::ok,
            .found = std::move(found),
            .costs = {},
            .advice = {}};
}

// CPUID, Intel SDM vol. 3D, 37.7.2.
struct CpuSgx {
    bool intel;
    bool sgx;           // leaf 7
    bool flc;           // leaf 7
    bool sgx1;          // leaf 12H: the firmware has switched it on
    bool sgx2;          // leaf 12H
    std::uint64_t epc;  // bytes
    unsigned epc_sections;
};

CpuSgx read_cpu(const Probes& probes) {
    constexpr std::uint32_t kSgxLeaf = 0x12;
    constexpr std::uint32_t kMaxSections = 64;
    CpuSgx cpu{};
    const CpuidLeaf vendor = probes.cpuid(0, 0);
    cpu.intel = vendor.ebx == 0x756e6547 && vendor.edx == 0x49656e69 && vendor.ecx == 0x6c65746e;
    // Another vendor's leaf 12H means something else.
    if (!cpu.intel) return cpu;
    const CpuidLeaf features = probes.cpuid(7, 0);
    cpu.sgx = (features.ebx & 1u << 2) != 0;
    cpu.flc = (features.ecx & 1u << 30) != 0;
    if (!cpu.sgx) return cpu;
    const CpuidLeaf capabilities = probes.cpuid(kSgxLeaf, 0);
    cpu.sgx1 = (capabilities.eax & 1) != 0;
    cpu.sgx2 = (capabilities.eax & 2) != 0;
    for (std::uint32_t subleaf = 2; subleaf < 2 + kMaxSections; ++subleaf) {
        const CpuidLeaf section = probes.cpuid(kSgxLeaf, subleaf);
        if ((section.eax & 0xf) != 1) break;
        cpu.epc += std::uint64_t{section.edx & 0xfffff} << 32 | (section.ecx & 0xfffff000);
        ++cpu.epc_sections;
    }
    return cpu;
}

Check check_sgx(const CpuSgx& cpu) {
    if (cpu.sgx1) return good("sgx", "SGX", "on");
    Check check{.key = "sgx",
                .title = "SGX",
                .state = CheckState::missing,
                .found = cpu.sgx ? "in the CPU, but off" : "not in this CPU",
                .costs =
                    "enclaves run on software SGX only, which does not protect from this "
                    "host's root",
                .advice = "switch SGX to Enabled (not Software Enabled) in the firmware"};
    if (!cpu.intel) {
        check.found = "no Intel CPU";
        check.advice = "for production use a host with an Intel Xeon that has SGX";
    } else if (!cpu.sgx) {
        check.advice +=
            "; if it has no such setting, use a host with a Xeon that has SGX, or have "
            "this VM's hypervisor pass SGX on";
    }
    return check;
}

Check check_sgx2(const CpuSgx& cpu) {
    if (cpu.sgx2) return good("sgx2", "SGX2", "yes");
    return {.key = "sgx2",
            .title = "SGX2",
            .state = CheckState::optional,
            .found = "no",
            .costs = "an enclave's heap cannot grow to its heap_max_mib: heap_mib is all there is",
            .advice = "sign enclaves for this host with a heap_mib that suffices"};
}

Check check_launch_control(const CpuSgx& cpu) {
    if (cpu.flc) return good("flc", "Flexible Launch Control", "yes");
    return {.key = "flc",
            .title = "Flexible Launch Control",
            .state = CheckState::missing,
            .found = "no",
            .costs =
                "Linux offers no /dev/sgx_enclave: the CPU launches only what its vendor's key "
                "allows",
            .advice = cpu.sgx ? "unlock launch control in the firmware (SGX Launch Control Policy: "
                                "Unlocked)"
                              : "see SGX"};
}

Check check_epc(const CpuSgx& cpu) {
    if (cpu.epc != 0)
        return good("epc", "enclave memory (EPC)",
                    fmt::format("{} MiB in {} section{}", cpu.epc / kMiB, cpu.epc_sections,
                                cpu.epc_sections == 1 ? "" : "s"));
    return {.key = "epc",
            .title = "enclave memory (EPC)",
            .state = CheckState::missing,
            .found = "none",
            .costs = "no enclave can be loaded",
            .advice = cpu.sgx ? "reserve memory for SGX in the firmware (PRMRR size)" : "see SGX"};
}

Check check_kernel(const Probes& probes) {
    const std::string release = probes.kernel_release();
    if (probes.vdso_enters_enclaves())
        return good("kernel", "kernel with CONFIG_X86_SGX", "yes, Linux " + release);
    const auto config = probes.file("/boot/config-" + release);
    const bool configured = config && config->find("CONFIG_X86_SGX=y") != std::string::npos;
    return {.key = "kernel",
            .title = "kernel with CONFIG_X86_SGX",
            .state = CheckState::missing,
            .found = configured ? "configured, but the vDSO has no way into enclaves"
                                : "no, Linux " + release,
            .costs = "the kernel cannot load or enter enclaves",
            .advice = configured
                          ? "boot without vdso=0"
                          : "boot a kernel of 5.11 or later with CONFIG_X86_SGX=y, as Debian "
                            "and Ubuntu ship it"};
}

Check check_enclave_node(const Probes& probes) {
    const std::string path = "/dev/sgx_enclave";
    const Node node = probes.node(path);
    if (node.open_error == 0) return good("sgx_enclave", path, node.owner);
    Check check{.key = "sgx_enclave",
                .title = path,
                .state = CheckState::missing,
                .found = node.exists
                             ? fmt::format("{}: {}", node.owner, std::strerror(node.open_error))
                             : "not there",
                .costs = "real SGX cannot be used by this user",
                .advice =
                    "it appears when SGX, launch control and the kernel option are all there; "
                    "in a container pass `--device /dev/sgx_enclave`"};
    if (node.open_error == EACCES)
        check.advice =
            "add this user to the group that owns it (`usermod -aG GROUP USER`) and log "
            "in again";
    return check;
}

Check check_provision_node(const Probes& probes) {
    const std::string path = "/dev/sgx_provision";
    const Node node = probes.node(path);
    if (node.open_error == 0) return good("sgx_provision", path, node.owner);
    return {.key = "sgx_provision",
            .title = path,
            .state = CheckState::optional,
            .found = node.exists ? node.owner + ", not for this user" : "not there",
            .costs =
                "nothing for SGmonitor's own enclaves: only quoting enclaves need the "
                "provision key",
            .advice = "let AESM's user alone have it (group sgx_prv)"};
}

Check check_aesm(const Probes& probes) {
    const std::string path = "/var/run/aesmd/aesm.socket";
    const Node node = probes.node(path);
    if (node.open_error == 0) return good("aesm", "AESM", path);
    return {.key = "aesm",
            .title = "AESM",
            .state = CheckState::optional,
            .found = node.exists ? path + ": " + std::strerror(node.open_error) : "no " + path,
            .costs = "no quotes of real SGX; this version cannot ask for them yet either",
            .advice = "install aesmd with the DCAP quote provider once quotes are supported"};
}

Check check_fsgsbase(const Probes& probes) {
    if (probes.fsgsbase()) return good("fsgsbase", "FSGSBASE", "yes");
    return {.key = "fsgsbase",
            .title = "FSGSBASE",
            .state = CheckState::missing,
            .found = "no",
            .costs = "software SGX cannot run",
            .advice =
                "boot Linux 5.9 or later, without nofsgsbase, on a CPU since Ivy Bridge or "
                "Zen"};
}

Check check_secret_memory(const Probes& probes) {
    const int error = probes.try_memfd_secret(4096);
    if (error == 0) return good("memfd_secret", "memfd_secret", "works");
    return {.key = "memfd_secret",
            .title = "memfd_secret",
            .state = CheckState::missing,
            .found = std::strerror(error),
            .costs =
                "root reads a software enclave's data with ordinary tools; real SGX does not "
                "need it",
            .advice =
                "Linux 5.14 or later with CONFIG_SECRETMEM, before 6.5 booted with "
                "secretmem.enable=1"};
}

Check check_memlock(const Probes& probes) {
    const std::uint64_t limit = probes.memlock_limit();
    const std::string shown =
        limit == ~std::uint64_t{0} ? "unlimited" : fmt::format("{} MiB", limit / kMiB);
    if (limit >= kSecretMemory) return good("memlock", "locked memory (RLIMIT_MEMLOCK)", shown);
    if (probes.try_memfd_secret(kSecretMemory) == 0)
        return good("memlock", "locked memory (RLIMIT_MEMLOCK)", shown + ", but not for this user");
    return {
        .key = "memlock",
        .title = "locked memory (RLIMIT_MEMLOCK)",
        .state = CheckState::missing,
        .found = shown,
        .costs = fmt::format("a software enclave with a heap of 64 MiB needs {} MiB; the rest of "
                             "its data lies in ordinary memory",
                             kSecretMemory / kMiB),
        .advice = "raise it: `LimitMEMLOCK=` of the service, or /etc/security/limits.conf"};
}

Check check_huge_pages(const Probes& probes) {
    const auto transparent = probes.file("/sys/kernel/mm/transparent_hugepage/enabled");
    const bool there = transparent && transparent->find("[never]") == std::string::npos;
    if (there) return good("huge_pages", "huge pages", "transparent");
    return {.key = "huge_pages",
            .title = "huge pages",
            .state = CheckState::optional,
            .found = transparent ? "never" : "not in this kernel",
            .costs = "reading a large guest's memory takes more page-table walks",
            .advice = "write `madvise` to /sys/kernel/mm/transparent_hugepage/enabled"};
}

Check check_landlock(const Probes& probes) {
    const int abi = probes.landlock_abi();
    if (abi > 0) return good("landlock", "Landlock", fmt::format("ABI {}", abi));
    return {.key = "landlock",
            .title = "Landlock",
            .state = CheckState::optional,
            .found = "no",
            .costs = "a software enclave's process is held by its system-call filter alone",
            .advice = "Linux 5.13 or later, with landlock in the list of lsm="};
}

Check check_seccomp(const Probes& probes) {
    const auto actions = probes.file("/proc/sys/kernel/seccomp/actions_avail");
    if (actions && actions->find("trap") != std::string::npos)
        return good("seccomp", "seccomp filters", "yes");
    return {.key = "seccomp",
            .title = "seccomp filters",
            .state = actions ? CheckState::missing : CheckState::unknown,
            .found = actions ? "no SECCOMP_RET_TRAP" : "/proc/sys/kernel/seccomp is not there",
            .costs = "software SGX does not start without them",
            .advice = "a kernel with CONFIG_SECCOMP_FILTER=y, and /proc mounted"};
}

Check check_user_namespaces(const Probes& probes) {
    const int error = probes.try_user_namespace();
    if (error == 0) return good("user_namespaces", "user namespaces", "yes");
    return {.key = "user_namespaces",
            .title = "user namespaces",
            .state = CheckState::optional,
            .found = std::strerror(error),
            .costs =
                "a software enclave's process keeps this host's namespaces, though no system "
                "call to use them",
            .advice =
                "sysctl user.max_user_namespaces, and kernel.unprivileged_userns_clone on "
                "Debian"};
}

Check check_cores(const Probes& probes) {
    const unsigned cores = probes.cores();
    if (cores >= 2) return good("cores", "cores", std::to_string(cores));
    return {.key = "cores",
            .title = "cores",
            .state = CheckState::missing,
            .found = std::to_string(cores),
            .costs =
                "enclave and hypervisor cannot run side by side: each request is two context "
                "switches",
            .advice = "give this host or VM a second core, or widen the affinity"};
}

std::string_view text(CheckState state) {
    switch (state) {
        case CheckState::ok: return "ok";
        case CheckState::missing: return "missing";
        case CheckState::optional: return "optional";
        case CheckState::unknown: return "unknown";
    }
    return "unknown";
}

std::string_view text(std::optional<sgx::Platform> platform) {
    if (!platform) return "none";
    return *platform == sgx::Platform::device ? "device" : "soft";
}

const Check& find(const Diagnosis& diagnosis, std::string_view key) {
    for (const Check& check : diagnosis.checks)
        if (check.key == key) return check;
    return diagnosis.checks.front();
}

// As loading will find it: the node opens and the vDSO has the way in.
void conclude(Diagnosis& diagnosis) {
    const auto is_ok = [&](std::string_view key) {
        return find(diagnosis, key).state == CheckState::ok;
    };
    if (is_ok("sgx_enclave") && is_ok("kernel")) {
        diagnosis.platform = sgx::Platform::device;
        diagnosis.reason = "enclaves run on real SGX here";
        return;
    }
    if (!is_ok("fsgsbase") || find(diagnosis, "seccomp").state == CheckState::missing) {
        diagnosis.reason = "no enclave can run here, not even on software SGX";
        return;
    }
    diagnosis.platform = sgx::Platform::software;
    // The first thing missing on the way to the device is why.
    std::string_view why = "/dev/sgx_enclave";
    for (const std::string_view key : {"sgx", "flc", "epc", "kernel", "sgx_enclave"}) {
        if (is_ok(key)) continue;
        why = find(diagnosis, key).title;
        break;
    }
    diagnosis.reason =
        fmt::format("enclaves run on software SGX here, for trials only, because of: {}", why);
}

}  // namespace

Diagnosis diagnose(const Probes& probes) {
    const CpuSgx cpu = read_cpu(probes);
    Diagnosis diagnosis{
        .checks = {check_sgx(cpu), check_sgx2(cpu), check_launch_control(cpu), check_epc(cpu),
                   check_kernel(probes), check_enclave_node(probes), check_provision_node(probes),
                   check_aesm(probes), check_fsgsbase(probes), check_secret_memory(probes),
                   check_memlock(probes), check_seccomp(probes), check_landlock(probes),
                   check_user_namespaces(probes), check_huge_pages(probes), check_cores(probes)},
        .platform = std::nullopt,
        .reason = {}};
    conclude(diagnosis);
    return diagnosis;
}

std::string render(const Diagnosis& diagnosis, cli::Format format) {
    if (format == cli::Format::json) {
        cli::Table checks{{{"check", ""}, {"state", ""}, {"found", ""}, {"costs", ""}, {"do", ""}}};
        for (const Check& check : diagnosis.checks)
            checks.add({check.key, std::string{text(check.state)}, check.found, check.costs,
                        check.advice});
        cli::Record record;
        record.add("platform", "", std::string{text(diagnosis.platform)});
        record.add("reason", "", diagnosis.reason);
        record.add("checks", std::move(checks));
        return record.render(format);
    }
    cli::Table table{{{"check", "WHAT"}, {"state", "STATE"}, {"found", "FOUND"}}};
    std::string advice;
    for (const Check& check : diagnosis.checks) {
        table.add({check.title, std::string{text(check.state)}, check.found});
        if (check.state != CheckState::ok)
            advice += fmt::format("\n{}\n  costs: {}\n  do:    {}\n", check.title, check.costs,
                                  check.advice);
    }
    return fmt::format("{}{}\n{}: {}\n", table.render(format), advice, text(diagnosis.platform),
                       diagnosis.reason);
}

}  // namespace sgm::host
