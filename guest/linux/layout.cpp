// SPDX-License-Identifier: MIT
#include "guest/linux/layout.hpp"

#include <optional>

namespace sgm::guest {
namespace {

// Looks up members of one struct; after the first failure every later call does nothing.
class Lookup final {
  public:
    Lookup(const Btf& btf, std::optional<LayoutError>& failure) : btf_{btf}, failure_{failure} {}

    // `what`: "struct.path". The member must lie inside the struct and have `size` bytes.
    std::uint32_t member(std::string_view what, std::uint64_t size) {
        const auto offset = try_member(what, size);
        if (!offset) fail(offset.error(), what);
        return offset.value_or(0);
    }

    // The first of two names that exists: members get renamed.
    std::uint32_t member(std::string_view what, std::uint64_t size, std::string_view older,
                         std::uint64_t older_size) {
        const auto offset = try_member(what, size);
        if (offset) return *offset;
        return member(older, older_size);
    }

    std::uint32_t size_of(std::string_view name) {
        const auto id = find(name);
        const auto size = id ? btf_.size_of(*id) : std::unexpected{id.error()};
        if (!size) fail(size.error(), name);
        return static_cast<std::uint32_t>(size.value_or(0));
    }

  private:
    std::expected<std::uint32_t, BtfError> try_member(std::string_view what, std::uint64_t size) {
        const std::size_t dot = what.find('.');
        const auto id = find(what.substr(0, dot));
        if (!id) return std::unexpected{id.error()};
        const auto found = btf_.member(*id, what.substr(dot + 1));
        if (!found) return std::unexpected{found.error()};
        const auto whole = btf_.size_of(*id);
        const auto part = btf_.size_of(found->type);
        if (!whole || !part || *part != size || found->offset + size > *whole)
            return std::unexpected{BtfError::bad_type};
        return found->offset;
    }

    // Looking through all types is the most of the work, and members of one struct come together.
    std::expected<std::uint32_t, BtfError> find(std::string_view name) {
        if (last_name_ != name) {
            last_id_ = btf_.find_struct(name);
            last_name_ = name;
        }
        return last_id_;
    }

    void fail(BtfError error, std::string_view what) {
        if (!failure_) failure_ = LayoutError{error, what};
    }

    const Btf& btf_;
    std::optional<LayoutError>& failure_;
    std::string_view last_name_;
    std::expected<std::uint32_t, BtfError> last_id_ = std::unexpected{BtfError::not_found};
};

}  // namespace

std::string describe(const LayoutError& error) {
    std::string sentence{text(error.error)};
    sentence += ": ";
    sentence += error.what;
    return sentence;
}

std::expected<Layout, LayoutError> derive_layout(const Btf& btf) {
    std::optional<LayoutError> failure;
    Lookup lookup{btf, failure};
    const Layout layout{
        .task = {.size = lookup.size_of("task_struct"),
                 .tasks = lookup.member("task_struct.tasks", 16),
                 .pid = lookup.member("task_struct.pid", 4),
                 .tgid = lookup.member("task_struct.tgid", 4),
                 .real_parent = lookup.member("task_struct.real_parent", 8),
                 .real_cred = lookup.member("task_struct.real_cred", 8),
                 .comm = lookup.member("task_struct.comm", kCommSize),
                 .state = lookup.member("task_struct.__state", 4, "task_struct.state", 8),
                 .exit_state = lookup.member("task_struct.exit_state", 4),
                 .start_time = lookup.member("task_struct.start_boottime", 8,
                                             "task_struct.real_start_time", 8)},
        .cred_uid = lookup.member("cred.uid", 4)};
    if (failure) return std::unexpected{*failure};
    return layout;
}

}  // namespace sgm::guest
