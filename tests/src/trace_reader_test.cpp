// Calls out of real traces: what each kind of call becomes, and that nothing is lost.
#include <doctest/doctest.h>

#include <array>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "src/trace/reader.hpp"
#include "tests/src/trace_text.hpp"

using namespace granule;
using namespace granule::trace;
using trace_text::bytes_of;

namespace {

std::string path_of(const std::string& name) {
    return std::string(GRANULE_TRACES_DIR) + "/" + name;
}

// The calls of tests/traces/sample.jsonl, by line.
const std::map<std::uint64_t, Call>& sample() {
    static const std::map<std::uint64_t, Call> calls = [] {
        std::map<std::uint64_t, Call> all;
        auto reader = Reader::open(path_of("sample.jsonl"));
        REQUIRE_MESSAGE(reader, reader.error().message());
        Call call;
        while (true) {
            const auto more = reader->next(call);
            REQUIRE_MESSAGE(more, more.error().message());
            if (!*more) {
                return all;
            }
            all[call.line] = call;
        }
    }();
    return calls;
}

// The call of a line of the sample, which is of this kind.
template <class Kind>
const Kind& at(std::uint64_t line, std::string_view name) {
    const Call& call = sample().at(line);
    REQUIRE(call.name == name);
    const Kind* const kind = std::get_if<Kind>(&call.what);
    REQUIRE(kind != nullptr);
    return *kind;
}

// The only call of a trace of one line.
Call only(std::string_view line) {
    const std::string text = std::string(trace_text::kMeta) + std::string(line);
    auto reader = Reader::from_bytes("x", bytes_of(text));
    REQUIRE(reader);
    Call call;
    const auto more = reader->next(call);
    REQUIRE_MESSAGE(more, more.error().message());
    REQUIRE(*more);
    return call;
}

VaRange va(std::uint64_t start, std::uint64_t size) {
    return {Va{start}, Va{start + size}};
}
SyncOp sync(bool signal, bool timeline, std::uint64_t point) {
    return {signal, timeline, {SyncobjHandle{1}, point}};
}
std::vector<SyncOp> copy(std::span<const SyncOp> syncs) {
    return {syncs.begin(), syncs.end()};
}

constexpr bool kWait = false;
constexpr bool kSignal = true;
constexpr bool kBinary = false;
constexpr bool kTimeline = true;

}  // namespace

TEST_CASE("the first line says where the trace comes from") {
    const auto sampled = Reader::open(path_of("sample.jsonl"));
    REQUIRE(sampled);
    CHECK(sampled->meta().name == "sample");
    CHECK(sampled->meta().gpu == "Mali-G610 (0xa867, panthor)");
    CHECK(sampled->meta().mesa == "26.2.6");
    CHECK(sampled->meta().kernel_uapi == "panthor 1.9");
    CHECK(sampled->meta().host == "arm64 user-mode emulation");
    CHECK(sampled->meta().processes == 30);

    const auto compressed = Reader::open(path_of("glmark2-g52-v26.jsonl.xz"));
    REQUIRE(compressed);
    CHECK(compressed->meta().gpu == "Mali-G52 (0x7212, panfrost)");
    CHECK(compressed->meta().processes == 1);
}

TEST_CASE("every line but the first is a call, with its number, time, process, thread, file and result") {
    CHECK(sample().size() == 70);
    CHECK(sample().begin()->first == 2);
    CHECK(sample().rbegin()->first == 71);

    const Call& bind = sample().at(43);
    CHECK(bind.line == 43);
    CHECK(bind.time_us == 4403760);
    CHECK(bind.process == 0);
    CHECK(bind.thread == 1);
    CHECK(bind.file == 2);
    CHECK(bind.result == 0);
    CHECK(bind.name == "panthor.vm_bind");
    CHECK(sample().at(71).result == -62);
    CHECK(sample().at(13).result == -110);
    CHECK(sample().at(4).result == 0);  // says "r":0
    CHECK(only(R"({"p":1,"t":18446744073709551615,"th":4294967295,"f":7,"c":"panthor.dev_query"})").process == 1);
}

