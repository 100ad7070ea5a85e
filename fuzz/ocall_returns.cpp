// SPDX-License-Identifier: MIT
// The enclave's end of an OCALL (sgx/enclave/ocall.cpp, untrusted.cpp) with a host that writes what
// it likes into the frame and the buffer before it returns: sizes are what was asked for at most,
// nothing beyond them is written inside, and nothing but the message goes out.
#include <array>

#include "fuzz/target.hpp"
#include "sgx/enclave/internal.hpp"
#include "sgx/enclave/ocall.hpp"
#include "sgx/enclave/runtime.hpp"

namespace {

using sgm::Bytes;
using sgm::MutableBytes;
using sgm::wire::OcallFrame;

constexpr std::size_t kEnclaveSize = 8192;
alignas(kEnclaveSize) std::array<std::uint8_t, kEnclaveSize> inside;
const sgm::sgx::EnclaveLayout kLayout = [] {
    sgm::sgx::EnclaveLayout layout{};
    layout.elrange_size = kEnclaveSize;
    return layout;
}();

constexpr std::size_t kBufferSize = 600;
constexpr std::uint8_t kUntouched = 0xa5;
alignas(OcallFrame) std::array<std::uint8_t, sizeof(OcallFrame)> frame;
std::array<std::uint8_t, kBufferSize> buffer;

// What the host sees of one OCALL, and what it makes of it.
struct Host {
    Bytes new_frame;
    Bytes new_buffer;
    OcallFrame seen{};
    std::array<std::uint8_t, kBufferSize> seen_buffer{};
};
Host* host = nullptr;

}  // namespace

// In place of the enclave's door (entry.S): the host's turn.
extern "C" void sgm_enclave_ocall(std::uint64_t, std::uint64_t) {
    host->seen = *sgm::Reader{frame}.take<OcallFrame>();
    host->seen_buffer = buffer;
    std::ranges::copy(host->new_frame, frame.begin());
    std::ranges::copy(host->new_buffer, buffer.begin());
}

namespace sgm::enclave {

std::uint64_t base() {
    return reinterpret_cast<std::uint64_t>(inside.data());
}
const sgx::EnclaveLayout& layout() {
    return kLayout;
}
std::size_t thread_index() {
    return 0;
}
void abort(wire::EnclaveResult) {
    fuzz::check(false, "nothing that the host returns ends the enclave");
    std::abort();
}

}  // namespace sgm::enclave

namespace sgm::fuzz {
namespace {

// Whoever passes lies wholly outside, whatever the host says.
void judge(Choices& choices) {
    const auto address = choices.byte() % 2 == 0
                             ? enclave::base() +
                                   choices.take<std::uint64_t>() % (2 * kEnclaveSize) -
                                   kEnclaveSize / 2
                             : choices.take<std::uint64_t>();
    const auto size = choices.take<std::uint64_t>();
    const std::uint64_t alignment = std::uint64_t{1} << choices.below(13);
    const auto outside = enclave::Outside::at(address, size, alignment);
    if (!outside) return;
    check(address % alignment == 0 && size != 0 && address != 0, "it is a range, and aligned");
    check(address + size >= address, "it does not wrap");
    check(address + size <= enclave::base() || address >= enclave::base() + kEnclaveSize,
          "no byte of it is the enclave's");
}

void call(Choices& choices) {
    const std::uint8_t what = choices.byte() % 4;
    const auto peer = static_cast<wire::Peer>(choices.byte() % 8);
    const std::size_t size = choices.below(2 * kBufferSize);
    Host here;
    here.new_frame = choices.bytes(frame.size());
    here.new_buffer = choices.bytes(choices.below(kBufferSize + 1));
    host = &here;
    buffer.fill(kUntouched);
    if (what == 0) {
        const Octets message(size, 0x11);
        const auto sent = enclave::send(peer, message);
        check(size <= kBufferSize || !sent, "what does not fit is not sent");
        if (size > kBufferSize) return;
        check(here.seen.number == wire::OcallNumber::send && here.seen.size == size,
              "the host is told what is sent");
        const auto end = here.seen_buffer.begin() + static_cast<std::ptrdiff_t>(size);
        check(std::all_of(here.seen_buffer.begin(), end, [](auto b) { return b == 0x11; }) &&
                  std::all_of(end, here.seen_buffer.end(), [](auto b) { return b == kUntouched; }),
              "the message goes out, and nothing else");
    } else if (what == 1) {
        Octets into(size, 0x22);
        const auto got = enclave::receive(peer, 0, into);
        check(here.seen.size <= std::min(size, kBufferSize), "no more is asked for than fits");
        check(!got || *got <= here.seen.size, "no more is taken than was asked for");
        const std::size_t taken = got ? *got : 0;
        check(std::ranges::equal(Bytes{into}.first(taken), Bytes{buffer}.first(taken)),
              "it is what the host gave");
        check(std::all_of(into.begin() + static_cast<std::ptrdiff_t>(taken), into.end(),
                          [](auto b) { return b == 0x22; }),
              "nothing is written beyond it");
    } else if (what == 2) {
        static_cast<void>(enclave::wait(choices.take<std::uint64_t>()));
    } else {
        static_cast<void>(enclave::ocall_hypervisor());
    }
    check(here.seen.reserved == 0 && here.seen.result == 0, "no field carries anything out");
}

}  // namespace

void run(Bytes input) {
    const auto frame_outside = enclave::Outside::at(reinterpret_cast<std::uint64_t>(frame.data()),
                                                    frame.size(), alignof(OcallFrame));
    const auto buffer_outside =
        enclave::Outside::at(reinterpret_cast<std::uint64_t>(buffer.data()), buffer.size());
    check(frame_outside && buffer_outside, "the host's memory lies outside");
    enclave::use_for_ocalls(*frame_outside, *buffer_outside);
    Choices choices{input};
    for (int i = 0; i < 16 && !choices.empty(); ++i) {
        if (choices.byte() % 3 == 0) {
            judge(choices);
        } else {
            call(choices);
        }
    }
}

std::vector<Octets> seeds() {
    std::vector<Octets> result;
    for (const std::uint64_t size : {std::uint64_t{0}, std::uint64_t{100}, std::uint64_t{600},
                                     std::uint64_t{601}, ~std::uint64_t{0}}) {
        Recorder record;
        for (std::uint8_t what = 0; what < 4; ++what) {
            const OcallFrame reply{.number = wire::OcallNumber::receive,
                                   .peer = wire::Peer::owner,
                                   .size = size,
                                   .wait_ns = 0,
                                   .result = what == 3 ? 99u : 0u,
                                   .reserved = 0};
            record.put(std::uint8_t{1}).put(what).put(std::uint8_t{3});
            record.put(static_cast<std::uint16_t>(size)).put(reply);
            record.put(std::uint16_t{100}).put_bytes(Octets(100, 0x33));
        }
        record.put(std::uint8_t{0}).put(std::uint8_t{0}).put(size).put(size);
        record.put(std::uint16_t{12});
        result.push_back(record.octets());
    }
    return result;
}

}  // namespace sgm::fuzz
