// SPDX-License-Identifier: MIT
// The daemon: HTTP on one side, the monitor's judgement on the other, one mutex between.
//   POST /v1/messages                   an owner message -> 204; 400 or 403 and the reason
//   GET  /v1/commands/UUID?wait_ms=N    200 and one owner message, or 204 when none came in time
// Both are open to anyone who reaches the port: what they carry is signed and sealed.
#pragma once

#include <condition_variable>
#include <map>
#include <mutex>
#include <string>

#include "cli/http_server.hpp"
#include "remote/monitor.hpp"

namespace sgm::remote {

[[nodiscard]] Now now();

class Service final {
  public:
    Service(Monitor& monitor, const wire::Uuid& domain);
    ~Service();
    Service(const Service&) = delete;
    Service& operator=(const Service&) = delete;

    // The port on which it listens from now on.
    [[nodiscard]] config::Result<std::uint16_t> start(const std::string& address,
                                                      std::uint16_t port);
    // To be called often: Monitor::tick.
    void tick();
    // No request is taken or waited for any more.
    void stop();

  private:
    [[nodiscard]] cli::HttpReply take_message(Bytes message);
    [[nodiscard]] cli::HttpReply give_command(const std::string& domain,
                                              const std::map<std::string, std::string>& keys);

    Monitor& monitor_;
    const std::string domain_;
    std::mutex mutex_;  // guards monitor_ and what follows
    std::condition_variable changed_;
    std::uint64_t newest_poll_ = 0;
    bool stopping_ = false;
    cli::HttpServer server_;  // last: its threads end before what they use
};

}  // namespace sgm::remote
