# SPDX-License-Identifier: MIT
# How targets are made here. A trusted room is compiled twice from the same sources: once for the
# host (tests, tools, the hypervisor process) and once with the flags of an enclave.

option(SGM_SANITIZE "Build host-side code with ASan and UBSan; enclaves are not built" OFF)
option(SGM_FUZZ "With clang and SGM_SANITIZE: count coverage for libFuzzer, link it to fuzz/" OFF)

set(CMAKE_CXX_STANDARD 23)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

set(SGM_WARNINGS -Wall -Wextra -Werror -Wshadow -Wconversion -Wsign-conversion -Wold-style-cast
    -Wnon-virtual-dtor -Woverloaded-virtual -Wimplicit-fallthrough)

# Reproducible: no path of the build machine in any output.
add_compile_options(-ffile-prefix-map=${CMAKE_SOURCE_DIR}=. -g1)

# Trusted code never throws, on either side.
set(SGM_TRUSTED_FLAGS -fno-exceptions -fno-rtti)

# The enclave: freestanding, position independent, one static image. -fbuiltin: its runtime has
# memcpy and the like, so the compiler may know what they do; without it each copy of four bytes is
# a call.
set(SGM_ENCLAVE_FLAGS ${SGM_TRUSTED_FLAGS} -O2 -ffreestanding -fbuiltin -fPIE -fno-stack-protector
    -fno-threadsafe-statics -mno-red-zone -fvisibility=hidden -fno-asynchronous-unwind-tables
    -fcf-protection=none -fno-tree-loop-distribute-patterns -march=x86-64-v3 -maes -mpclmul
    -ffunction-sections -fdata-sections -U_FORTIFY_SOURCE)

# Against load value injection (Intel, "Deep Dive: Load Value Injection", 2020), for CPUs that have
# it: a fence after every load and before every indirect branch and return, as gcc's assembler
# makes them. Another MRENCLAVE; what it costs: bench/README.md.
option(SGM_LVI_HARDENING "Compile enclaves with fences against load value injection" OFF)
if(SGM_LVI_HARDENING)
  set(SGM_LVI_FLAGS -Wa,-mlfence-after-load=yes,-mlfence-before-indirect-branch=all,-mlfence-before-ret=shl)
  list(APPEND SGM_ENCLAVE_FLAGS ${SGM_LVI_FLAGS})
endif()

# What Xen compiles with: no vector registers anywhere in the hypervisor core.
set(SGM_XEN_FLAGS ${SGM_TRUSTED_FLAGS} -O2 -ffreestanding -fno-stack-protector
    -fno-threadsafe-statics -mno-red-zone -mno-sse -mno-mmx -msoft-float -fvisibility=hidden)

# Without vptr: that check needs type information, which trusted code is compiled without.
if(SGM_SANITIZE)
  set(SGM_SANITIZE_FLAGS -fsanitize=address,undefined -fno-sanitize=vptr
      -fno-sanitize-recover=all -fno-omit-frame-pointer)
endif()
if(SGM_FUZZ)
  list(APPEND SGM_SANITIZE_FLAGS -fsanitize=fuzzer-no-link)
  list(REMOVE_ITEM SGM_WARNINGS -Werror)  # of two compilers' opinions gcc's is the one that counts
endif()

function(sgm_host_options target)
  target_include_directories(${target} PUBLIC ${CMAKE_SOURCE_DIR})
  target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:${SGM_WARNINGS}>
                         ${SGM_SANITIZE_FLAGS})
  target_link_options(${target} PUBLIC ${SGM_SANITIZE_FLAGS})
endfunction()

# sgm_library(name SOURCES ... DEPS ...): host-side code that is not trusted, or never in an
# enclave. DEPS are CMake targets.
function(sgm_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  sgm_host_options(${name})
  target_link_libraries(${name} PUBLIC ${ARG_DEPS})
endfunction()

# sgm_trusted_library(name SOURCES ... HOST_SOURCES ... ENCLAVE_SOURCES ... DEPS ... HOST_DEPS ...)
# makes <name> for the host and <name>_enclave. DEPS name other trusted libraries: their _enclave
# twins are linked on the enclave side.
function(sgm_trusted_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;HOST_SOURCES;ENCLAVE_SOURCES;DEPS;HOST_DEPS" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES} ${ARG_HOST_SOURCES})
  sgm_host_options(${name})
  target_compile_options(${name} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:${SGM_TRUSTED_FLAGS}>)
  target_link_libraries(${name} PUBLIC ${ARG_DEPS} ${ARG_HOST_DEPS})
  if(NOT SGM_SANITIZE)
    add_library(${name}_enclave STATIC ${ARG_SOURCES} ${ARG_ENCLAVE_SOURCES})
    target_include_directories(${name}_enclave PUBLIC ${CMAKE_SOURCE_DIR})
    target_compile_definitions(${name}_enclave PRIVATE SGM_ENCLAVE=1)
    target_compile_options(${name}_enclave PRIVATE $<$<COMPILE_LANGUAGE:CXX>:${SGM_WARNINGS}>
                           $<$<COMPILE_LANGUAGE:CXX>:${SGM_ENCLAVE_FLAGS}>)
    foreach(dep IN LISTS ARG_DEPS)
      target_link_libraries(${name}_enclave PUBLIC ${dep}_enclave)
    endforeach()
  endif()
endfunction()

# sgm_program(name SOURCES ... DEPS ...)
function(sgm_program name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  sgm_host_options(${name})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
endfunction()

# All that a test program needs and nothing else: what the sanitize preset builds.
add_custom_target(sgm_tests)

# sgm_test(name SOURCES ... DEPS ...): one GoogleTest program, one ctest entry, 120 s.
function(sgm_test name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  sgm_host_options(${name})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} GTest::gtest_main)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
  add_dependencies(sgm_tests ${name})
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES TIMEOUT 120)
endfunction()
