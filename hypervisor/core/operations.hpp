// SPDX-License-Identifier: MIT
// Executes a batch: the plaintext of a request in, the plaintext of its answer out. The batch
// comes from an attested IDS that may have gone bad, the memory from a guest that may be hostile;
// whatever either says, only RAM of the one domain is read, and a bounded amount of it.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "hypervisor/core/memory.hpp"
#include "hypervisor/core/page_table.hpp"
#include "hypervisor/core/port.hpp"
#include "hypervisor/core/search.hpp"
#include "hypervisor/core/walk.hpp"
#include "wire/sgm_op.hpp"

namespace sgm::hypervisor {

// What one operation needs while it runs.
struct Scratch {
    SearchWindow search_window;
    WalkFields walk_fields;
};

class Operations final {
  public:
    // `port` outlives this.
    explicit Operations(Port& port) : port_{port} {}

    // Writes a BatchAnswer and its results to `answer` and returns their size. Neither buffer may
    // be shared with anyone who could change it. nullopt, and nothing was read: the batch is not
    // well-formed (wire/sgm_op.hpp), or `answer` is too small to say `deferred` to each operation.
    //
    // An operation that does not begin because the room in `answer` or the budget is used up is
    // `deferred`. `fault` comes with a result: the bytes or rows before it.
    [[nodiscard]] std::optional<std::size_t> execute(Domain& domain, Bytes batch,
                                                     MutableBytes answer);

  private:
    Port& port_;
    // Working memory, here so that no stack has to hold it.
    Translator translator_;
    Views views_;
    Scratch scratch_;
};

}  // namespace sgm::hypervisor
