// SPDX-License-Identifier: MIT
#include "authority/revocations.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/file.h>

#include <algorithm>
#include <span>

#include "authority/policy.hpp"
#include "cli/output.hpp"
#include "config/descriptor.hpp"
#include "config/file.hpp"
#include "config/key_file.hpp"
#include "config/text.hpp"
#include "hypervisor/core/revocations.hpp"

namespace sgm::authority {
namespace {

using config::Error;
using config::Result;
using wire::Revocation;
using wire::RevokedKind;

std::unexpected<Error> fail(std::string sentence) {
    return std::unexpected{Error{std::move(sentence)}};
}

// One change at a time: two that read the same list would lose one of the two changes. Held until
// the descriptor goes.
Result<config::Descriptor> lock(const std::filesystem::path& directory) {
    config::Descriptor held{::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    if (!held || ::flock(held.get(), LOCK_EX) != 0) {
        return fail(directory.string() + ": cannot be locked");
    }
    return held;
}

bool is_same(const Revocation& one, const Revocation& other) {
    return std::ranges::equal(bytes_of(one), bytes_of(other));
}

Result<void> add(wire::RevocationList& list, const Revocation& entry) {
    const auto used = std::span{list.entries}.first(list.count);
    if (std::ranges::any_of(used, [&](const auto& one) { return is_same(one, entry); })) {
        return fail("this is revoked already");
    }
    if (list.count == wire::kMaxRevocations) {
        return fail(
            fmt::format("the list is full, with {} revocations: restore what authority.toml "
                        "no longer approves, or revoke something wider",
                        list.count));
    }
    list.entries[list.count++] = entry;
    return {};
}

Result<void> drop(wire::RevocationList& list, const Revocation& entry) {
    const auto used = std::span{list.entries}.first(list.count);
    const auto at =
        std::ranges::find_if(used, [&](const auto& one) { return is_same(one, entry); });
    if (at == used.end()) return fail("this is not revoked: `revocations` lists what is");
    std::shift_left(at, used.end(), 1);
    used.back() = {};
    --list.count;
    return {};
}

std::string kind_text(RevokedKind kind) {
    switch (kind) {
        case RevokedKind::mrenclave: return "mrenclave";
        case RevokedKind::domain: return "domain";
        case RevokedKind::registration: return "registration";
        case RevokedKind::everything: return "everything";
    }
    return "unknown";
}

std::string subject_text(const Revocation& entry) {
    if (entry.kind == RevokedKind::everything) return "";
    if (entry.kind != RevokedKind::domain) return config::to_hex(entry.subject);
    wire::Uuid uuid;
    std::copy_n(entry.subject.begin(), uuid.size(), uuid.begin());
    return config::uuid_text(uuid);
}

}  // namespace

Result<std::optional<wire::SignedRevocations>> load_revocations(const std::filesystem::path& path,
                                                                const wire::SigningKey& authority) {
    std::error_code unknown;
    if (!std::filesystem::exists(path, unknown) && !unknown) return std::nullopt;
    const auto text = config::read_file(path);
    if (!text) return std::unexpected{text.error()};
    Reader reader{{reinterpret_cast<const std::uint8_t*>(text->data()), text->size()}};
    const auto list = reader.take<wire::SignedRevocations>();
    hypervisor::Revocations check;
    if (!list || !reader.empty() || check.take(*list, authority) != wire::Status::ok) {
        return fail(path.string() + ": is not a list of revocations that this authority signed");
    }
    return *list;
}

Result<wire::SignedRevocations> change_revocations(const std::filesystem::path& path,
                                                   const crypto::SigningKeyPair& key, Change change,
                                                   const Revocation& entry,
                                                   std::chrono::sys_seconds now) {
    const auto held = lock(path.parent_path().empty() ? "." : path.parent_path());
    if (!held) return std::unexpected{held.error()};
    const auto before = load_revocations(path, key.public_key());
    if (!before) return std::unexpected{before.error()};

    wire::SignedRevocations next = before->value_or(wire::SignedRevocations{});
    wire::RevocationList& list = next.list;
    const auto changed = change == Change::revoke ? add(list, entry) : drop(list, entry);
    if (!changed) return std::unexpected{changed.error()};
    list.label = wire::kRevocationLabel;
    const std::int64_t seconds = now.time_since_epoch().count();
    list.sequence =
        std::max(list.sequence + 1, static_cast<std::uint64_t>(std::max<std::int64_t>(seconds, 0)));
    next.signature = key.sign({bytes_of(list)});

    const Bytes bytes = bytes_of(next);
    if (auto written =
            config::write_file(path, {reinterpret_cast<const char*>(bytes.data()), bytes.size()},
                               0644, config::IfExists::replace);
        !written) {
        return std::unexpected{written.error()};
    }
    return next;
}

Result<Revocation> parse_revocation(const RevocationOptions& options) {
    const int given = !options.mrenclave.empty() + !options.domain.empty() +
                      !options.registration.empty() + options.everything;
    if (given != 1) {
        return fail("say what: one of --mrenclave, --domain, --registration and --everything");
    }
    Revocation entry{};
    const auto digest = [](const std::string& text, wire::Digest& out) {
        return text.empty() || config::parse_hex(text, out);
    };
    if (!digest(options.mrenclave, entry.subject) || !digest(options.registration, entry.subject) ||
        !digest(options.hypervisor, entry.hypervisor_key_id)) {
        return fail("--mrenclave, --registration and --hypervisor must be 64 hexadecimal digits");
    }
    entry.kind = !options.mrenclave.empty()      ? RevokedKind::mrenclave
                 : !options.registration.empty() ? RevokedKind::registration
                 : options.everything            ? RevokedKind::everything
                                                 : RevokedKind::domain;
    if (entry.kind == RevokedKind::domain) {
        const auto uuid = config::parse_uuid(options.domain);
        if (!uuid) return fail("--domain must be a UUID");
        std::ranges::copy(*uuid, entry.subject.begin());
    }
    return entry;
}

Result<void> change_revocations(const RevocationOptions& options, Change change) {
    const auto entry = parse_revocation(options);
    if (!entry) return std::unexpected{entry.error()};
    const auto settings = load_settings(options.config);
    if (!settings) return std::unexpected{settings.error()};
    const auto key = config::load_signing_key_pair(settings->signing_key);
    if (!key) return std::unexpected{key.error()};
    const auto now = std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
    const auto list = change_revocations(settings->revocations, *key, change, *entry, now);
    if (!list) return std::unexpected{list.error()};
    fmt::print("wrote {}: {} revocations, sequence {}\n", settings->revocations.string(),
               list->list.count, list->list.sequence);
    return {};
}

Result<void> show_revocations(const std::filesystem::path& config, bool json) {
    const auto settings = load_settings(config);
    if (!settings) return std::unexpected{settings.error()};
    const auto key = config::load_signing_key_pair(settings->signing_key);
    if (!key) return std::unexpected{key.error()};
    const auto list = load_revocations(settings->revocations, key->public_key());
    if (!list) return std::unexpected{list.error()};
    cli::Table table{{{"kind", "REVOKED"}, {"subject", "SUBJECT"}, {"hypervisor", "HYPERVISOR"}}};
    const wire::RevocationList empty{};
    const wire::RevocationList& all = *list ? (*list)->list : empty;
    for (const Revocation& entry : std::span{all.entries}.first(all.count)) {
        const bool everywhere = entry.hypervisor_key_id == wire::Digest{};
        table.add({kind_text(entry.kind), subject_text(entry),
                   everywhere ? "every" : config::to_hex(entry.hypervisor_key_id)});
    }
    fmt::print("{}", table.render(json ? cli::Format::json : cli::Format::text));
    return {};
}

}  // namespace sgm::authority
