# SPDX-License-Identifier: MIT
# cmake -DNM=nm -DSHIPPED=files -DUNSEALED=files -P: no program that ships holds the session of the
# benchmarks that does not seal. That the mark is found at all is seen in those that do hold it.
foreach(kind SHIPPED UNSEALED)
  foreach(file IN LISTS ${kind})
    execute_process(COMMAND ${NM} ${file} OUTPUT_VARIABLE symbols RESULT_VARIABLE status)
    if(NOT status EQUAL 0)
      message(FATAL_ERROR "${NM} ${file} failed")
    endif()
    string(FIND "${symbols}" "sgm_bench_unsealed" at)
    if(kind STREQUAL SHIPPED AND NOT at EQUAL -1)
      message(FATAL_ERROR "${file} ships and holds a session that does not seal")
    elseif(kind STREQUAL UNSEALED AND at EQUAL -1)
      message(FATAL_ERROR "${file} has no mark: this check would find nothing")
    endif()
  endforeach()
endforeach()
