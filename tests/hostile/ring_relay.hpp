// SPDX-License-Identifier: MIT
// Between sgmonitord's ring and the hypervisor's: the client's ring is taken as the hypervisor
// would take it, another one is handed to the hypervisor, and each call and reply is copied over.
#pragma once

#include <string>

#include "tests/hostile/capture.hpp"
#include "tests/hostile/mischief.hpp"
#include "tests/hostile/sockets.hpp"

namespace sgm::hostile {

// Serves every client that connects, each with a connection of its own to the hypervisor. Does
// not return.
void relay_rings(Descriptor listener, std::string hypervisor_path, Mischief& mischief,
                 Capture& capture);

}  // namespace sgm::hostile
