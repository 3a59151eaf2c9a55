#include "src/cli/text_table.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

namespace granule::cli {

void TextTable::add_row(std::string title, std::string mark, std::vector<std::string> cells) {
    rows_.push_back({std::move(title), std::move(mark), std::move(cells)});
}

std::vector<std::size_t> TextTable::widths() const {
    std::vector<std::size_t> widths;
    for (std::size_t i = 0; i < columns_.size(); ++i) {
        std::size_t width = std::max(columns_[i].upper.size(), columns_[i].lower.size());
        for (const Row& row : rows_) {
            if (i < row.cells.size()) {
                width = std::max(width, row.cells[i].size());
            }
        }
        widths.push_back(width);
    }
    return widths;
}

std::string TextTable::line(const std::vector<std::string>& cells, const std::vector<std::size_t>& widths,
                            std::size_t gap) const {
    std::string line;
    for (std::size_t i = 0; i < cells.size(); ++i) {
        if (i != 0) {
            line.append(gap, ' ');
        }
        const std::size_t padding = widths[i] - cells[i].size();
        line.append(columns_[i].left ? 0 : padding, ' ');
        line += cells[i];
        line.append(columns_[i].left ? padding : 0, ' ');
    }
    line.erase(line.find_last_not_of(' ') + 1);
    return line + "\n";
}

std::string TextTable::text() const {
    const std::vector<std::size_t> width = widths();
    const std::size_t cells = std::accumulate(width.begin(), width.end(), std::size_t{0});
    const std::size_t gaps = columns_.size() - 1;
    const std::size_t gap = cells + 2 * gaps <= kColumns ? 2 : 1;
    const std::size_t total = cells + gap * gaps;

    std::vector<std::string> upper;
    std::vector<std::string> lower;
    for (const Column& column : columns_) {
        upper.push_back(column.upper);
        lower.push_back(column.lower);
    }
    std::string text;
    if (std::any_of(upper.begin(), upper.end(), [](const std::string& heading) { return !heading.empty(); })) {
        text += line(upper, width, gap);
    }
    text += line(lower, width, gap) + std::string(total, '-') + "\n";
    for (const Row& row : rows_) {
        if (!row.title.empty()) {
            const std::size_t used = row.title.size() + row.mark.size();
            const std::size_t padding = row.mark.empty() ? 0 : used + 2 <= total ? total - used : 2;
            text += row.title + std::string(padding, ' ') + row.mark + "\n";
        }
        if (!row.cells.empty()) {
            text += line(row.cells, width, gap);
        }
    }
    return text;
}

}  // namespace granule::cli
