// Where the nodes of a VM's maps and its 4 KiB tables should come from: what each costs in one VM's life.
//
//   life   make whatever the VM needs, take `count` nodes and write them as their owner would (a node of the tree: its
//          first cache line; a table: all of it), and end
//   churn  give one back and take one, all over the place
//
// The contestants differ in where a node comes from, and in how the end gives everything back:
//
//   malloc         the C library's, a call per node, a call per node at the end
//   mimalloc       mimalloc's process-wide heap, the same
//   mimalloc_heap  a mimalloc heap of the VM's own, destroyed at once. A bound only: up to mimalloc 2 such a heap
//                  serves only the thread that created it, and a VM is not bound to a thread.
//   pool           granule's NodePool: slabs from mimalloc's process-wide heap, given back slab by slab
//
// A life after another takes over the memory that the first one made the kernel map, as long as the allocator kept it:
// all do up to some size. mimalloc gives slabs beyond 16 MiB back to the kernel, so that the pool's life of 16384 nodes
// is that of a first life, page faults included. Read `per_node`, and ratios within one run.
#include <benchmark/benchmark.h>
#include <dlfcn.h>
#include <mimalloc.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "allocator/node_memory.hpp"
#include "allocator/node_pool.hpp"

namespace {

using granule::NodeMemory;
using granule::NodePool;

// A node of the mapping tree, and a page table.
struct TreeNode {
    static constexpr std::size_t kBytes = 1600;
    static constexpr std::size_t kAlignment = 64;
    static constexpr std::size_t kWritten = 64;
};
struct Table {
    static constexpr std::size_t kBytes = 4096;
    static constexpr std::size_t kAlignment = 4096;
    static constexpr std::size_t kWritten = 4096;
};

// The C library's functions by way of its handle: where a program links libmimalloc, `malloc` itself is mimalloc's.
struct CLibrary {
    void* handle = dlopen("libc.so.6", RTLD_NOW);
    void* (*aligned_alloc)(std::size_t,
                           std::size_t) = reinterpret_cast<void* (*)(std::size_t, std::size_t)>(dlsym(handle,
                                                                                                      "aligned_alloc"));
    void (*free)(void*) = reinterpret_cast<void (*)(void*)>(dlsym(handle, "free"));
};

const CLibrary& c_library() {
    static const CLibrary library;
    return library;
}

template <class Node>
class Malloc {
public:
    explicit Malloc(std::uint64_t) {}
    void* take() { return library_.aligned_alloc(Node::kAlignment, Node::kBytes); }
    void give_back(void* node) { library_.free(node); }
    void end(const std::vector<void*>& nodes) {
        for (void* node : nodes) {
            library_.free(node);
        }
    }

private:
    const CLibrary& library_ = c_library();
};

template <class Node>
class Mimalloc {
public:
    explicit Mimalloc(std::uint64_t) {}
    void* take() { return mi_malloc_aligned(Node::kBytes, Node::kAlignment); }
    void give_back(void* node) { mi_free(node); }
    void end(const std::vector<void*>& nodes) {
        for (void* node : nodes) {
            mi_free(node);
        }
    }
};

template <class Node>
class MimallocHeap {
public:
    explicit MimallocHeap(std::uint64_t) : heap_(mi_heap_new()) {}
    void* take() { return mi_heap_malloc_aligned(heap_, Node::kBytes, Node::kAlignment); }
    void give_back(void* node) { mi_free(node); }
    void end(const std::vector<void*>&) { mi_heap_destroy(heap_); }

private:
    mi_heap_t* heap_;
};

template <class Node>
class Pool {
public:
    explicit Pool(std::uint64_t count) : pool_(NodeMemory::process(), Node::kBytes, Node::kAlignment) {
        if (!pool_.reserve(count)) {
            std::abort();
        }
    }
    void* take() { return pool_.take(); }
    void give_back(void* node) { pool_.give_back(node); }
    void end(const std::vector<void*>&) { pool_ = NodePool(NodeMemory::process(), Node::kBytes, Node::kAlignment); }

private:
    NodePool pool_;
};

void count_nodes(benchmark::State& state, std::size_t count) {
    state.counters["per_node"] = benchmark::Counter(
        static_cast<double>(count), benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}

template <class Node>
void write(void* node) {
    std::memset(node, 0, Node::kWritten);
    benchmark::DoNotOptimize(node);
}

template <template <class> class Source, class Node>
void life(benchmark::State& state) {
    const auto count = static_cast<std::size_t>(state.range(0));
    std::vector<void*> nodes(count);
    for (auto _ : state) {
        Source<Node> source(count);
        for (void*& node : nodes) {
            node = source.take();
            write<Node>(node);
        }
        source.end(nodes);
    }
    count_nodes(state, count);
}

template <template <class> class Source, class Node>
void churn(benchmark::State& state) {
    const auto count = static_cast<std::size_t>(state.range(0));
    std::vector<void*> nodes(count);
    Source<Node> source(count);
    for (void*& node : nodes) {
        node = source.take();
        write<Node>(node);
    }
    for (auto _ : state) {
        for (std::size_t at = 0; at < count; ++at) {
            void*& node = nodes[at * 7919 % count];  // a prime: not in the order of allocation
            source.give_back(node);
            node = source.take();
            write<Node>(node);
        }
    }
    source.end(nodes);
    count_nodes(state, count);
}

void counts(benchmark::internal::Benchmark* benchmark) {
    benchmark->Arg(16)->Arg(512)->Arg(16384);
}

}  // namespace

BENCHMARK_TEMPLATE(life, Malloc, TreeNode)->Apply(counts);
BENCHMARK_TEMPLATE(life, Mimalloc, TreeNode)->Apply(counts);
BENCHMARK_TEMPLATE(life, MimallocHeap, TreeNode)->Apply(counts);
BENCHMARK_TEMPLATE(life, Pool, TreeNode)->Apply(counts);
BENCHMARK_TEMPLATE(churn, Malloc, TreeNode)->Apply(counts);
BENCHMARK_TEMPLATE(churn, Mimalloc, TreeNode)->Apply(counts);
BENCHMARK_TEMPLATE(churn, MimallocHeap, TreeNode)->Apply(counts);
BENCHMARK_TEMPLATE(churn, Pool, TreeNode)->Apply(counts);
BENCHMARK_TEMPLATE(life, Malloc, Table)->Apply(counts);
BENCHMARK_TEMPLATE(life, Mimalloc, Table)->Apply(counts);
BENCHMARK_TEMPLATE(life, MimallocHeap, Table)->Apply(counts);
BENCHMARK_TEMPLATE(life, Pool, Table)->Apply(counts);
BENCHMARK_TEMPLATE(churn, Malloc, Table)->Apply(counts);
BENCHMARK_TEMPLATE(churn, Mimalloc, Table)->Apply(counts);
BENCHMARK_TEMPLATE(churn, MimallocHeap, Table)->Apply(counts);
BENCHMARK_TEMPLATE(churn, Pool, Table)->Apply(counts);

BENCHMARK_MAIN();
