// SPDX-License-Identifier: MIT
#include "cli/stop_signal.hpp"

#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <system_error>

namespace sgm::cli {
namespace {

bool readable_within(int fd, int milliseconds) {
    pollfd poll_fd{.fd = fd, .events = POLLIN, .revents = 0};
    return ::poll(&poll_fd, 1, milliseconds) > 0;
}

}  // namespace

StopSignal::StopSignal() {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    ::signal(SIGPIPE, SIG_IGN);
    fd_ = ::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd_ < 0) throw std::system_error{errno, std::generic_category(), "signalfd"};
}

StopSignal::~StopSignal() {
    ::close(fd_);
}

void StopSignal::wait() const {
    while (!readable_within(fd_, -1)) {
    }
}

bool StopSignal::wait_for(std::chrono::milliseconds time) const {
    return readable_within(fd_, static_cast<int>(time.count()));
}

}  // namespace sgm::cli
