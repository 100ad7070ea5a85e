// SPDX-License-Identifier: MIT
#include "hypervisor/qemu/commands.hpp"

#include <errno.h>
#include <fcntl.h>
#include <fmt/core.h>

#include <cstring>

#include "cli/output.hpp"
#include "config/text.hpp"
#include "hypervisor/qemu/control.hpp"
#include "hypervisor/qemu/discover.hpp"
#include "hypervisor/qemu/settings.hpp"

namespace sgm::qemu {
namespace {

std::unexpected<config::Error> failed(std::string sentence) {
    return std::unexpected{config::Error{std::move(sentence)}};
}

config::Result<nlohmann::json> ask(const std::filesystem::path& config, const nlohmann::json& call,
                                   std::span<const int> descriptors = {}) {
    const auto settings = load_settings(config);
    if (!settings) return std::unexpected{settings.error()};
    return ask_control(settings->control, call, descriptors);
}

config::Result<std::string> uuid_from(Qmp& qmp, const AttachOptions& options, Deadline deadline) {
    if (!options.domain.empty()) {
        if (config::parse_uuid(options.domain)) return options.domain;
        return failed("--domain must be a UUID such as 6f1c0b4e-1d2a-4c55-9a37-0c8d5e2b7f10");
    }
    const auto reply = qmp.execute("query-uuid", {}, deadline);
    if (reply && reply->is_object() && reply->contains("UUID") && (*reply)["UUID"].is_string()) {
        std::string text = (*reply)["UUID"];
        if (const auto uuid = config::parse_uuid(text); uuid && *uuid != wire::Uuid{}) return text;
    }
    return failed("QEMU was given no -uuid: name the VM with --domain");
}

config::Result<std::vector<FoundMemory>> open_named(const std::vector<std::string>& names) {
    std::vector<FoundMemory> files;
    for (const std::string& name : names) {
        const std::size_t equals = name.find('=');
        const bool has_id = equals != name.npos && equals < name.find('/');
        const std::string path = has_id ? name.substr(equals + 1) : name;
        Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
        if (!file) return failed(fmt::format("cannot open {}: {}", path, std::strerror(errno)));
        files.push_back({has_id ? name.substr(0, equals) : std::string{}, std::move(file)});
    }
    return files;
}

std::string refusals_text(const nlohmann::json& counts) {
    std::string text;
    for (const auto& [status, count] : counts.at("refusals").items())
        text +=
            fmt::format("{}{} x {}", text.empty() ? "" : "; ", count.get<std::uint64_t>(), status);
    return text;
}

std::string mebibytes(std::uint64_t bytes) {
    return fmt::format("{} MiB", bytes >> 20);
}

}  // namespace

config::Result<void> attach(const AttachOptions& options) {
    const Deadline deadline = std::chrono::steady_clock::now() + QemuLink::kAttachTime;
    auto qmp = Qmp::connect(options.qmp);
    if (!qmp) return std::unexpected{qmp.error()};
    if (auto started = qmp->start(deadline); !started) return started;
    const auto uuid = uuid_from(*qmp, options, deadline);
    if (!uuid) return std::unexpected{uuid.error()};
    const auto memory =
        options.memory.empty() ? find_memory(*qmp, deadline) : open_named(options.memory);
    if (!memory) return std::unexpected{memory.error()};
    // A connection that has not been spoken on, for the process that is to keep it.
    qmp->close();
    auto fresh = Qmp::connect(options.qmp);
    if (!fresh) return std::unexpected{fresh.error()};

    nlohmann::json names = nlohmann::json::array();
    std::vector<int> descriptors{fresh->descriptor()};
    for (const FoundMemory& file : *memory) {
        names.push_back(file.backend);
        descriptors.push_back(file.file.get());
    }
    const auto told = ask(options.config,
                          {{"command", "attach"},
                           {"uuid", *uuid},
                           {"qmp", std::filesystem::absolute(options.qmp).string()},
                           {"memory", std::move(names)}},
                          descriptors);
    if (!told) return std::unexpected{told.error()};
    cli::Record record;
    record.add("uuid", "domain", told->at("uuid").get<std::string>());
    const auto ram = told->at("ram").get<std::uint64_t>();
    record.add("ram_bytes", "RAM", {ram, mebibytes(ram)});
    record.add("readability", "memory", told->at("readability").get<std::string>());
    const auto reason = told->at("reason").get<std::string>();
    record.add("reason", "because", reason.empty() ? cli::Cell{} : cli::Cell{reason});
    fmt::print("{}", record.render(options.json ? cli::Format::json : cli::Format::text));
    return {};
}

config::Result<void> detach(const DetachOptions& options) {
    const auto told = ask(options.config, {{"command", "detach"}, {"uuid", options.domain}});
    if (!told) return std::unexpected{told.error()};
    return {};
}

config::Result<void> list(const ListOptions& options) {
    const auto told = ask(options.config, {{"command", "ls"}});
    if (!told) return std::unexpected{told.error()};
    if (options.json) {
        fmt::print("{}\n", told->dump());
        return {};
    }
    using cli::Align;
    cli::Table table{{{"uuid", "DOMAIN"},
                      {"ram", "RAM", Align::right},
                      {"readability", "MEMORY"},
                      {"epoch", "EPOCH", Align::right},
                      {"sessions", "SESSIONS", Align::right},
                      {"calls", "CALLS", Align::right},
                      {"bytes", "BYTES SERVED", Align::right},
                      {"refusals", "REFUSALS"},
                      {"reason", "WHY NOT READABLE"}}};
    const auto number = [](const nlohmann::json& entry, const char* key) {
        return cli::Cell{entry.at(key).get<std::uint64_t>()};
    };
    for (const nlohmann::json& vm : told->at("vms")) {
        const auto ram = vm.at("ram").get<std::uint64_t>();
        const std::string qmp = vm.at("qmp") == "answers" ? "" : ", QEMU does not answer";
        table.add({vm.at("uuid").get<std::string>(),
                   {ram, mebibytes(ram)},
                   vm.at("readability").get<std::string>() + qmp,
                   number(vm, "epoch"),
                   number(vm, "sessions"),
                   number(vm, "calls"),
                   number(vm, "bytes"),
                   refusals_text(vm),
                   vm.at("reason").get<std::string>()});
    }
    fmt::print("{}", table.render(cli::Format::text));
    const nlohmann::json& other = told->at("other");
    fmt::print("calls about no VM: {}{}{}\n", other.at("calls").get<std::uint64_t>(),
               other.at("refusals").empty() ? "" : "; refused: ", refusals_text(other));
    return {};
}

}  // namespace sgm::qemu
