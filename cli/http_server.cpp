// SPDX-License-Identifier: MIT
#include "cli/http_server.hpp"

#include <fmt/core.h>
#include <httplib.h>
#include <spdlog/spdlog.h>

#include <thread>
#include <vector>

namespace sgm::cli {
namespace {

using std::chrono::seconds;

constexpr std::size_t kThreads = 16;
constexpr seconds kPeerTimeout{5};  // for a peer to send or take the next bytes

// httplib would set SO_REUSEPORT, and a second program could then take half of our connections.
void set_socket_options(int socket) {
    const int yes = 1;
    ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
}

void answer(const HttpReply& reply, httplib::Response& response) {
    response.status = reply.status;
    if (reply.status != 204) response.set_content(reply.body, reply.content_type);
}

}  // namespace

struct HttpServer::Impl {
    httplib::Server server;
    std::thread thread;
};

HttpServer::HttpServer() : impl_{std::make_unique<Impl>()} {
    httplib::Server& server = impl_->server;
    server.new_task_queue = [] { return new httplib::ThreadPool(kThreads); };
    server.set_socket_options(set_socket_options);
    server.set_read_timeout(kPeerTimeout);
    server.set_write_timeout(kPeerTimeout);
    server.set_exception_handler([](const httplib::Request&, httplib::Response& response,
                                    std::exception_ptr thrown) {
        try {
            std::rethrow_exception(thrown);
        } catch (const std::exception& error) {
            spdlog::error("a request failed: {}", error.what());
        }
        answer({.status = 500, .body = "internal error; see the log of this service\n"}, response);
    });
}

HttpServer::~HttpServer() {
    stop();
}

void HttpServer::post(const std::string& path, std::size_t max_body,
                      std::function<HttpReply(Bytes)> handler) {
    impl_->server.Post(path, [max_body, handler = std::move(handler)](
                                 const httplib::Request&, httplib::Response& response,
                                 const httplib::ContentReader& read) {
        // Counted after any Content-Encoding is undone, so that a small body cannot unpack to a
        // large one.
        std::vector<std::uint8_t> body;
        bool fits = true;
        const bool whole = read([&](const char* data, std::size_t size) {
            fits = size <= max_body - body.size();
            if (fits) body.insert(body.end(), data, data + size);
            return fits;
        });
        if (!fits) {
            answer({.status = 413, .body = fmt::format("more than {} bytes\n", max_body)},
                   response);
        } else if (!whole) {
            answer({.status = 400, .body = "the body did not arrive whole\n"}, response);
        } else {
            answer(handler(body), response);
        }
    });
}

void HttpServer::get(
    const std::string& prefix,
    std::function<HttpReply(const std::string&, const std::map<std::string, std::string>&)>
        handler) {
    impl_->server.Get(
        prefix + "/([^/]{1,64})", [handler = std::move(handler)](const httplib::Request& request,
                                                                 httplib::Response& response) {
            answer(handler(request.matches[1], {request.params.begin(), request.params.end()}),
                   response);
        });
}

config::Result<std::uint16_t> HttpServer::start(const std::string& address, std::uint16_t port) {
    httplib::Server& server = impl_->server;
    const int bound = port == 0                            ? server.bind_to_any_port(address)
                      : server.bind_to_port(address, port) ? port
                                                           : -1;
    if (bound <= 0) {
        return std::unexpected{config::Error{
            fmt::format("cannot listen on {}:{}: the port is in use, or that is not an address of "
                        "this machine; change listen or port in the configuration",
                        address, port)}};
    }
    impl_->thread = std::thread{[&server] { server.listen_after_bind(); }};
    // stop() has no effect on a server that has not come up yet.
    while (!server.is_running())
        std::this_thread::yield();
    return static_cast<std::uint16_t>(bound);
}

void HttpServer::stop() {
    if (!impl_->thread.joinable()) return;
    impl_->server.stop();
    impl_->thread.join();
}

}  // namespace sgm::cli
