// Binning: which triangles each tile of 16 x 16 pixels has to look at, as chains of chunks in the tiler heap.
#include <algorithm>
#include <array>
#include <cstddef>
#include <span>
#include <stdexcept>
#include <utility>
#include <vector>

#include "triangle/gpu.hpp"
#include "triangle/raster.hpp"

namespace triangle {
namespace {

class Binner {
public:
    Binner(rendering::GpuMemory& memory, const TilerJob& job, GpuCounters& counters)
        : memory_(memory), job_(job), counters_(counters), heap_next_(job.heap) {
        const std::vector<PolygonList> empty(std::size_t{job.columns} * job.rows);
        memory_.write(job.lists, std::as_bytes(std::span(empty)));
    }

    void bin(std::uint32_t draw_index) {
        const auto draw = memory_.load<Draw>(job_.draws + draw_index * sizeof(Draw));
        for (std::uint32_t triangle = 0; triangle < draw.index_count / 3; ++triangle) {
            const auto index =
                memory_.load<std::array<std::uint32_t, 3>>(draw.indices + triangle * sizeof(std::uint32_t) * 3);
            const auto vertex = [&](std::size_t i) {
                return memory_.load<ShadedVertex>(draw.shaded + index[i] * sizeof(ShadedVertex));
            };
            const RasterTriangle on_screen(vertex(0), vertex(1), vertex(2));
            if (on_screen.visible()) {
                ++counters_.triangles;
                add_to_tiles(on_screen, draw_index << 24 | triangle);
            }
        }
    }

private:
    void add_to_tiles(const RasterTriangle& on_screen, std::uint32_t entry) {
        constexpr std::int64_t kTile = kTileSide * kSubpixel;
        const auto [left, right] = std::ranges::minmax(on_screen.corners(), {}, &Point::x);
        const auto [top, bottom] = std::ranges::minmax(on_screen.corners(), {}, &Point::y);
        const std::int64_t last_column = std::min<std::int64_t>(right.x / kTile, job_.columns - 1);
        const std::int64_t last_row = std::min<std::int64_t>(bottom.y / kTile, job_.rows - 1);
        for (std::int64_t row = std::max<std::int64_t>(top.y / kTile, 0); row <= last_row; ++row) {
            for (std::int64_t column = std::max<std::int64_t>(left.x / kTile, 0); column <= last_column; ++column) {
                if (on_screen.touches(column * kTileSide, row * kTileSide, kTileSide, kTileSide)) {
                    append(static_cast<std::uint64_t>(row * job_.columns + column), entry);
                }
            }
        }
    }

    void append(std::uint64_t tile, std::uint32_t entry) {
        const GpuVa list_va = job_.lists + tile * sizeof(PolygonList);
        auto list = memory_.load<PolygonList>(list_va);
        PolygonChunk chunk;
        if (list.last != 0) {
            chunk = memory_.load<PolygonChunk>(list.last);
        }
        if (list.last == 0 || chunk.count == PolygonChunk::kEntries) {
            const GpuVa fresh = take_chunk();
            if (list.last == 0) {
                list.first = fresh;
            } else {
                chunk.next = fresh;
                memory_.store(list.last, chunk);
            }
            list.last = fresh;
            chunk = {};
            memory_.store(list_va, list);
        }
        chunk.entry[chunk.count++] = entry;
        memory_.store(list.last, chunk);
        ++counters_.list_entries;
    }

    GpuVa take_chunk() {
        if (job_.heap_end - heap_next_ < sizeof(PolygonChunk)) {
            throw std::runtime_error("the tiler heap is full");
        }
        return std::exchange(heap_next_, heap_next_ + sizeof(PolygonChunk));
    }

    rendering::GpuMemory& memory_;
    const TilerJob job_;
    GpuCounters& counters_;
    GpuVa heap_next_;
};

}  // namespace

void run_tiler_stage(rendering::GpuMemory& memory, GpuVa payload, GpuCounters& counters) {
    const auto job = memory.load<TilerJob>(payload);
    Binner binner(memory, job, counters);
    for (std::uint32_t draw = 0; draw < job.draw_count; ++draw) {
        binner.bin(draw);
    }
}

}  // namespace triangle
