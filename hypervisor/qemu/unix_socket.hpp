// SPDX-License-Identifier: MIT
// Unix sockets of this process, and descriptors over them.
#pragma once

#include <sys/socket.h>
#include <sys/types.h>

#include <filesystem>
#include <optional>
#include <span>
#include <vector>

#include "config/descriptor.hpp"
#include "config/error.hpp"
#include "wire/bytes.hpp"

namespace sgm::qemu {

using config::Descriptor;

// Listens with this mode. A socket file that nobody serves any more is replaced.
[[nodiscard]] config::Result<Descriptor> listen_at(const std::filesystem::path& socket,
                                                   mode_t mode);
[[nodiscard]] config::Result<Descriptor> connect_to(const std::filesystem::path& socket);

inline constexpr std::size_t kMaxDescriptors = 128;

// One sendmsg(2) or recvmsg(2) with descriptors. False: not all bytes went.
[[nodiscard]] bool send_with(int socket, Bytes bytes, std::span<const int> descriptors);
// How many bytes came; 0: the end; nothing: an error, or more descriptors than there is room for.
[[nodiscard]] std::optional<std::size_t> receive_with(int socket, MutableBytes bytes,
                                                      std::vector<Descriptor>& descriptors,
                                                      std::size_t max_descriptors, int flags = 0);

}  // namespace sgm::qemu