TEST_CASE("calls of every DRM driver") {
    CHECK(at<drm::Open>(2, "drm.open").driver == Driver::kPanfrost);
    CHECK(at<drm::Open>(2, "drm.open").version_major == 1);
    CHECK(at<drm::Open>(2, "drm.open").version_minor == 6);
    CHECK(at<drm::Open>(23, "drm.open").driver == Driver::kPanthor);
    CHECK(at<drm::CloseFd>(22, "drm.close_fd").left == 2);
    CHECK(at<drm::GemClose>(20, "drm.gem_close").bo == GemHandle{7});
    CHECK(at<drm::PrimeExport>(19, "drm.prime_export").bo == GemHandle{7});
    CHECK(at<drm::PrimeExport>(19, "drm.prime_export").fd == 9);

    const Call imported = only(R"({"t":1,"th":1,"f":1,"c":"drm.prime_import","fd":12,"size":8192,"own":1,"h":3})");
    const auto* const import = std::get_if<drm::PrimeImport>(&imported.what);
    REQUIRE(import != nullptr);
    CHECK(import->fd == 12);
    CHECK(import->bytes == 8192);
    CHECK(import->own);
    CHECK(import->bo == GemHandle{3});
}

TEST_CASE("syncobjs") {
    CHECK(at<drm::SyncobjCreate>(9, "drm.syncobj_create").signalled);
    CHECK(at<drm::SyncobjCreate>(9, "drm.syncobj_create").syncobj == SyncobjHandle{1});
    CHECK(at<drm::SyncobjDestroy>(16, "drm.syncobj_destroy").syncobj == SyncobjHandle{1});
    CHECK(at<drm::SyncobjToFd>(17, "drm.syncobj_to_fd").sync_file);
    CHECK(at<drm::FdToSyncobj>(18, "drm.fd_to_syncobj").sync_file);
    CHECK(at<drm::SyncobjReset>(45, "drm.syncobj_reset").first == SyncobjHandle{1});
    CHECK(at<drm::SyncobjReset>(45, "drm.syncobj_reset").count == 1);
    CHECK(at<drm::SyncobjTransfer>(38, "drm.syncobj_transfer").from == SyncPoint{SyncobjHandle{1}, 1});
    CHECK(at<drm::SyncobjTransfer>(38, "drm.syncobj_transfer").to == SyncPoint{SyncobjHandle{1}, 1});

    const auto& binary = at<drm::SyncobjWait>(21, "drm.syncobj_wait");
    CHECK(!binary.timeline);
    CHECK(binary.all);
    CHECK(!binary.for_submit);
    CHECK(!binary.only_available);
    CHECK(!binary.poll);
    CHECK(binary.points == std::vector<SyncPoint>{{SyncobjHandle{1}, 0}});

    const auto& timeline = at<drm::SyncobjWait>(50, "drm.syncobj_timeline_wait");
    CHECK(timeline.timeline);
    CHECK(timeline.all);
    CHECK(timeline.for_submit);
    CHECK(timeline.only_available);
    CHECK(timeline.poll);
    CHECK(timeline.points == std::vector<SyncPoint>{{SyncobjHandle{1}, 1}});

    const auto& submitted = at<drm::SyncobjWait>(70, "drm.syncobj_timeline_wait");
    CHECK(submitted.all);
    CHECK(submitted.for_submit);
    CHECK(!submitted.only_available);

    const Call signalled = only(R"({"t":1,"th":1,"f":1,"c":"drm.syncobj_timeline_signal","s":5,"pt":77})");
    const auto* const signal = std::get_if<drm::SyncobjSignal>(&signalled.what);
    REQUIRE(signal != nullptr);
    CHECK(signal->at == SyncPoint{SyncobjHandle{5}, 77});
}

