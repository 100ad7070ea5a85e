// SPDX-License-Identifier: MIT
// The same random bytes in every case and every run, so that a case is the same alone as among all.
#pragma once

namespace sgm::relay {

// Takes the place of the kernel's source, for this process. Before anything else of crypto/.
void make_randomness_repeatable();

// What follows has followed the last call too.
void begin_randomness_anew();

}  // namespace sgm::relay
