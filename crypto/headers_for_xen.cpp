// SPDX-License-Identifier: MIT
// The hypervisor core sees this room through these headers only, and Xen compiles it without
// vector registers: this file proves that they allow it.
#include "crypto/aead.hpp"
#include "crypto/error.hpp"
#include "crypto/hash.hpp"
#include "crypto/hpke.hpp"
#include "crypto/keys.hpp"
#include "crypto/random.hpp"
#include "crypto/secret.hpp"
