#!/bin/sh
# SPDX-License-Identifier: MIT
# check-instructions.sh [--sgx2] OBJDUMP ENCLAVE.elf
# Refuses an enclave that holds an instruction which faults inside (Intel SDM vol. 3D, 38.6.1 and
# table 36-1): such code works in software SGX, or on the next CPU, and not where it matters.
# ENCLU may stand in sgm_enclu only, the one place that the software loader can take over.
# --sgx2: the enclave is for CPUs with SGX2, which allow RDTSC and RDTSCP inside.
set -eu
sgx2=0
if [ "$1" = --sgx2 ]; then
    sgx2=1
    shift
fi
objdump=$1
elf=$2

dump=$(mktemp)
trap 'rm -f "$dump"' EXIT
"$objdump" -d --no-show-raw-insn "$elf" >"$dump"

if ! awk -v elf="$elf" -v sgx2="$sgx2" '
/^[0-9a-f]+ <.*>:$/ { symbol = $2; sub(/^</, "", symbol); sub(/>:$/, "", symbol); start = $1; next }
/^ *[0-9a-f]+:\t/ {
    seen = 1
    split($0, column, "\t")
    address = column[1]; gsub(/[ :]/, "", address)
    code = column[2]
    while (code ~ /^(rep|repz|repnz|lock|data16|addr32|cs|ds|es|fs|gs|ss|bnd|notrack|rex[.A-Z]*) /)
        sub(/^[^ ]+ +/, "", code)
    op = code; sub(/ .*/, "", op)
    why = ""
    if (op ~ /^rdtscp?$/ && !sgx2)
        why = "cannot run in an enclave of SGX1, and SGX2 was not declared"
    else if (op ~ /^(cpuid|getsec|rdpmc|sgdt|sidt|sldt|str|smsw|vmcall|vmfunc|hlt|monitor|mwait)$/ ||
        op ~ /^(sysenter|sysexit|sysexitl|sysexitq|syscall|sysret|sysretl|sysretq)$/ ||
        op ~ /^(int|int1|int3|into|iret|iretl|iretq|iretw)$/ ||
        op ~ /^(in|inb|inw|inl|ins|insb|insw|insl|out|outb|outw|outl|outs|outsb|outsw|outsl)$/ ||
        op ~ /^(ljmp|ljmpl|ljmpw|lcall|lcalll|lcallw|lret|lretl|lretq|lretw|lds|les|lss|lfs|lgs)$/)
        why = "cannot run in an enclave"
    else if (op ~ /^(mov|movw|movl|movq|pop|popq|popw)$/ && code ~ /[, ]%[cdefgs]s$/)
        why = "loads a segment register, which cannot be done in an enclave"
    else if (op == "enclu" && symbol != "sgm_enclu")
        why = "stands outside sgm_enclu"
    if (why != "") {
        printf "%s: `%s` at 0x%s in %s %s\n", elf, code, address, symbol, why
        bad = 1
    }
}
END {
    if (!seen) { printf "%s: nothing to disassemble\n", elf; bad = 1 }
    exit bad
}' "$dump" >&2; then
    rm -f "$elf"
    exit 1
fi
