// SPDX-License-Identifier: MIT
#include "hypervisor/qemu/attachment.hpp"

#include <errno.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>

#include "config/text.hpp"

namespace sgm::qemu {
namespace {

using wire::Readability;

bool is_true(const nlohmann::json& object, const char* key) {
    const auto value = object.find(key);
    return value != object.end() && value->is_boolean() && value->get<bool>();
}

std::string string_of(const nlohmann::json& object, const char* key) {
    const auto value = object.find(key);
    return value != object.end() && value->is_string() ? value->get<std::string>() : std::string{};
}

// A guest with AMD SEV keeps its memory encrypted; QEMU without SEV does not know the command.
// Other kinds of confidential guest (TDX, PEF) show in the machine's property.
bool has_encrypted_memory(Qmp& qmp, Deadline deadline) {
    const auto sev = qmp.execute("query-sev", {}, deadline);
    if (sev && is_true(*sev, "enabled")) return true;
    const auto confidential = qmp.execute(
        "qom-get", {{"path", "/machine"}, {"property", "confidential-guest-support"}}, deadline);
    return confidential && confidential->is_string() && !confidential->get<std::string>().empty();
}

// QEMU without -uuid says it is all zeros: then the configuration's word stands alone.
config::Result<void> check_uuid(Qmp& qmp, const wire::Uuid& expected, Deadline deadline) {
    const auto reply = qmp.execute("query-uuid", {}, deadline);
    if (!reply || !reply->is_object()) return {};
    const std::string text = string_of(*reply, "UUID");
    const auto uuid = config::parse_uuid(text);
    if (!uuid || *uuid == wire::Uuid{} || *uuid == expected) return {};
    return std::unexpected{config::Error{fmt::format(
        "QEMU at {} runs the VM {}, not {}", qmp.name(), text, config::uuid_text(expected))}};
}

config::Result<void> open_files(const DomainSettings& settings, Attachment& attachment) {
    const auto add = [&](config::Result<std::unique_ptr<MemoryFile>> file) -> config::Result<void> {
        if (!file) return std::unexpected{file.error()};
        attachment.files.push_back(std::move(*file));
        return {};
    };
    if (!settings.memory.empty()) return add(MemoryFile::open(settings.memory));
    for (const GivenMemory& given : settings.given) {
        // The given one is kept: memory that is plugged later makes us attach again.
        Descriptor own{::fcntl(given.file->get(), F_DUPFD_CLOEXEC, 0)};
        if (!own) return std::unexpected{config::Error{std::strerror(errno)}};
        if (auto added = add(MemoryFile::adopt(std::move(own), fmt::format("'{}'", given.backend)));
            !added) {
            return added;
        }
    }
    return {};
}

std::vector<MemoryBlock> blocks_of(const DomainSettings& settings, const Attachment& attachment) {
    std::vector<MemoryBlock> blocks;
    for (std::size_t i = 0; i < attachment.files.size(); ++i) {
        blocks.push_back({settings.memory.empty() ? settings.given[i].backend : settings.backend,
                          attachment.files[i]->size()});
    }
    return blocks;
}

// Why the VM's RAM, or a part of it, is out of our reach; empty: it is not.
std::string why_private(const std::vector<Backend>& backends, const std::vector<SeenBlock>& seen,
                        const std::vector<MemoryBlock>& blocks) {
    std::vector<std::string> missing;
    for (const Backend& backend : backends) {
        if (std::ranges::find(seen, backend.id, &SeenBlock::name) == seen.end()) continue;
        if (!backend.shared) {
            return fmt::format(
                "memory backend '{}' is private to QEMU: start the VM with a "
                "memory-backend-memfd or memory-backend-file and share=on",
                backend.id);
        }
        if (std::ranges::find(blocks, backend.id, &MemoryBlock::name) == blocks.end())
            missing.push_back(backend.id);
    }
    // A file without a name stands for the one that is missing.
    const auto unnamed = std::ranges::count(blocks, std::string{}, &MemoryBlock::name);
    if (std::ssize(missing) <= unnamed) return {};
    return fmt::format(
        "the files of these memory backends are not known here: {}; attach the VM "
        "with `sgmonitor hypervisor attach`",
        fmt::join(missing, ", "));
}

void make_unreadable(Attachment& attachment, Readability readability, std::string reason) {
    attachment.readability = readability;
    attachment.reason = std::move(reason);
    attachment.files.clear();
    attachment.map.clear();
}

}  // namespace

config::Result<std::vector<Backend>> query_backends(Qmp& qmp, Deadline deadline) {
    const auto reply = qmp.execute("query-memdev", {}, deadline);
    std::vector<Backend> backends;
    if (!reply && !qmp.is_open()) return std::unexpected{reply.error()};
    if (!reply || !reply->is_array()) return backends;
    for (const nlohmann::json& entry : *reply) {
        if (!entry.is_object()) continue;
        const auto size = entry.find("size");
        backends.push_back(
            {string_of(entry, "id"),
             size != entry.end() && size->is_number_unsigned() ? size->get<std::uint64_t>() : 0,
             is_true(entry, "share")});
    }
    return backends;
}

config::Result<std::string> layout_of(Qmp& qmp, Deadline deadline) {
    return qmp.monitor("info mtree -f", deadline);
}

config::Result<std::unique_ptr<Attachment>> attach_to(Qmp& qmp, const DomainSettings& settings,
                                                      Deadline deadline) {
    auto attachment = std::make_unique<Attachment>();
    if (auto same = check_uuid(qmp, settings.uuid, deadline); !same) {
        return std::unexpected{same.error()};
    }
    auto layout = layout_of(qmp, deadline);
    if (!layout) return std::unexpected{layout.error()};
    const auto seen = ram_blocks_of(*layout);
    if (!seen) return std::unexpected{seen.error()};
    const auto backends = query_backends(qmp, deadline);
    if (!backends) return std::unexpected{backends.error()};
    const auto vcpus = qmp.execute("query-cpus-fast", {}, deadline);
    if (!vcpus) return std::unexpected{vcpus.error()};
    attachment->vcpu_count = static_cast<std::uint32_t>(vcpus->size());
    attachment->layout = std::move(*layout);

    if (has_encrypted_memory(qmp, deadline)) {
        make_unreadable(*attachment, Readability::encrypted, "the guest's memory is encrypted");
        return attachment;
    }
    if (auto opened = open_files(settings, *attachment); !opened) {
        return std::unexpected{opened.error()};
    }
    const auto blocks = blocks_of(settings, *attachment);
    if (auto why = why_private(*backends, *seen, blocks); !why.empty() || blocks.empty()) {
        make_unreadable(*attachment, Readability::private_memory,
                        blocks.empty() && why.empty() ? "no memory file was given" : why);
        return attachment;
    }
    auto map = parse_memory_map(attachment->layout, blocks);
    if (!map) return std::unexpected{map.error()};
    attachment->map = std::move(*map);
    for (const MappedRange& range : attachment->map) {
        attachment->ranges.push_back({range.start, range.size});
        const MemoryFile& file = *attachment->files[range.block];
        attachment->direct.push_back({.range = attachment->ranges.back(),
                                      .memory = file.memory() + range.offset,
                                      .populated = file.known_data(),
                                      .first_page = range.offset / 4096});
    }
    return attachment;
}

}  // namespace sgm::qemu
