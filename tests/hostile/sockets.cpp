// SPDX-License-Identifier: MIT
#include "tests/hostile/sockets.hpp"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>

namespace sgm::hostile {
namespace {

[[noreturn]] void fail(const std::string& what) {
    throw std::runtime_error(what + ": " + std::strerror(errno));
}

sockaddr_un unix_address(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof(address.sun_path))
        throw std::runtime_error(path + " is too long for a socket");
    path.copy(address.sun_path, path.size());
    return address;
}

sockaddr_in local_address(std::uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

// The socket API takes every address as sockaddr*.
template <typename Address>
bool with_address(int (*call)(int, const sockaddr*, socklen_t), const Descriptor& socket,
                  const Address& address) {
    return call(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
}

}  // namespace

Descriptor listen_unix(const std::string& path) {
    Descriptor listener{socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    unlink(path.c_str());
    if (!with_address(bind, listener, unix_address(path)) || listen(listener.get(), 16) != 0)
        fail(path);
    return listener;
}

Descriptor listen_tcp(std::uint16_t port) {
    Descriptor listener{socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    const int on = 1;
    setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (!with_address(bind, listener, local_address(port)) || listen(listener.get(), 64) != 0)
        fail("port " + std::to_string(port));
    return listener;
}

Descriptor connect_unix(const std::string& path) {
    Descriptor connection{socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    if (!with_address(connect, connection, unix_address(path))) return {};
    return connection;
}

Descriptor connect_tcp(std::uint16_t port) {
    Descriptor connection{socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    if (!with_address(connect, connection, local_address(port))) return {};
    const int on = 1;
    setsockopt(connection.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return connection;
}

Descriptor accept_from(const Descriptor& listener) {
    while (true) {
        const int fd = accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC);
        if (fd >= 0) return Descriptor{fd};
        if (errno != EINTR && errno != ECONNABORTED) fail("accept");
    }
}

bool read_all(const Descriptor& from, MutableBytes bytes) {
    while (!bytes.empty()) {
        const ssize_t size = read(from.get(), bytes.data(), bytes.size());
        if (size <= 0) return false;
        bytes = bytes.subspan(static_cast<std::size_t>(size));
    }
    return true;
}

bool write_all(const Descriptor& to, Bytes bytes) {
    while (!bytes.empty()) {
        const ssize_t size = write(to.get(), bytes.data(), bytes.size());
        if (size <= 0) return false;
        bytes = bytes.subspan(static_cast<std::size_t>(size));
    }
    return true;
}

bool gone(const Descriptor& connection) {
    pollfd state{connection.get(), POLLIN | POLLRDHUP, 0};
    return poll(&state, 1, 0) != 0;
}

}  // namespace sgm::hostile