TEST_CASE("CPU mappings") {
    const auto& bo = at<cpu::Mmap>(8, "cpu.mmap");
    CHECK(bo.bo == GemHandle{2});
    CHECK(bo.bytes == 4096);
    CHECK(bo.protection == 3);
    CHECK(bo.map == CpuMapId{1});
    CHECK(!at<cpu::Mmap>(26, "cpu.mmap").bo.has_value());
    CHECK(at<cpu::Munmap>(11, "cpu.munmap").map == CpuMapId{7});
    CHECK(at<cpu::Munmap>(11, "cpu.munmap").bytes == 65536);
    CHECK(sample().at(11).file == 0);
}

TEST_CASE("panfrost") {
    const auto& create = at<panfrost::CreateBo>(5, "panfrost.create_bo");
    CHECK(create.asked == 134217728);
    CHECK(create.bytes == 134217728);
    CHECK(create.noexec);
    CHECK(create.heap);
    CHECK(!create.wb_mmap);
    CHECK(create.bo == GemHandle{1});
    CHECK(create.va == va(4160749568, 134217728));
    CHECK(at<panfrost::SetLabelBo>(6, "panfrost.set_label_bo").bo == GemHandle{1});
    CHECK(at<panfrost::SetLabelBo>(6, "panfrost.set_label_bo").label == "Tiler heap");
    CHECK(at<panfrost::MmapBo>(7, "panfrost.mmap_bo").bo == GemHandle{2});
    CHECK(at<panfrost::Madvise>(12, "panfrost.madvise").dont_need);
    CHECK(at<panfrost::Madvise>(12, "panfrost.madvise").retained);
    CHECK(!at<panfrost::Madvise>(15, "panfrost.madvise").dont_need);
    CHECK(at<panfrost::WaitBo>(13, "panfrost.wait_bo").bo == GemHandle{9});
    CHECK(at<panfrost::WaitBo>(13, "panfrost.wait_bo").timeout_ns == 0);

    const auto& submit = at<panfrost::Submit>(10, "panfrost.submit");
    CHECK(submit.bos == std::vector<GemHandle>{GemHandle{7}, GemHandle{8}, GemHandle{9}, GemHandle{2}});
    CHECK(submit.waits.empty());
    CHECK(submit.signals == SyncobjHandle{1});

    const Call synced = only(R"({"t":1,"th":1,"f":1,"c":"panfrost.sync_bo","ops":[[3,1,4096,100],[4,0,0,8]]})");
    const auto* const sync_bo = std::get_if<panfrost::SyncBo>(&synced.what);
    REQUIRE(sync_bo != nullptr);
    CHECK(sync_bo->ops ==
          std::vector<CacheOp>{{GemHandle{3}, true, BoOffset{4096}, 100}, {GemHandle{4}, false, BoOffset{0}, 8}});
}

