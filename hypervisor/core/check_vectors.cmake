# SPDX-License-Identifier: MIT
# cmake -DTOOL=... -DEXPECTED=... -P: fails when the conversation that the tool has with the core is
# not, byte for byte, the one that is written down.
execute_process(COMMAND ${TOOL} OUTPUT_VARIABLE made COMMAND_ERROR_IS_FATAL ANY)
file(READ ${EXPECTED} written)
if(NOT made STREQUAL written)
  message(FATAL_ERROR "the protocol is not what ${EXPECTED} shows; if that is meant, write it anew: "
                      "${TOOL} > ${EXPECTED}, and raise kProtocolVersion")
endif()
