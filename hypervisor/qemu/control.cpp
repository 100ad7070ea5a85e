// SPDX-License-Identifier: MIT
#include "hypervisor/qemu/control.hpp"

#include <errno.h>
#include <fmt/core.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/time.h>

#include <array>
#include <cstring>

#include "config/text.hpp"
#include "wire/status_text.hpp"

namespace sgm::qemu {
namespace {

constexpr std::size_t kMaxCall = 64 * 1024;
constexpr timeval kPeerTimeout{.tv_sec = 5, .tv_usec = 0};
// The server's answer may take as long as it takes to attach.
constexpr timeval kAnswerTimeout{.tv_sec = 30, .tv_usec = 0};
constexpr int kLookIntervalMs = 200;

std::unexpected<config::Error> failed(std::string sentence) {
    return std::unexpected{config::Error{std::move(sentence)}};
}

std::string string_of(const nlohmann::json& object, const char* key) {
    const auto value = object.find(key);
    return value != object.end() && value->is_string() ? value->get<std::string>() : std::string{};
}

config::Result<wire::Uuid> uuid_of(const nlohmann::json& call) {
    const auto uuid = config::parse_uuid(string_of(call, "uuid"));
    if (!uuid || *uuid == wire::Uuid{}) return failed("the call names no VM");
    return *uuid;
}

bool may_control(int socket) {
    ucred peer{};
    socklen_t size = sizeof(peer);
    return ::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 &&
           (peer.uid == 0 || peer.uid == ::geteuid());
}

std::string_view readability_text(wire::Readability readability) {
    switch (readability) {
        case wire::Readability::readable: return "readable";
        case wire::Readability::encrypted: return "encrypted";
        case wire::Readability::gone: return "gone";
        case wire::Readability::private_memory: return "private";
    }
    return "unknown";
}

nlohmann::json counts_json(const Counts& counts) {
    nlohmann::json refusals = nlohmann::json::object();
    for (const auto& [status, count] : counts.refusals)
        refusals[std::string{wire::text(status)}] = count;
    return {{"calls", counts.calls}, {"bytes", counts.bytes}, {"refusals", std::move(refusals)}};
}

// One line, with what descriptors came along; discarded JSON for anything else.
nlohmann::json receive_call(int socket, std::vector<Descriptor>& descriptors) {
    std::string text;
    std::array<std::uint8_t, 4096> chunk;
    while (text.size() <= kMaxCall && !text.ends_with('\n')) {
        const auto size =
            receive_with(socket, chunk, descriptors, kMaxDescriptors - descriptors.size());
        if (!size || *size == 0) break;
        text.append(chunk.begin(), chunk.begin() + static_cast<std::ptrdiff_t>(*size));
    }
    return nlohmann::json::parse(text, nullptr, false);
}

void send_all(int socket, std::string_view text) {
    while (!text.empty()) {
        const ssize_t size = ::send(socket, text.data(), text.size(), MSG_NOSIGNAL);
        if (size <= 0) return;
        text.remove_prefix(static_cast<std::size_t>(size));
    }
}

}  // namespace

config::Result<std::unique_ptr<ControlServer>> ControlServer::listen(
    const std::filesystem::path& socket, const Parts& parts) {
    auto listener = listen_at(socket, 0600);
    if (!listener) return std::unexpected{listener.error()};
    return std::unique_ptr<ControlServer>{new ControlServer{socket, std::move(*listener), parts}};
}

ControlServer::ControlServer(std::filesystem::path path, Descriptor listener, const Parts& parts)
    : path_{std::move(path)}, listener_{std::move(listener)}, parts_{parts} {
    thread_ = std::thread{[this] { serve_all(); }};
}

ControlServer::~ControlServer() {
    stop_ = true;
    thread_.join();
    ::unlink(path_.c_str());
}

void ControlServer::serve_all() {
    while (!stop_) {
        pollfd ready{.fd = listener_.get(), .events = POLLIN, .revents = 0};
        if (::poll(&ready, 1, kLookIntervalMs) <= 0) continue;
        const Descriptor client{::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC)};
        if (!client) {
            if (errno != EAGAIN) ::poll(nullptr, 0, kLookIntervalMs);
            continue;
        }
        serve(client.get());
    }
}

void ControlServer::serve(int socket) {
    ::setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &kPeerTimeout, sizeof(kPeerTimeout));
    ::setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &kPeerTimeout, sizeof(kPeerTimeout));
    if (!may_control(socket)) return;
    std::vector<Descriptor> descriptors;
    const nlohmann::json call = receive_call(socket, descriptors);
    const auto result = answer(call, std::move(descriptors));
    const nlohmann::json reply =
        result ? *result : nlohmann::json{{"error", result.error().sentence}};
    send_all(socket, reply.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + '\n');
}

config::Result<nlohmann::json> ControlServer::answer(const nlohmann::json& call,
                                                     std::vector<Descriptor> descriptors) {
    if (!call.is_object()) return failed("the call is not understood");
    const std::string command = string_of(call, "command");
    if (command == "attach") return attach(call, std::move(descriptors));
    if (command == "detach") return detach(call);
    if (command == "ls") return list();
    return failed(fmt::format("there is no command '{}' here", command));
}