TEST_CASE("panthor, but for binds") {
    CHECK(at<panthor::VmCreate>(27, "panthor.vm_create").user_va_bytes == std::uint64_t{1} << 47);
    CHECK(at<panthor::VmCreate>(27, "panthor.vm_create").vm == VmId{1});
    CHECK(at<panthor::VmDestroy>(46, "panthor.vm_destroy").vm == VmId{1});
    CHECK(at<panthor::VmGetState>(55, "panthor.vm_get_state").vm == VmId{1});
    CHECK(!at<panthor::VmGetState>(55, "panthor.vm_get_state").unusable);

    const auto& create = at<panthor::BoCreate>(28, "panthor.bo_create");
    CHECK(create.asked == 4096);
    CHECK(create.bytes == 4096);
    CHECK(!create.no_mmap);
    CHECK(!create.wb_mmap);
    CHECK(create.exclusive == VmId{1});
    CHECK(create.bo == GemHandle{1});
    CHECK(at<panthor::BoMmapOffset>(30, "panthor.bo_mmap_offset").bo == GemHandle{1});
    CHECK(at<panthor::BoSetLabel>(31, "panthor.bo_set_label").label == "Sample positions");
    CHECK(at<panthor::GroupCreate>(33, "panthor.group_create").vm == VmId{1});
    CHECK(at<panthor::GroupCreate>(33, "panthor.group_create").group == GroupHandle{1});
    CHECK(at<panthor::GroupDestroy>(41, "panthor.group_destroy").group == GroupHandle{1});

    const auto& heap = at<panthor::TilerHeapCreate>(34, "panthor.tiler_heap_create");
    CHECK(heap.vm == VmId{1});
    CHECK(heap.initial_chunks == 5);
    CHECK(heap.max_chunks == 64);
    CHECK(heap.chunk_bytes == 2097152);
    CHECK(heap.heap == TilerHeapHandle{65537});
    CHECK(at<panthor::TilerHeapDestroy>(40, "panthor.tiler_heap_destroy").heap == TilerHeapHandle{65537});

    const auto& submit = at<panthor::GroupSubmit>(42, "panthor.group_submit");
    CHECK(submit.group == GroupHandle{2});
    REQUIRE(submit.queues.size() == 1);
    CHECK(submit.queues[0].queue == 0);
    CHECK(submit.queues[0].stream == va(140737487433728, 104));
    CHECK(copy(submit.syncs_of(submit.queues[0])) ==
          std::vector<SyncOp>{sync(kWait, kTimeline, 1), sync(kSignal, kTimeline, 3)});

    const Call synced = only(R"({"t":1,"th":1,"f":1,"c":"panthor.bo_sync","ops":[[3,0,0,4096]]})");
    const auto* const bo_sync = std::get_if<panthor::BoSync>(&synced.what);
    REQUIRE(bo_sync != nullptr);
    CHECK(bo_sync->ops == std::vector<CacheOp>{{GemHandle{3}, false, BoOffset{0}, 4096}});
}

TEST_CASE("binds: map, sparse map, unmap, sync, one and many") {
    const auto& map = at<panthor::VmBind>(29, "panthor.vm_bind");
    CHECK(map.vm == VmId{1});
    CHECK(!map.async);
    REQUIRE(map.ops.size() == 1);
    CHECK(map.ops[0].kind == panthor::BindKind::kMap);
    CHECK(map.ops[0].va == va(140737488351232, 4096));
    CHECK(map.ops[0].bo == GemHandle{1});
    CHECK(map.ops[0].offset == BoOffset{0});
    CHECK(map.ops[0].flags == MapFlags{.readonly = false, .noexec = true, .uncached = false});
    CHECK(!map.ops[0].sparse);
    CHECK(map.syncs_of(map.ops[0]).empty());
    CHECK(at<panthor::VmBind>(32, "panthor.vm_bind").ops[0].flags.readonly);

    const auto& sparse = at<panthor::VmBind>(52, "panthor.vm_bind");
    CHECK(sparse.async);
    CHECK(sparse.ops[0].sparse);
    CHECK(sparse.ops[0].flags.noexec);
    CHECK(sparse.ops[0].bo == GemHandle{});
    CHECK(copy(sparse.syncs_of(sparse.ops[0])) ==
          std::vector<SyncOp>{sync(kSignal, kTimeline, 3), sync(kSignal, kBinary, 0), sync(kWait, kTimeline, 2)});

    const auto& unmap = at<panthor::VmBind>(43, "panthor.vm_bind");
    CHECK(unmap.ops[0].kind == panthor::BindKind::kUnmap);
    CHECK(unmap.ops[0].va == va(140737487343616, 4096));

    const auto& only_sync = at<panthor::VmBind>(57, "panthor.vm_bind");
    CHECK(only_sync.ops[0].kind == panthor::BindKind::kSync);
    CHECK(only_sync.ops[0].va.empty());
    CHECK(copy(only_sync.syncs_of(only_sync.ops[0])) == std::vector<SyncOp>{sync(kSignal, kBinary, 0)});

    const auto& many = at<panthor::VmBind>(61, "panthor.vm_bind");
    REQUIRE(many.ops.size() > 1);
    CHECK(many.ops[0].offset == BoOffset{13631488});
    CHECK(many.ops[1].va.start == Va{140736597721088});
    CHECK(copy(many.syncs_of(many.ops.front())) == std::vector<SyncOp>{sync(kWait, kTimeline, 11)});
    CHECK(copy(many.syncs_of(many.ops.back())) == std::vector<SyncOp>{sync(kSignal, kTimeline, 12)});

    const Call lettered =
        only(R"({"t":1,"th":1,"f":1,"c":"panthor.vm_bind","vm":1,"async":0,"ops":[)"
             R"({"op":"map","va":281474976706560,"size":4096,"h":4294967295,"off":18446744073709543424,"fl":"URN"},)"
             R"({"op":"map","va":0,"size":0,"h":1,"off":0,"fl":""}]})");
    const auto* const edges = std::get_if<panthor::VmBind>(&lettered.what);
    REQUIRE(edges != nullptr);
    CHECK(edges->ops[0].va.end == Va{kMaxVaEnd});
    CHECK(edges->ops[0].bo == GemHandle{UINT32_MAX});
    CHECK(edges->ops[0].flags == MapFlags{.readonly = true, .noexec = true, .uncached = true});
    CHECK(edges->ops[1].flags == MapFlags{});
    CHECK(edges->ops[1].va.empty());
}

