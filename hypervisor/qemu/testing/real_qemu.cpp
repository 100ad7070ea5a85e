// SPDX-License-Identifier: MIT
#include "hypervisor/qemu/testing/real_qemu.hpp"

#include <unistd.h>

#include <array>

#include "hypervisor/qemu/unix_socket.hpp"

namespace sgm::qemu::testing {

bool has_qemu() {
    return ::access("/usr/bin/qemu-system-x86_64", X_OK) == 0;
}

// The sockets listen before QEMU has started: nobody has to wait until it makes them, and it need
// not become a daemon, which would outlive a test that is killed.
RealQemu::RealQemu(const std::filesystem::path& directory,
                   const std::vector<std::string>& options) {
    const auto qmp = listen_at(directory / "qmp", 0600);
    const auto admin = listen_at(directory / "admin", 0600);
    if (!qmp || !admin) return;
    std::vector<std::string> words{"qemu-system-x86_64",
                                   "-S",
                                   "-nodefaults",
                                   "-display",
                                   "none",
                                   "-accel",
                                   "tcg",
                                   "-chardev",
                                   "socket,id=qmp,fd=3,server=on,wait=off",
                                   "-mon",
                                   "chardev=qmp,mode=control",
                                   "-chardev",
                                   "socket,id=admin,fd=4,server=on,wait=off",
                                   "-mon",
                                   "chardev=admin,mode=control"};
    words.insert(words.end(), options.begin(), options.end());
    process_.emplace(words, std::array{qmp->get(), admin->get()});
}

}  // namespace sgm::qemu::testing
