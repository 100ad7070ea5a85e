// SPDX-License-Identifier: MIT
// What this process gives up: the right to be looked into, root, and every system call that it does
// not need.
#pragma once

#include <string>

#include "config/error.hpp"

namespace sgm::qemu {

// Before any secret is in memory: nobody but root may look into this process, nothing of it goes to
// a core file, and nothing that it starts gains rights.
[[nodiscard]] config::Result<void> harden();

// Root becomes `user`; root stays root only if it is named. Anybody else stays who they are.
[[nodiscard]] config::Result<void> become(const std::string& user);

// For all threads, now and later: only what serving needs (seccomp, an allow-list). No socket but
// AF_UNIX, no file opened for writing, no executable memory, no program started. Anything else ends
// the process.
[[nodiscard]] config::Result<void> give_up_system_calls();

}  // namespace sgm::qemu