// Descriptors: the QMP connection, then a file for each name in "memory".
config::Result<nlohmann::json> ControlServer::attach(const nlohmann::json& call,
                                                     std::vector<Descriptor> descriptors) {
    const auto uuid = uuid_of(call);
    if (!uuid) return std::unexpected{uuid.error()};
    const auto memory = call.find("memory");
    if (memory == call.end() || !memory->is_array() || descriptors.size() != memory->size() + 1) {
        return failed("the call needs a descriptor of QMP, and one for each memory file");
    }
    DomainSettings settings{};
    settings.uuid = *uuid;
    settings.qmp = string_of(call, "qmp");
    settings.qmp_connection = std::make_shared<Descriptor>(std::move(descriptors[0]));
    for (std::size_t i = 0; i < memory->size(); ++i) {
        const nlohmann::json& name = (*memory)[i];
        settings.given.push_back({name.is_string() ? name.get<std::string>() : std::string{},
                                  std::make_shared<Descriptor>(std::move(descriptors[i + 1]))});
    }
    // Far from every epoch that this uuid had here before: its sessions must not go on with what
    // may be another QEMU.
    const std::uint64_t epoch = parts_.first_epoch + (++attached_ << 32);
    auto domain = std::make_unique<QemuDomain>(std::move(settings), epoch, parts_.guard);
    if (auto attached = domain->attach(); !attached) return std::unexpected{attached.error()};
    nlohmann::json told{{"uuid", config::uuid_text(*uuid)},
                        {"ram", domain->ram_size()},
                        {"readability", readability_text(domain->readability())},
                        {"reason", domain->reason()}};
    spdlog::info("domain {} attached: {} MiB RAM{}{}", config::uuid_text(*uuid),
                 domain->ram_size() >> 20,
                 domain->reason().empty() ? "" : ", unreadable: ", domain->reason());
    const auto replaced =
        parts_.gate.alone([&](auto&) { return parts_.port.add(std::move(domain)); });
    return told;
}

config::Result<nlohmann::json> ControlServer::detach(const nlohmann::json& call) {
    const auto uuid = uuid_of(call);
    if (!uuid) return std::unexpected{uuid.error()};
    // It ends here, and not with the core's turn: its QEMU may take a while to answer.
    const auto removed = parts_.gate.alone([&](auto&) { return parts_.port.remove(*uuid); });
    if (removed == nullptr) return failed("there is no such VM here; `ls` lists them");
    spdlog::info("domain {} detached", config::uuid_text(*uuid));
    return nlohmann::json{{"uuid", config::uuid_text(*uuid)}};
}

nlohmann::json ControlServer::list() const {
    return parts_.gate.alone([&](const hypervisor::Core& core) {
        std::map<wire::Uuid, std::uint64_t> sessions;
        for (const hypervisor::Session& session : core.sessions()) {
            if (session.is_open() && session.scope().expires_ns > parts_.port.now_ns())
                ++sessions[session.scope().domain];
        }
        nlohmann::json vms = nlohmann::json::array();
        for (const QemuPort::Vm* vm : parts_.port.vms()) {
            QemuDomain& domain = *vm->domain;
            domain.refresh();
            nlohmann::json entry = counts_json(vm->counts);
            entry.update({{"uuid", config::uuid_text(domain.uuid())},
                          {"ram", domain.ram_size()},
                          {"ram_ranges", domain.ram_ranges().size()},
                          {"vcpus", domain.vcpu_count()},
                          {"readability", readability_text(domain.readability())},
                          {"reason", domain.reason()},
                          {"qmp", domain.link().is_stuck() ? "does not answer" : "answers"},
                          {"epoch", domain.epoch()},
                          {"sessions", sessions[domain.uuid()]}});
            vms.push_back(std::move(entry));
        }
        return nlohmann::json{{"vms", std::move(vms)},
                              {"other", counts_json(parts_.port.other_counts())}};
    });
}

config::Result<nlohmann::json> ask_control(const std::filesystem::path& socket,
                                           const nlohmann::json& call,
                                           std::span<const int> descriptors) {
    const auto connection = connect_to(socket);
    if (!connection) return std::unexpected{connection.error()};
    ::setsockopt(connection->get(), SOL_SOCKET, SO_RCVTIMEO, &kAnswerTimeout,
                 sizeof(kAnswerTimeout));
    const std::string line = call.dump() + '\n';
    std::string text;
    if (send_with(connection->get(),
                  {reinterpret_cast<const std::uint8_t*>(line.data()), line.size()}, descriptors)) {
        std::array<char, 16384> chunk;
        ssize_t size = 0;
        while ((size = ::recv(connection->get(), chunk.data(), chunk.size(), 0)) > 0)
            text.append(chunk.data(), static_cast<std::size_t>(size));
    }
    auto reply = nlohmann::json::parse(text, nullptr, false);
    if (!reply.is_object()) {
        return failed(
            fmt::format("{} gave no answer: only the hypervisor process's own user and "
                        "root may ask; its log may say more",
                        socket.string()));
    }
    if (reply.contains("error")) return failed(string_of(reply, "error"));
    return reply;
}

}  // namespace sgm::qemu
