// SPDX-License-Identifier: MIT
#include "tests/hostile/tcp_relay.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <charconv>
#include <stdexcept>
#include <thread>

namespace sgm::hostile {
namespace {

// What can be read from `from`, recorded and passed on. False when nothing more will come.
bool pump(const Descriptor& from, const Descriptor& to, Way way, std::uint32_t channel,
          const Mischief& mischief, Capture& capture) {
    std::array<std::uint8_t, 64 * 1024> buffer;
    const ssize_t size = read(from.get(), buffer.data(), buffer.size());
    if (size <= 0) {
        shutdown(to.get(), SHUT_WR);
        return false;
    }
    const Bytes bytes = Bytes{buffer}.first(static_cast<std::size_t>(size));
    capture.record(channel, way, bytes);
    return mischief.dropping || write_all(to, bytes);
}

void serve(Descriptor client, std::uint16_t target, Mischief& mischief, Capture& capture) {
    const Descriptor server = connect_tcp(target);
    if (!server) return;
    const std::uint32_t channel = capture.new_channel();
    std::array<pollfd, 2> ends{
        {{client.get(), POLLIN | POLLRDHUP, 0}, {server.get(), POLLIN | POLLRDHUP, 0}}};
    while (ends[0].fd >= 0 || ends[1].fd >= 0) {
        if (poll(ends.data(), ends.size(), -1) < 0) return;
        // A negative descriptor is one that poll ignores.
        if (ends[0].revents && !pump(client, server, Way::from_client, channel, mischief, capture))
            ends[0].fd = -1;
        if (ends[1].revents && !pump(server, client, Way::to_client, channel, mischief, capture))
            ends[1].fd = -1;
    }
}

}  // namespace

std::pair<std::uint16_t, std::uint16_t> parse_proxy(const std::string& text) {
    std::uint16_t port = 0;
    std::uint16_t target = 0;
    const char* const end = text.data() + text.size();
    const auto first = std::from_chars(text.data(), end, port);
    if (first.ec == std::errc{} && first.ptr != end && *first.ptr == ':') {
        const auto second = std::from_chars(first.ptr + 1, end, target);
        if (second.ec == std::errc{} && second.ptr == end) return {port, target};
    }
    throw std::runtime_error("--proxy " + text + " is not PORT:TARGET_PORT");
}

void relay_tcp(Descriptor listener, std::uint16_t target, Mischief& mischief, Capture& capture) {
    while (true) {
        std::thread{serve, accept_from(listener), target, std::ref(mischief), std::ref(capture)}
            .detach();
    }
}

}  // namespace sgm::hostile
