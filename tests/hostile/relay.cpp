// SPDX-License-Identifier: MIT
// The host as an attacker: stands between sgmonitord and everyone it talks to, sees and records
// every byte, and changes answers on command. It knows what any host knows: the public layouts in
// wire/, no key.
//
// Commands, one a line on the control socket, each answered by one line:
//   pass     relay faithfully (how it begins)
//   flip     change one bit of the next sealed answer
//   replay   answer the next request with an answer recorded before
//   drop     relay nothing, until `pass`
//   stats    what was relayed and done so far, as JSON; everything recorded is in the file
#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <string>
#include <thread>

#include "tests/hostile/capture.hpp"
#include "tests/hostile/mischief.hpp"
#include "tests/hostile/ring_relay.hpp"
#include "tests/hostile/sockets.hpp"
#include "tests/hostile/tcp_relay.hpp"

namespace {

using namespace sgm::hostile;

std::string obey(const std::string& command, Mischief& mischief, Capture& capture) {
    if (command == "pass") {
        mischief.dropping = false;
        return "ok";
    }
    if (command == "drop") {
        mischief.dropping = true;
        return "ok";
    }
    if (command == "flip") {
        ++mischief.flips_wanted;
        return "ok";
    }
    if (command == "replay") {
        ++mischief.replays_wanted;
        return "ok";
    }
    if (command == "stats") {
        capture.flush();
        return "{\"bytes\":" + std::to_string(capture.bytes()) +
               ",\"records\":" + std::to_string(capture.records()) +
               ",\"complete\":" + (capture.complete() ? "true" : "false") +
               ",\"flipped\":" + std::to_string(mischief.flipped) +
               ",\"replayed\":" + std::to_string(mischief.replayed) +
               ",\"dropping\":" + (mischief.dropping ? "true" : "false") + "}";
    }
    return "error: pass, flip, replay, drop or stats";
}

void serve_control(Descriptor listener, Mischief& mischief, Capture& capture) {
    while (true) {
        const Descriptor client = accept_from(listener);
        std::string line;
        char byte = 0;
        while (read(client.get(), &byte, 1) == 1) {
            if (byte != '\n') {
                if (line.size() < 64) line += byte;
                continue;
            }
            if (!write_all(client, text_bytes(obey(line, mischief, capture) + "\n"))) break;
            line.clear();
        }
    }
}

}  // namespace

int main(int argc, char** argv) {
    std::string ring_path;
    std::string hypervisor_path;
    std::string capture_path;
    std::string control_path;
    std::vector<std::string> proxies;
    CLI::App app{"A hostile host's relay, for tests: records everything, forges on command"};
    app.add_option("--ring", ring_path, "socket to offer to sgmonitord as the hypervisor's")
        ->required();
    app.add_option("--hypervisor", hypervisor_path, "socket of the hypervisor")->required();
    app.add_option("--proxy", proxies, "PORT:TARGET_PORT on 127.0.0.1, any number of times");
    app.add_option("--capture", capture_path, "file for every byte that is relayed")->required();
    app.add_option("--control", control_path, "socket to take commands on")->required();
    CLI11_PARSE(app, argc, argv);

    // The threads below serve until the process ends; only this one hears that it should.
    sigset_t endings;
    sigemptyset(&endings);
    sigaddset(&endings, SIGINT);
    sigaddset(&endings, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &endings, nullptr);
    signal(SIGPIPE, SIG_IGN);

    try {
        Capture capture{capture_path};
        Mischief mischief;
        std::thread{serve_control, listen_unix(control_path), std::ref(mischief), std::ref(capture)}
            .detach();
        std::thread{relay_rings, listen_unix(ring_path), hypervisor_path, std::ref(mischief),
                    std::ref(capture)}
            .detach();
        for (const std::string& proxy : proxies) {
            const auto [port, target] = parse_proxy(proxy);
            std::thread{relay_tcp, listen_tcp(port), target, std::ref(mischief), std::ref(capture)}
                .detach();
        }
        std::puts("ready: relaying");
        std::fflush(stdout);
        int signal = 0;
        sigwait(&endings, &signal);
        capture.flush();
        std::_Exit(0);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "error: %s\n", error.what());
        std::_Exit(1);
    }
}
