// SPDX-License-Identifier: MIT
// The host's end of an OCALL (host/ocalls.cpp) with an enclave that asks for what it likes: any
// frame over any buffer gets a known result, and nothing is written beyond the size that it says.
#include "config/temporary_directory.hpp"
#include "fuzz/target.hpp"
#include "host/hypervisor_link.hpp"
#include "host/ocalls.hpp"

namespace sgm::fuzz {
namespace {

constexpr std::size_t kBufferSize = 700;

// Nobody is at the other end of anything, so that no input waits for long.
struct Host {
    config::TemporaryDirectory directory;
    std::unique_ptr<host::HypervisorLink> hypervisor =
        host::HypervisorLink::create((directory / "nobody.sock").string()).value();
    host::AuthorityClient authority{"http://127.0.0.1:1"};
    host::OwnerRelay owner{"http://127.0.0.1:1", "6f1c0b4e-1d2a-4c55-9a37-0c8d5e2b7f10"};
    host::KeptBlob kept{directory / "state", {1}, {2}};
};

bool is_known(wire::OcallResult result) {
    switch (result) {
        case wire::OcallResult::ok:
        case wire::OcallResult::nothing:
        case wire::OcallResult::unreachable:
        case wire::OcallResult::stop:
        case wire::OcallResult::ring_changed: return true;
    }
    return false;
}

}  // namespace

void run(Bytes input) {
    static Host host;
    Choices choices{input};
    Octets buffer(kBufferSize);
    const Octets quote(choices.below(2 * kBufferSize), 0x44);
    host::Ocalls ocalls{*host.hypervisor,
                        host.authority,
                        host.owner,
                        host.kept,
                        [&](const host::Message&) { return quote; },
                        [](std::string_view) {},
                        buffer};
    for (int i = 0; i < 8 && !choices.empty(); ++i) {
        auto frame = choices.take<wire::OcallFrame>();
        frame.wait_ns %= 1000;
        const Bytes contents = choices.bytes(choices.below(kBufferSize + 1));
        std::ranges::copy(contents, buffer.begin());
        const wire::OcallFrame asked = frame;
        const Octets before = buffer;
        ocalls.on_ocall(frame);
        const auto result = static_cast<wire::OcallResult>(frame.result);
        check(is_known(result), "every frame gets an answer");
        const bool received =
            asked.number == wire::OcallNumber::receive && result == wire::OcallResult::ok;
        const std::size_t written = received ? static_cast<std::size_t>(frame.size) : 0;
        check(written <= std::min<std::uint64_t>(asked.size, kBufferSize),
              "an answer is no larger than the room for it");
        check(std::ranges::equal(Bytes{buffer}.subspan(written), Bytes{before}.subspan(written)),
              "nothing else is written");
    }
}

std::vector<Octets> seeds() {
    std::vector<Octets> result;
    for (std::uint32_t number = 0; number <= 5; ++number) {
        for (std::uint32_t peer = 0; peer <= 6; ++peer) {
            for (const std::uint64_t size : {std::uint64_t{3}, ~std::uint64_t{0}}) {
                Recorder record;
                record.put(std::uint16_t{100});
                for (const std::uint32_t then : {number, std::uint32_t{3}}) {
                    record.put(wire::OcallFrame{.number = wire::OcallNumber{then},
                                                .peer = wire::Peer{peer},
                                                .size = size,
                                                .wait_ns = 10,
                                                .result = 0,
                                                .reserved = 0});
                    record.put(std::uint16_t{20}).put_bytes(Octets(20, 0x55));
                }
                result.push_back(record.octets());
            }
        }
    }
    return result;
}

}  // namespace sgm::fuzz
