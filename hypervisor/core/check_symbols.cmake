# SPDX-License-Identifier: MIT
# cmake -DNM=... -DOBJECTS=... -P: fails when the core, compiled for Xen, asks for a symbol that is
# neither its own, nor the crypto room's, nor one of the four functions on memory.
execute_process(COMMAND ${NM} --undefined-only --demangle --no-sort ${OBJECTS}
                OUTPUT_VARIABLE lines COMMAND_ERROR_IS_FATAL ANY)
string(REPLACE ";" "," lines "${lines}")
string(REGEX MATCHALL " U [^\n]+" symbols "${lines}")
list(LENGTH symbols count)
if(count EQUAL 0)
  message(FATAL_ERROR "nm shows no symbol at all in ${OBJECTS}")
endif()
list(FILTER symbols EXCLUDE REGEX
     "^ U (mem(cpy|set|cmp|move)|(vtable for )?sgm::(hypervisor|crypto)::.*)$")
if(symbols)
  list(JOIN symbols "\n" symbols)
  message(FATAL_ERROR "the hypervisor core needs what Xen does not have:\n${symbols}")
endif()
