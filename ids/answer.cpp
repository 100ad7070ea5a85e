// SPDX-License-Identifier: MIT
#include "ids/answer.hpp"

#include <algorithm>
#include <span>

#include "ids/owner_message.hpp"
#include "wire/bytes.hpp"
#include "wire/fixed_text.hpp"

namespace sgm::ids {

namespace {

constexpr std::size_t kMaxRows = 16'384;
static_assert(sizeof(wire::Answer) + kMaxRows * sizeof(wire::ProcessRow) <= kMaxMessagePayload);

}  // namespace

std::vector<std::uint8_t> process_answer(std::uint64_t query, std::uint64_t hypervisor_clock,
                                         const ProcessList& processes) {
    std::span<const wire::ProcessRow> rows;
    wire::Answer answer{};
    answer.query = query;
    answer.hypervisor_clock = hypervisor_clock;
    answer.row_size = sizeof(wire::ProcessRow);
    if (processes) {
        answer.status = wire::AnswerStatus::ok;
        answer.total_rows = static_cast<std::uint32_t>(processes->size());
        rows = std::span{*processes}.first(std::min(processes->size(), kMaxRows));
        answer.row_count = static_cast<std::uint32_t>(rows.size());
    } else {
        answer.status = wire::AnswerStatus::not_ready;
        wire::set_text(answer.reason, processes.error());
    }
    std::vector<std::uint8_t> payload(sizeof(answer) + rows.size_bytes());
    Writer writer{payload};
    writer.put(answer);
    for (const wire::ProcessRow& row : rows) {
        writer.put(row);
    }
    return payload;
}

}  // namespace sgm::ids
