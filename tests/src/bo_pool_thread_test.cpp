// One pool, many threads: buffers come and go, fences are signalled, slabs are given back, all at once. Best under
// -fsanitize=thread.
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

#include "tests/src/bo_pool_fixture.hpp"

namespace granule::test {
namespace {

struct Mine {
    PoolBuffer buffer;
    std::byte mark{};
};

// Fills its buffers with a mark of its own and finds it there when it gives them back.
std::uint64_t use(BoPool& pool, const Timeline& timeline, std::uint64_t thread) {
    std::uint64_t wrong = 0;
    std::vector<Mine> mine;
    std::uint64_t random = thread + 1;
    for (std::uint64_t i = 0; i < 1500; ++i) {
        random = random * 6364136223846793005U + 1442695040888963407U;
        const std::uint64_t bytes = 1 + (random >> 33U) % 6000;
        if (const Result<PoolBuffer, OsError> buffer = pool.allocate(bytes, 64); buffer) {
            mine.push_back({*buffer, std::byte(thread * 64 + i % 64)});
            std::memset(buffer->cpu, std::to_integer<int>(mine.back().mark), buffer->bytes);
        } else {
            ++wrong;
        }
        while (mine.size() > 20 || (i > 1400 && !mine.empty())) {
            const Mine gone = mine.front();
            mine.erase(mine.begin());
            const bool same = std::all_of(gone.buffer.cpu, gone.buffer.cpu + gone.buffer.bytes,
                                          [&](std::byte at) { return at == gone.mark; });
            const FencePoint fence = timeline.at(i);
            wrong += same && pool.free(gone.buffer.id, {&fence, i % 2}) == Status::kOk ? 0U : 1U;
        }
    }
    return wrong;
}

}  // namespace

TEST_CASE("threads on one pool get buffers of their own, and nothing is lost") {
    const BoPoolFixture fixture;
    BoPoolConfig config;
    config.slab_bytes = 64 * kKiB;
    config.first_slab_bytes = 64 * kKiB;
    const Owned<BoPool> pool = fixture.make_pool(config);
    std::atomic<std::uint64_t> wrong{0};
    std::atomic<bool> stop{false};
    std::vector<std::thread> users;
    users.reserve(4);
    for (std::uint64_t thread = 0; thread < 4; ++thread) {
        users.emplace_back([&, thread] { wrong += use(*pool, *fixture.timeline, thread); });
    }
    std::thread caretaker([&] {
        for (std::uint64_t value = 0; !stop; ++value) {
            fixture.timeline->signal(value);
            pool->collect();
            pool->trim(value % 8 == 0 ? 0 : 1000, 0);
            wrong += pool->statistics().waiting > 6000 ? 1U : 0U;
            std::this_thread::yield();
        }
    });
    for (std::thread& user : users) {
        user.join();
    }
    stop = true;
    caretaker.join();
    CHECK(wrong == 0);
    fixture.timeline->signal(UINT64_MAX);
    pool->collect();
    CHECK(pool->validate());
    CHECK(pool->statistics().buffers == 0);
    CHECK(pool->statistics().waiting == 0);
    pool->trim();
    CHECK(fixture.device->bos().live() == 0);
}

TEST_CASE("threads that ask a set for the same kinds get the same pools") {
    const BoPoolFixture fixture;
    BoPools pools(*fixture.device, *fixture.vm, {}, {});
    std::vector<std::vector<BoPool*>> seen(4);
    std::vector<std::thread> threads;
    threads.reserve(seen.size());
    for (std::vector<BoPool*>& mine : seen) {
        threads.emplace_back([&pools, &mine] {
            for (unsigned i = 0; i < 8; ++i) {
                SlabKind kind;
                kind.flags = {(i & 1U) != 0, (i & 2U) != 0, (i & 4U) != 0};
                mine.push_back(pools.pool(kind).value());
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    for (const std::vector<BoPool*>& each : seen) {
        CHECK(each == seen[0]);
    }
}

}  // namespace granule::test
