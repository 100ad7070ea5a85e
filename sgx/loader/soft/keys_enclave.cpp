// SPDX-License-Identifier: MIT
// An enclave that seals, unseals, reports and verifies as its host asks.
#include "sgx/loader/soft/keys_enclave.hpp"

#include <array>
#include <optional>
#include <vector>

#include "sgx/enclave/cpu_keys.hpp"
#include "sgx/enclave/ocall.hpp"
#include "sgx/enclave/runtime.hpp"

namespace {

using namespace sgm;
using sgx::soft::KeysCommand;
using wire::EnclaveResult;
using wire::Peer;

constexpr std::array<std::uint8_t, 4> kLabel = {'t', 'e', 's', 't'};

std::vector<std::uint8_t> message() {
    std::vector<std::uint8_t> bytes(65536);
    bytes.resize(enclave::receive(Peer::owner, 0, bytes).value_or(0));
    return bytes;
}

template <WireStruct T>
std::optional<T> message_as() {
    return Reader{message()}.take<T>();
}

EnclaveResult answer(Bytes bytes) {
    return enclave::send(Peer::owner, bytes) ? EnclaveResult::ok : EnclaveResult::internal;
}

EnclaveResult seal() {
    const auto policy = message_as<std::uint16_t>();
    if (!policy) return EnclaveResult::bad_argument;
    enclave::EgetkeySealKeys cpu;
    const auto blob = enclave::seal(cpu, enclave::SealTo{*policy}, kLabel, message());
    return blob ? answer(*blob) : EnclaveResult::internal;
}

EnclaveResult unseal() {
    const auto policy = message_as<std::uint16_t>();
    if (!policy) return EnclaveResult::bad_argument;
    enclave::EgetkeySealKeys cpu;
    const auto opened = enclave::unseal(cpu, enclave::SealTo{*policy}, kLabel, message());
    return opened ? answer(opened->contents) : EnclaveResult::bad_argument;
}

EnclaveResult report() {
    const auto target = message_as<sgx::TargetInfo>();
    if (!target) return EnclaveResult::bad_argument;
    sgx::ReportData data;
    data.fill(0x5a);
    return answer(bytes_of(enclave::create_report(*target, data)));
}

EnclaveResult verify() {
    const auto report = message_as<sgx::Report>();
    if (!report) return EnclaveResult::bad_argument;
    const auto body = enclave::verify_report(*report);
    return body ? answer(bytes_of(*body)) : EnclaveResult::bad_argument;
}

}  // namespace

EnclaveResult sgm::enclave_main(const wire::StartInfo& start) {
    switch (KeysCommand{start.domain[0]}) {
        case KeysCommand::seal: return seal();
        case KeysCommand::unseal: return unseal();
        case KeysCommand::target_info: return answer(bytes_of(enclave::own_target_info()));
        case KeysCommand::report: return report();
        case KeysCommand::verify: return verify();
    }
    return EnclaveResult::bad_argument;
}