TEST_CASE("a call without meaning for memory has a name only") {
    static_cast<void>(at<OtherCall>(3, "panfrost.get_param"));
    static_cast<void>(at<OtherCall>(24, "panthor.dev_query"));
    static_cast<void>(at<OtherCall>(54, "panthor.group_get_state"));
}

TEST_CASE("what a failed call did not make need not be there, and is none") {
    const Call failed = only(R"({"t":1,"th":1,"f":1,"c":"panthor.bo_create","req":1,"flags":0,"vm":0,"r":-12})");
    CHECK(failed.result == -12);
    const auto* const create = std::get_if<panthor::BoCreate>(&failed.what);
    REQUIRE(create != nullptr);
    CHECK(create->bo == GemHandle{});
    CHECK(create->bytes == 0);
}

TEST_CASE("fields that no call has are ignored") {
    const Call call = only(R"({"t":1,"new":{"t":[2]},"th":1,"f":1,"c":"drm.gem_close","h":3,"note":"x"})");
    CHECK(call.time_us == 1);
}

TEST_CASE("a call that is read into again keeps nothing of the one before") {
    const std::string text = std::string(trace_text::kMeta) +
                             R"({"p":1,"t":5,"th":6,"f":7,"c":"panthor.vm_bind","vm":1,"async":1,"r":-22,"ops":[)"
                             R"({"op":"sync","syncs":[["sb",1,0]]}]})"
                             "\n"
                             R"({"t":1,"th":1,"f":1,"c":"panthor.vm_bind","vm":2,"async":0,"ops":[]})";
    auto reader = Reader::from_bytes("x", bytes_of(text));
    REQUIRE(reader);
    Call call;
    REQUIRE(reader->next(call).value_or(false));
    REQUIRE(reader->next(call).value_or(false));
    CHECK(call.process == 0);
    CHECK(call.result == 0);
    const auto* const bind = std::get_if<panthor::VmBind>(&call.what);
    REQUIRE(bind != nullptr);
    CHECK(bind->ops.empty());
    CHECK(bind->syncs.empty());
    CHECK(!bind->async);
    const auto end = reader->next(call);
    REQUIRE(end);
    CHECK(!*end);
    CHECK(call.line == 3);  // as it was
}

TEST_CASE("times may go back: threads finish in one order and are recorded in another") {
    const std::string text = std::string(trace_text::kMeta) + R"({"t":9,"th":1,"f":1,"c":"drm.gem_close","h":3})" +
                             "\n" + R"({"t":8,"th":2,"f":1,"c":"drm.gem_close","h":4})";
    auto reader = Reader::from_bytes("x", bytes_of(text));
    REQUIRE(reader);
    Call call;
    CHECK(reader->next(call).value_or(false));
    CHECK(reader->next(call).value_or(false));
    CHECK(call.time_us == 8);
}

