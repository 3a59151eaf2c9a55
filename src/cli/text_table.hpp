// A table of text: columns as wide as their contents, headings of two lines, and a title line above each row.
//
// Cells are ASCII: a byte is a column. It is kept within kColumns where that can be done by moving columns together.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace granule::cli {

class TextTable {
public:
    static constexpr std::size_t kColumns = 120;

    struct Column {
        std::string upper;
        std::string lower;
        bool left = false;  // flush left
    };

    explicit TextTable(std::vector<Column> columns) : columns_(std::move(columns)) {}

    // `title` above the cells; `mark` at the right end of its line. A row may have no cells.
    void add_row(std::string title, std::string mark, std::vector<std::string> cells);
    void add_row(std::vector<std::string> cells) { add_row({}, {}, std::move(cells)); }

    [[nodiscard]] std::string text() const;

private:
    struct Row {
        std::string title;
        std::string mark;
        std::vector<std::string> cells;
    };

    [[nodiscard]] std::vector<std::size_t> widths() const;
    [[nodiscard]] std::string line(const std::vector<std::string>& cells, const std::vector<std::size_t>& widths,
                                   std::size_t gap) const;

    std::vector<Column> columns_;
    std::vector<Row> rows_;
};

}  // namespace granule::cli
