// libFuzzer: any bytes are read as a trace or refused with a reason; what is read keeps the promises of call.hpp.
//
// The bytes are read as they are, which is xz where they start like it; and now and then compressed, which must make no
// difference.
#include <lzma.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "src/trace/reader.hpp"
#include "src/trace/shared_fields.hpp"

namespace {

using namespace granule;
using namespace granule::trace;

void require(bool holds, const char* what) {
    if (!holds) {
        static_cast<void>(std::fprintf(stderr, "broken promise: %s\n", what));
        std::abort();
    }
}

void check_va(const VaRange& va) {
    require(va.start <= va.end && va.end <= Va{kMaxVaEnd}, "VA ranges are within 2^48");
}

void check_pages(const VaRange& va) {
    check_va(va);
    require(va.is_aligned(kPageBytes), "VA ranges are in whole pages");
}

void check_cache_ops(const std::vector<CacheOp>& ops) {
    for (const CacheOp& op : ops) {
        require(checked_add(op.offset.raw(), op.bytes).has_value(), "offset + size is below 2^64");
    }
}

// The checks of each kind of call that promises something; the last is for all others.
struct Checks {
    const Call& call;

    void operator()(const panthor::VmBind& bind) const {
        std::size_t syncs = 0;
        for (const panthor::BindOp& op : bind.ops) {
            check_pages(op.va);
            require(checked_add(op.offset.raw(), op.va.size()).has_value(), "offset + size is below 2^64");
            const bool map = op.kind == panthor::BindKind::kMap;
            require(map || (op.bo == GemHandle{} && !op.sparse && op.flags == MapFlags{}),
                    "only maps have a BO and flags");
            require(!map || op.sparse == (op.bo == GemHandle{}), "a map is of a BO or sparse");
            require(op.syncs.first == syncs, "the syncs of operations follow each other");
            syncs += bind.syncs_of(op).size();
        }
        require(syncs == bind.syncs.size(), "each sync belongs to an operation");
        for (const SyncOp& sync : bind.syncs) {
            require(sync.timeline || sync.at.point == 0, "binary syncobjs have no points");
        }
    }
    void operator()(const panthor::GroupSubmit& submit) const {
        std::size_t syncs = 0;
        for (const panthor::QueueSubmit& queue : submit.queues) {
            check_va(queue.stream);
            syncs += submit.syncs_of(queue).size();
        }
        require(syncs == submit.syncs.size(), "each sync belongs to a queue");
    }
    void operator()(const panthor::BoCreate& create) const {
        require((create.bo == GemHandle{}) == (call.result < 0), "a call that succeeded made a BO");
        require(create.bytes % kPageBytes == 0 && (create.bytes == 0) == (call.result < 0), "BOs are of whole pages");
    }
    void operator()(const panfrost::CreateBo& create) const {
        require((create.bo == GemHandle{}) == (call.result < 0), "a call that succeeded made a BO");
        check_pages(create.va);
        require(create.va.size() == create.bytes, "a BO is mapped as a whole");
    }
    void operator()(const panthor::BoSync& sync) const { check_cache_ops(sync.ops); }
    void operator()(const panfrost::SyncBo& sync) const { check_cache_ops(sync.ops); }
    void operator()(const panthor::BoSetLabel& set) const {
        require(set.label.size() <= kMaxLabelBytes, "labels are bounded");
    }
    void operator()(const panfrost::SetLabelBo& set) const {
        require(set.label.size() <= kMaxLabelBytes, "labels are bounded");
    }
    template <class Other>
    void operator()(const Other& /*other*/) const {}
};

struct Outcome {
    std::uint64_t calls = 0;
    std::string error;

    bool operator==(const Outcome&) const = default;
};

Outcome read_all(std::span<const std::byte> bytes) {
    Outcome outcome;
    auto reader = Reader::from_bytes("x", bytes);
    if (!reader) {
        return {0, reader.error().message()};
    }
    std::uint64_t line = 1;
    Call call;
    while (true) {
        const auto more = reader->next(call);
        if (!more) {
            const TraceError& error = more.error();
            require(error.line == line + 1, "the error is in the line after the last call's");
            require(!error.what.empty() && !error.would_be_right.empty(), "an error has a reason");
            require(!reader->next(call) && reader->next(call).error() == error,
                    "after an error comes that error again");
            outcome.error = error.message();
            return outcome;
        }
        if (!*more) {
            require(reader->bytes_consumed() == bytes.size(), "at the end all bytes are used");
            return outcome;
        }
        require(call.line == ++line, "each line is a call");
        require(call.process < reader->meta().processes, "processes are numbered from 0");
        require(call.result <= 0 && call.result >= -4095, "results are 0 or -errno");
        require(!call.name.empty(), "each call has a name");
        std::visit(Checks{call}, call.what);
        ++outcome.calls;
    }
}

std::vector<std::uint8_t> compressed(const std::uint8_t* data, std::size_t size) {
    std::vector<std::uint8_t> out(lzma_stream_buffer_bound(size));
    std::size_t used = 0;
    require(lzma_easy_buffer_encode(0, LZMA_CHECK_CRC32, nullptr, data, size, out.data(), &used, out.size()) == LZMA_OK,
            "anything can be compressed");
    out.resize(used);
    return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const auto bytes = std::as_bytes(std::span(data, size));
    const Outcome plain = read_all(bytes);
    // Rarely, because compressing takes much longer than reading.
    if (size % 32 == 0 && !XzDecoder::looks_like_xz(bytes)) {
        const std::vector<std::uint8_t> xz = compressed(data, size);
        require(read_all(std::as_bytes(std::span(xz))) == plain, "compressing makes no difference");
    }
    return 0;
}
