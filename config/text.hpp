// SPDX-License-Identifier: MIT
// The text forms of identities: in configuration files, in URLs, on screens.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "wire/bytes.hpp"
#include "wire/ids.hpp"

namespace sgm::config {

// Lower-case, two digits for each byte.
[[nodiscard]] std::string to_hex(Bytes bytes);

// Fills `out` from exactly 2 * out.size() digits of either case; false, and `out` not to be used,
// for anything else.
[[nodiscard]] bool parse_hex(std::string_view text, MutableBytes out);

// Lower-case 8-4-4-4-12, as RFC 4122 writes it.
[[nodiscard]] std::string uuid_text(const wire::Uuid& uuid);

// The same form in either case, and no other.
[[nodiscard]] std::optional<wire::Uuid> parse_uuid(std::string_view text);

// The text as a TOML string, quoted: for files that `init` writes.
[[nodiscard]] std::string toml_string(std::string_view text);

}  // namespace sgm::config