TEST_CASE("whole real traces come out with the numbers that another program counted") {
    struct Counts {
        const char* name;
        std::uint64_t calls, bos, bo_bytes, binds, maps, map_bytes, sparse_maps, unmaps, syncs, label_bytes, failed;
    };
    // Counted in the uncompressed files by a few lines of Python that share nothing with the reader.
    constexpr std::array kExpected = std::to_array<Counts>({
        {"sparse-vtex-g610-v26-k12", 6300, 34, 415973376, 3504, 37570, 4463476736, 0, 34, 3747, 0, 0},
        {"sparse-arena-g610-v26-k19", 41918, 4316, 9754955776, 17698, 9632, 20021731328, 3396, 4496, 18765, 0, 0},
        {"multiclient-g610-v26-clients", 126465, 830, 482721792, 1528, 818, 482213888, 0, 710, 1420, 681887, 0},
        {"glmark2-g52-v26", 216205, 390, 365891584, 0, 0, 0, 0, 0, 0, 883152, 85},
    });
    for (const Counts& expected : kExpected) {
        CAPTURE(expected.name);
        auto reader = Reader::open(path_of(std::string(expected.name) + ".jsonl.xz"));
        REQUIRE_MESSAGE(reader, reader.error().message());
        CHECK(reader->meta().name == expected.name);
        Counts counts{};
        Call call;
        std::uint64_t consumed = 0;
        while (true) {
            const auto more = reader->next(call);
            REQUIRE_MESSAGE(more, more.error().message());
            if (!*more) {
                break;
            }
            if (call.line != counts.calls + 2 || reader->bytes_consumed() < consumed) {
                FAIL("line ", call.line, " after ", counts.calls, " calls");
            }
            consumed = reader->bytes_consumed();
            ++counts.calls;
            counts.failed += call.result < 0 ? 1U : 0U;
            if (const auto* const bo = std::get_if<panthor::BoCreate>(&call.what)) {
                ++counts.bos;
                counts.bo_bytes += bo->bytes;
            } else if (const auto* const old_bo = std::get_if<panfrost::CreateBo>(&call.what)) {
                ++counts.bos;
                counts.bo_bytes += old_bo->bytes;
            } else if (const auto* const label = std::get_if<panthor::BoSetLabel>(&call.what)) {
                counts.label_bytes += label->label.size();
            } else if (const auto* const old_label = std::get_if<panfrost::SetLabelBo>(&call.what)) {
                counts.label_bytes += old_label->label.size();
            } else if (const auto* const bind = std::get_if<panthor::VmBind>(&call.what)) {
                ++counts.binds;
                counts.syncs += bind->syncs.size();
                for (const panthor::BindOp& op : bind->ops) {
                    const bool map = op.kind == panthor::BindKind::kMap;
                    counts.maps += map && !op.sparse ? 1U : 0U;
                    counts.map_bytes += map && !op.sparse ? op.va.size() : 0;
                    counts.sparse_maps += map && op.sparse ? 1U : 0U;
                    counts.unmaps += op.kind == panthor::BindKind::kUnmap ? 1U : 0U;
                }
            }
        }
        CHECK(reader->bytes_consumed() == reader->bytes_total());
        CHECK(counts.calls == expected.calls);
        CHECK(counts.bos == expected.bos);
        CHECK(counts.bo_bytes == expected.bo_bytes);
        CHECK(counts.binds == expected.binds);
        CHECK(counts.maps == expected.maps);
        CHECK(counts.map_bytes == expected.map_bytes);
        CHECK(counts.sparse_maps == expected.sparse_maps);
        CHECK(counts.unmaps == expected.unmaps);
        CHECK(counts.syncs == expected.syncs);
        CHECK(counts.label_bytes == expected.label_bytes);
        CHECK(counts.failed == expected.failed);
    }
}
