// SPDX-License-Identifier: MIT
// The HTTP/1.1 server of the authority and of the remote. What it carries is signed or sealed
// itself, so HTTP adds no protection and needs none; whoever reaches the port controls every byte.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "config/error.hpp"
#include "wire/bytes.hpp"

namespace sgm::cli {

struct HttpReply {
    int status = 204;
    std::string content_type = "text/plain; charset=utf-8";
    std::string body = {};
};

class HttpServer final {
  public:
    HttpServer();
    ~HttpServer();  // stops
    HttpServer(const HttpServer&) = delete;
    HttpServer& operator=(const HttpServer&) = delete;

    // Both before `start`; handlers run on threads of the server. A body of more than `max_body`
    // bytes is refused while it arrives.
    void post(const std::string& path, std::size_t max_body,
              std::function<HttpReply(Bytes body)> handler);
    // `<prefix>/NAME?key=value`: the handler gets NAME and the keys.
    void get(const std::string& prefix,
             std::function<HttpReply(const std::string& name,
                                     const std::map<std::string, std::string>& keys)>
                 handler);

    // Port 0: any free one. Returns the port once connections are accepted.
    [[nodiscard]] config::Result<std::uint16_t> start(const std::string& address,
                                                      std::uint16_t port);
    // Handlers that are running are waited for.
    void stop();

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace sgm::cli
