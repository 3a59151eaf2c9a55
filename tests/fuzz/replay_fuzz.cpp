// libFuzzer: whatever the reader accepts is replayed or refused with a reason, and the replay keeps every promise.
//
// Bounded, so that a run is an address space's worth of work and not a machine's: so many calls, and none that makes,
// maps or unmaps more than 64 MiB, because the oracle looks at every page.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <variant>

#include "src/replay/replay.hpp"
#include "src/trace/reader.hpp"

namespace {

using namespace granule;
using namespace granule::replay;

constexpr std::uint64_t kMostCalls = 300;
constexpr std::uint64_t kMostBytes = std::uint64_t{64} << 20;

void require(bool holds, const char* what) {
    if (!holds) {
        static_cast<void>(std::fprintf(stderr, "broken promise: %s\n", what));
        std::abort();
    }
}

// Whether a call is more work than a run of the fuzzer should be. The last is for calls that make or map nothing.
struct TooLarge {
    bool operator()(const trace::panthor::BoCreate& create) const { return create.bytes > kMostBytes; }
    bool operator()(const trace::panfrost::CreateBo& create) const { return create.bytes > kMostBytes; }
    bool operator()(const trace::drm::PrimeImport& import) const { return import.bytes > kMostBytes; }
    bool operator()(const trace::panthor::VmBind& bind) const {
        std::uint64_t bytes = 0;
        for (const trace::panthor::BindOp& op : bind.ops) {
            if (op.va.size() > kMostBytes - bytes) {
                return true;
            }
            bytes += op.va.size();
        }
        return false;
    }
    template <class Other>
    bool operator()(const Other& /*other*/) const {
        return false;
    }
};

// Reads and plays until the end, a refusal, or enough calls.
void play_all(trace::Reader& reader, Replay& replay) {
    trace::Call call;
    for (std::uint64_t calls = 0; calls < kMostCalls; ++calls) {
        const auto more = reader.next(call);
        if (!more || !*more) {
            return;
        }
        if (std::visit(TooLarge{}, call.what)) {
            continue;
        }
        if (const auto played = replay.play(call); !played) {
            const Stop& stop = played.error();
            require(stop.line == call.line && !stop.what.empty(), "a refusal has its line and a reason");
            require(stop.kind == Stop::Kind::kRefused || !stop.would_be_right.empty(),
                    "bad input: what would be right");
            return;
        }
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    auto reader = trace::Reader::from_bytes("x", std::as_bytes(std::span(data, size)));
    if (!reader) {
        return 0;
    }
    constexpr KernelBehaviour kKernels[] = {KernelBehaviour::kSplits, KernelBehaviour::kRefuses,
                                            KernelBehaviour::kOopses, KernelBehaviour::kRealigns};
    Options options;
    options.verify = true;
    options.kernel = kKernels[size % std::size(kKernels)];
    auto replay = Replay::create(options, reader->meta());
    if (!replay) {
        return 0;
    }
    play_all(*reader, *replay);
    const ReplayResult result = replay->finish();
    for (const Finding& finding : result.findings) {
        static_cast<void>(std::fprintf(stderr, "line %llu: %s\n", static_cast<unsigned long long>(finding.line),
                                       finding.what.c_str()));
    }
    require(result.good(), "a replay keeps every promise");
    return 0;
}
