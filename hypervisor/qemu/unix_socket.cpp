// SPDX-License-Identifier: MIT
#include "hypervisor/qemu/unix_socket.hpp"

#include <errno.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace sgm::qemu {
namespace {

config::Error listen_error(const std::filesystem::path& path, std::string_view why) {
    return {fmt::format("cannot listen on {}: {}", path.string(), why)};
}

std::optional<sockaddr_un> address_of(const std::filesystem::path& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string text = path.string();
    if (text.size() >= sizeof(address.sun_path)) return std::nullopt;
    std::ranges::copy(text, address.sun_path);
    return address;
}

bool try_connect(int socket, const sockaddr_un& address) {
    return ::connect(socket, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
}

// A socket file stays behind when its process is killed.
config::Result<void> remove_stale(const std::filesystem::path& path, const sockaddr_un& address) {
    struct stat status{};
    if (::lstat(path.c_str(), &status) != 0) return {};
    if (!S_ISSOCK(status.st_mode)) {
        return std::unexpected{listen_error(path, "there is a file of that name")};
    }
    const Descriptor probe{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    if (try_connect(probe.get(), address) || errno != ECONNREFUSED) {
        return std::unexpected{
            listen_error(path, "the socket is in use; is another hypervisor process running?")};
    }
    ::unlink(path.c_str());
    return {};
}

}  // namespace

config::Result<Descriptor> listen_at(const std::filesystem::path& socket, mode_t mode) {
    const auto address = address_of(socket);
    if (!address) return std::unexpected{listen_error(socket, "the path is too long")};
    if (auto free = remove_stale(socket, *address); !free) return std::unexpected{free.error()};

    Descriptor listener{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
    const mode_t old_mask = ::umask(0777 & ~mode);
    const bool bound =
        listener &&
        ::bind(listener.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof(*address)) == 0;
    const int bind_error = errno;
    ::umask(old_mask);
    if (!bound) return std::unexpected{listen_error(socket, std::strerror(bind_error))};
    if (::listen(listener.get(), 128) != 0) {
        return std::unexpected{listen_error(socket, std::strerror(errno))};
    }
    return listener;
}

config::Result<Descriptor> connect_to(const std::filesystem::path& socket) {
    const auto address = address_of(socket);
    Descriptor fd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    if (!address || !fd || !try_connect(fd.get(), *address)) {
        return std::unexpected{config::Error{
            fmt::format("cannot reach {}: {}; is `sgmonitor hypervisor run` running, as this user?",
                        socket.string(), address ? std::strerror(errno) : "the path is too long")}};
    }
    return fd;
}

bool send_with(int socket, Bytes bytes, std::span<const int> descriptors) {
    iovec part{.iov_base = const_cast<std::uint8_t*>(bytes.data()), .iov_len = bytes.size()};
    std::vector<std::uint8_t> control(CMSG_SPACE(descriptors.size_bytes()));
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    if (!descriptors.empty()) {
        message.msg_control = control.data();
        message.msg_controllen = control.size();
        cmsghdr* header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(descriptors.size_bytes());
        std::memcpy(CMSG_DATA(header), descriptors.data(), descriptors.size_bytes());
    }
    return ::sendmsg(socket, &message, MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size());
}

std::optional<std::size_t> receive_with(int socket, MutableBytes bytes,
                                        std::vector<Descriptor>& descriptors,
                                        std::size_t max_descriptors, int flags) {
    iovec part{.iov_base = bytes.data(), .iov_len = bytes.size()};
    alignas(cmsghdr) std::array<std::uint8_t, CMSG_SPACE(kMaxDescriptors * sizeof(int))> control{};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    // Not CMSG_SPACE: the kernel would put one more descriptor into the padding, and it would leak.
    message.msg_controllen = CMSG_LEN(std::min(max_descriptors, kMaxDescriptors) * sizeof(int));
    ssize_t size = 0;
    do {
        size = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC | flags);
    } while (size < 0 && errno == EINTR);
    if (size < 0) return std::nullopt;
    for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
         header = CMSG_NXTHDR(&message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
        for (std::size_t i = 0; i < (header->cmsg_len - CMSG_LEN(0)) / sizeof(int); ++i) {
            int fd = -1;
            std::memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof(fd));
            descriptors.emplace_back(fd);
        }
    }
    // Further descriptors than there was room for were closed by the kernel.
    if ((message.msg_flags & MSG_CTRUNC) != 0) return std::nullopt;
    return static_cast<std::size_t>(size);
}

}  // namespace sgm::qemu
