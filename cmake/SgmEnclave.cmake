# SPDX-License-Identifier: MIT
# Links an enclave: one static-PIE ELF, the same bytes wherever it is built.

set(SGM_ENCLAVE_LD ${CMAKE_SOURCE_DIR}/sgx/enclave/enclave.ld)
set(SGM_ENCLAVE_CHECK ${CMAKE_SOURCE_DIR}/sgx/enclave/check-instructions.sh)

# An enclave as it comes from the linker: for tests. Everybody else calls sgmonitor_add_enclave.
function(sgm_link_enclave name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR})
  target_compile_definitions(${name} PRIVATE SGM_ENCLAVE=1)
  target_compile_options(${name} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:${SGM_WARNINGS}>
                         $<$<COMPILE_LANGUAGE:CXX>:${SGM_ENCLAVE_FLAGS}>)
  # One group: the runtime, the rooms and the static libraries call one another. Of libstdc++ only
  # leaf objects are ever taken (the balancing of std::map); more would not link without a libc.
  target_link_libraries(${name} PRIVATE -Wl,--start-group ${ARG_DEPS} sgm_enclave_runtime
                        -l:libstdc++.a -lgcc -Wl,--end-group)
  target_link_options(${name} PRIVATE -nostdlib -static-pie -T ${SGM_ENCLAVE_LD}
      LINKER:--gc-sections,--build-id=none,--no-dynamic-linker,--hash-style=sysv,--no-undefined
      LINKER:-z,noexecstack,-z,max-page-size=4096,-z,norelro,-z,text)
  set_target_properties(${name} PROPERTIES SUFFIX .elf LINK_DEPENDS "${SGM_ENCLAVE_LD}"
                        RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
endfunction()

# sgmonitor_add_enclave(name [SGX2] SOURCES ... DEPS ...) makes build/<preset>/bin/<name>.elf, not signed
# yet. DEPS are enclave-side libraries (<room>_enclave); the runtime comes by itself. A file that
# holds an instruction which no enclave can execute is not made. SGX2: it is declared to run on CPUs
# with SGX2 only, where RDTSC and RDTSCP are allowed inside.
function(sgmonitor_add_enclave name)
  cmake_parse_arguments(ARG "SGX2" "" "" ${ARGN})
  sgm_link_enclave(${name} ${ARG_UNPARSED_ARGUMENTS})
  add_custom_command(TARGET ${name} POST_BUILD
      COMMAND ${SGM_ENCLAVE_CHECK} $<$<BOOL:${ARG_SGX2}>:--sgx2> ${CMAKE_OBJDUMP}
              $<TARGET_FILE:${name}> COMMAND_EXPAND_LISTS VERBATIM)
endfunction()
