# SPDX-License-Identifier: GPL-2.0-only
# The Makefile of arch/x86/sgm in Xen's tree, where apply.py puts it with all that it names.

sgm-core := core memory operations page_table registration revocations search session \
            session_keys walk
sgm-crypto := chacha20_poly1305 hash hpke keys secret enclave/sodium
sgm-port := aead aes_gcm entry known_answers port random runtime
# libsodium's portable implementations, and what they need of it.
sgm-sodium := crypto_aead/chacha20poly1305/sodium/aead_chacha20poly1305 \
              crypto_auth/hmacsha256/auth_hmacsha256 \
              crypto_core/ed25519/ref10/ed25519_ref10 \
              crypto_hash/sha256/cp/hash_sha256_cp \
              crypto_hash/sha512/cp/hash_sha512_cp \
              crypto_onetimeauth/poly1305/donna/poly1305_donna \
              crypto_onetimeauth/poly1305/onetimeauth_poly1305 \
              crypto_scalarmult/curve25519/ref10/x25519_ref10 \
              crypto_scalarmult/curve25519/scalarmult_curve25519 \
              crypto_sign/ed25519/ref10/keypair \
              crypto_sign/ed25519/ref10/open \
              crypto_sign/ed25519/ref10/sign \
              crypto_stream/chacha20/ref/chacha20_ref \
              crypto_stream/chacha20/stream_chacha20 \
              crypto_verify/sodium/verify

sgm-cxx-objects := $(addprefix hypervisor/core/,$(addsuffix .o,$(sgm-core))) \
                   $(addprefix crypto/,$(addsuffix .o,$(sgm-crypto))) \
                   $(addprefix hypervisor/xen/,$(addsuffix .o,$(sgm-port)))
sgm-sodium-objects := $(addprefix sodium/,$(addsuffix .o,$(sgm-sodium)))

obj-y += shim.o sgm.o

$(obj)/shim.o: CFLAGS-y += -I$(srctree)/arch/x86/sgm $(SGM_DEFINES)

# Xen's own code generation, without what is C's, Xen's headers and dependency files. Xen marks the
# functions that it calls by pointer (-mmanual-endbr); here all may be.
sgm-drop = -std=% -Wstrict-prototypes -Wdeclaration-after-statement -Wnested-externs \
           -Wold-style-definition -nostdinc -include %.h -D__XEN__ -I% -MMD -MP -MF $(depfile) \
           -Wa$(comma)-I% -Wa$(comma)--strip-local-absolute -mmanual-endbr -fcf-check-attribute=no \
           -fpic -fno-pie
# -fpie: symbols of other files are reached directly, as Xen's visibility pragma does for its C.
sgm-code-generation = $(filter-out $(sgm-drop),$(c_flags)) -fpie
sgm-include = -I$(srctree)/arch/x86/sgm -I$(srctree)/arch/x86/sgm/sodium/include
sgm-cxx-flags = $(sgm-code-generation) -std=c++23 -ffreestanding -fno-exceptions -fno-rtti \
                -fno-threadsafe-statics -fno-asynchronous-unwind-tables -fno-stack-protector \
                -fvisibility=hidden -Wframe-larger-than=2048 $(sgm-include) $(SGM_DEFINES)
sgm-vector-drop := -mno-sse -mno-mmx -msoft-float $(CFLAGS_stack_boundary)
sgm-vector-flags := -msse2 -mssse3 -maes -mpclmul -mno-avx -mincoming-stack-boundary=3

# As libsodium's configure would find it here: no instruction set beyond the base, no weak symbols.
sgm-sodium-flags = $(sgm-code-generation) -std=gnu11 -ffreestanding -fno-stack-protector \
                   -fvisibility=hidden -w -DCONFIGURED=1 -DNATIVE_LITTLE_ENDIAN=1 -DHAVE_TI_MODE=1 \
                   -D__NO_INLINE__ -I$(srctree)/arch/x86/sgm/sodium/include/sodium \
                   $(sgm-include)

quiet_cmd_sgm_cxx = CXX     $@
cmd_sgm_cxx = mkdir -p $(@D) && $(CXX) $(sgm-cxx-flags) -c $< -o $@
quiet_cmd_sgm_vector = CXX     $@
cmd_sgm_vector = mkdir -p $(@D) && \
    $(CXX) $(filter-out $(sgm-vector-drop),$(sgm-cxx-flags)) $(sgm-vector-flags) -c $< -o $@
quiet_cmd_sgm_sodium = CC      $@
cmd_sgm_sodium = mkdir -p $(@D) && $(CC) $(sgm-sodium-flags) -c $< -o $@

$(addprefix $(obj)/,$(filter-out hypervisor/xen/aes_gcm.o,$(sgm-cxx-objects))): \
$(obj)/%.o: $(src)/%.cpp FORCE
	$(call if_changed,sgm_cxx)
$(obj)/hypervisor/xen/aes_gcm.o: $(src)/hypervisor/xen/aes_gcm.cpp FORCE
	$(call if_changed,sgm_vector)
$(addprefix $(obj)/,$(sgm-sodium-objects)): $(obj)/%.o: $(src)/%.c FORCE
	$(call if_changed,sgm_sodium)

# Inline functions and templates come in sections of their own, one of many copies to be kept.
sgm-objects := $(addprefix $(obj)/,$(sgm-cxx-objects) $(sgm-sodium-objects))
quiet_cmd_sgm_merge = LD      $@
cmd_sgm_merge = $(LD) $(XEN_LDFLAGS) -r --force-group-allocation -T $(src)/merge.lds -o $@ \
    $(sgm-objects)
$(obj)/sgm.o: $(sgm-objects) $(src)/merge.lds FORCE
	$(call if_changed,sgm_merge)
targets += $(sgm-cxx-objects) $(sgm-sodium-objects)
