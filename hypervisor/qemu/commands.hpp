// SPDX-License-Identifier: MIT
// What people ask of a hypervisor process that runs.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "config/error.hpp"

namespace sgm::qemu {

struct AttachOptions {
    std::filesystem::path config;
    std::filesystem::path qmp;
    std::string domain;               // empty: what QEMU says
    std::vector<std::string> memory;  // [ID=]PATH; none: found through QEMU's process
    bool json = false;
};
[[nodiscard]] config::Result<void> attach(const AttachOptions& options);

struct DetachOptions {
    std::filesystem::path config;
    std::string domain;
};
[[nodiscard]] config::Result<void> detach(const DetachOptions& options);

struct ListOptions {
    std::filesystem::path config;
    bool json = false;
};
[[nodiscard]] config::Result<void> list(const ListOptions& options);

}  // namespace sgm::qemu
