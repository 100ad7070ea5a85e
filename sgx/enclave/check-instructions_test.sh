#!/bin/sh
# SPDX-License-Identifier: MIT
# check-instructions_test.sh CC OBJDUMP [FORBIDDEN.elf]: the check refuses each forbidden instruction,
# and takes what an enclave may do. FORBIDDEN.elf is an enclave that holds one of each.
set -eu
cc=$1
objdump=$2
forbidden=${3:-}
check=$(dirname "$0")/check-instructions.sh
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
failures=0

assemble() {
    printf '.text\n%s:\n nop\n %s\n ret\n' "$2" "$1" |
        "$cc" -c -x assembler - -o "$directory/try.o"
}

refused() {
    assemble "$1" some_function
    if "$check" "$objdump" "$directory/try.o" 2>"$directory/why"; then
        echo "FAILED: '$1' was taken"
        failures=$((failures + 1))
    elif ! grep -q ' at 0x[0-9a-f]* in some_function ' "$directory/why"; then
        echo "FAILED: '$1' was refused without symbol and offset: $(cat "$directory/why")"
        failures=$((failures + 1))
    elif [ -e "$directory/try.o" ]; then
        echo "FAILED: the file with '$1' is still there"
        failures=$((failures + 1))
    fi
}

taken() {
    assemble "$1" "$2"
    if ! "$check" "$objdump" "$directory/try.o"; then
        echo "FAILED: '$1' in $2 was refused"
        failures=$((failures + 1))
    fi
}

for code in cpuid syscall sysenter rdtsc rdtscp rdpmc getsec hlt 'int $0x80' int3 iretq \
    'in %dx, %al' 'in $0x60, %eax' 'out %eax, %dx' insb 'rep insl' outsb 'rep outsl' lretq \
    'ljmpl *(%rax)' 'lcalll *(%rax)' 'mov %eax, %ds' 'mov %eax, %fs' 'mov (%rax), %gs' 'pop %fs' \
    'lss (%rax), %ebx' 'lfs (%rax), %ebx' 'lgs (%rax), %ebx' 'sgdt (%rax)' 'sidt (%rax)' \
    'sldt %ax' 'str %ax' 'smsw %ax' vmcall vmfunc enclu; do
    refused "$code"
done
taken enclu sgm_enclu
taken 'rdrand %rax; xrstor (%rax); movq %fs:0x28, %rax; rep movsb; mov %ds, %eax' some_function
taken 'popfq; wrfsbase %rax; lock incl (%rax); ud2; call *%gs:8' some_function

# In one enclave, with the runtime around them: each is named with its symbol and offset, and nothing
# else is.
if [ -n "$forbidden" ]; then
    cp "$forbidden" "$directory/forbidden.elf"
    if "$check" "$objdump" "$directory/forbidden.elf" 2>"$directory/why"; then
        echo "FAILED: an enclave full of forbidden instructions was taken"
        failures=$((failures + 1))
    fi
    "$objdump" -t "$forbidden" | sed -n 's/.* \(forbidden_[a-z0-9_]*\)$/\1/p' >"$directory/names"
    while read -r name; do
        if [ "$(grep -c " at 0x[0-9a-f]* in $name " "$directory/why")" != 1 ]; then
            echo "FAILED: $name was not refused with its symbol and offset"
            failures=$((failures + 1))
        fi
    done <"$directory/names"
    if [ "$(wc -l <"$directory/names")" -lt 30 ] ||
        [ "$(wc -l <"$directory/names")" != "$(wc -l <"$directory/why")" ]; then
        echo "FAILED: refused were other things than the forbidden ones: $(cat "$directory/why")"
        failures=$((failures + 1))
    fi
fi

# What SGX2 allows is allowed where it was declared, and nothing more.
for code in rdtsc rdtscp; do
    assemble "$code" some_function
    if ! "$check" --sgx2 "$objdump" "$directory/try.o"; then
        echo "FAILED: '$code' was refused although SGX2 was declared"
        failures=$((failures + 1))
    fi
done
assemble cpuid some_function
if "$check" --sgx2 "$objdump" "$directory/try.o" 2>"$directory/why"; then
    echo "FAILED: cpuid was taken because SGX2 was declared"
    failures=$((failures + 1))
fi

if printf 'no ELF file' >"$directory/no.o" && "$check" "$objdump" "$directory/no.o" 2>/dev/null; then
    echo "FAILED: a file that cannot be disassembled was taken"
    failures=$((failures + 1))
fi
[ "$failures" = 0 ]
