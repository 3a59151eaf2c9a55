// What a BO cache is worth: the traffic of real GL drivers, by the policy of their own cache and by BoCache's.
//
//     bench_bo_cache tests/traces/glmark2-g52-v26.jsonl.xz tests/traces/multiclient-g610-v26-clients.jsonl.xz
//
// A trace of a driver with a BO cache says what was asked of that cache: a BO that is labelled "Unused (BO cache)" was
// put, and acquired when it is labelled otherwise again. What it does not say is how much was asked for where the driver
// found a BO: at most that BO's size, which is what is asked for here.
//
// A BO is busy for as long as the traces' GPU takes for the last submit while it was in use (tests/traces/README.md).
//
// Policies
//   no cache       every acquire makes a BO, every put ends one
//   Mesa           panfrost_bo.c: 11 buckets by powers of two, the first in a bucket that is large enough, none if that is
//                  busy; no cap; what was put more than 2 s ago goes when something is put
//   BoCache        as it is, on a soft device. "4 an octave": asked for in sizes of four classes an octave. "high water":
//                  at the peak of what the client had in use without a cache
#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "src/bo_cache.hpp"
#include "src/soft_device.hpp"
#include "src/trace/reader.hpp"

namespace granule {
namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;
constexpr std::uint64_t kGpuNs = 8'000'000;
constexpr const char* kUnused = "Unused (BO cache)";

struct Demand {
    enum class What : std::uint8_t { kAcquire, kPut, kLabel, kEnd };
    What what = What::kAcquire;
    std::size_t client = 0;  // an open file
    std::uint32_t bo = 0;    // of the client
    std::uint64_t bytes = 0;
    unsigned flags = 0;  // 1: the CPU does not see it, 2: executable, 4: cached, 8: grows
    std::uint64_t now_ns = 0;
    std::uint64_t busy_until_ns = 0;
    std::string label;
};

// Out of the calls of a trace.
class DemandReader {
public:
    std::vector<Demand> read(const std::string& path) {
        Result<trace::Reader, trace::TraceError> reader = trace::Reader::open(path);
        if (!reader) {
            static_cast<void>(std::fprintf(stderr, "%s\n", reader.error().message().c_str()));
            return {};
        }
        trace::Call call;
        while (reader->next(call).value_or(false)) {
            if (call.result >= 0) {
                std::visit([&](const auto& what) { take(call, what); }, call.what);
            }
        }
        return std::move(demands_);
    }

private:
    struct Known {
        std::uint64_t bytes = 0;
        unsigned flags = 0;
        bool used = true;
        std::uint64_t acquired_ns = 0;
    };
    struct Client {
        std::size_t number = 0;
        std::uint64_t last_submit_ns = 0;
        std::map<std::uint32_t, Known> bos;
    };

    Client& client_of(const trace::Call& call) {
        const auto [at, fresh] = clients_.try_emplace({call.process, call.file});
        if (fresh) {
            at->second.number = clients_.size() - 1;
        }
        return at->second;
    }
    static std::uint64_t time_of(const trace::Call& call) { return kSecond + call.time_us * 1000; }

    void add(const trace::Call& call, Client& client, Demand::What what, std::uint32_t handle, const Known& known,
             std::string label = {}) {
        const bool busy = client.last_submit_ns >= known.acquired_ns && client.last_submit_ns != 0;
        demands_.push_back({what, client.number, handle, known.bytes, known.flags, time_of(call),
                            busy ? client.last_submit_ns + kGpuNs : 0, std::move(label)});
    }
    void created(const trace::Call& call, trace::GemHandle bo, std::uint64_t bytes, unsigned flags) {
        Client& client = client_of(call);
        const auto handle = static_cast<std::uint32_t>(bo);
        Known& known = client.bos[handle] = {bytes, flags, true, time_of(call)};
        add(call, client, Demand::What::kAcquire, handle, known);
    }
    void labelled(const trace::Call& call, trace::GemHandle bo, const std::string& label) {
        Client& client = client_of(call);
        const auto at = client.bos.find(static_cast<std::uint32_t>(bo));
        if (at == client.bos.end()) {
            return;  // imported
        }
        Known& known = at->second;
        if (label == kUnused) {
            if (std::exchange(known.used, false)) {
                add(call, client, Demand::What::kPut, at->first, known);
            }
        } else if (!std::exchange(known.used, true)) {
            known.acquired_ns = time_of(call);
            add(call, client, Demand::What::kAcquire, at->first, known, label);
        } else {
            add(call, client, Demand::What::kLabel, at->first, known, label);
        }
    }
    template <class Other>
    void take(const trace::Call& /*call*/, const Other& /*other*/) {}
    void take(const trace::Call& call, const trace::panthor::BoCreate& create) {
        created(call, create.bo, create.asked, (create.no_mmap ? 1U : 0U) | (create.wb_mmap ? 4U : 0U));
    }
    void take(const trace::Call& call, const trace::panfrost::CreateBo& create) {
        created(call, create.bo, create.asked,
                (create.noexec ? 0U : 2U) | (create.wb_mmap ? 4U : 0U) | (create.heap ? 8U : 0U));
    }
    void take(const trace::Call& call, const trace::panthor::BoSetLabel& set) { labelled(call, set.bo, set.label); }
    void take(const trace::Call& call, const trace::panfrost::SetLabelBo& set) { labelled(call, set.bo, set.label); }
    void take(const trace::Call& call, const trace::drm::GemClose& close) {
        Client& client = client_of(call);
        const auto at = client.bos.find(static_cast<std::uint32_t>(close.bo));
        if (at != client.bos.end()) {
            if (at->second.used) {
                add(call, client, Demand::What::kPut, at->first, at->second);
            }
            client.bos.erase(at);
        }
    }
    // With all that it has, in use or kept.
    void take(const trace::Call& call, const trace::drm::CloseFd& close) {
        if (close.left == 0) {
            Client& client = client_of(call);
            add(call, client, Demand::What::kEnd, 0, {});
            client.bos.clear();
        }
    }
    void take(const trace::Call& call, const trace::panthor::GroupSubmit& /*submit*/) {
        client_of(call).last_submit_ns = time_of(call);
    }
    void take(const trace::Call& call, const trace::panfrost::Submit& /*submit*/) {
        client_of(call).last_submit_ns = time_of(call);
    }

    std::map<std::pair<std::uint32_t, std::uint32_t>, Client> clients_;
    std::vector<Demand> demands_;
};

struct Outcome {
    std::uint64_t acquires = 0;
    std::uint64_t hits = 0;
    std::uint64_t silent_hits = 0;               // that asked no kernel
    std::uint64_t peak_bytes = 0;                // all clients together
    std::map<std::size_t, std::uint64_t> peaks;  // of each client
    double wasted = 0;                           // byte-seconds in use beyond what was asked for
    double asked = 0;                            // byte-seconds
};

class Policy {
public:
    Policy() = default;
    Policy(const Policy&) = delete;
    Policy& operator=(const Policy&) = delete;
    Policy(Policy&&) = delete;
    Policy& operator=(Policy&&) = delete;
    virtual ~Policy() = default;
    // Of one client. Returns the BO's size.
    virtual std::uint64_t acquire(const Demand& demand) = 0;
    virtual void put(const Demand& demand) = 0;
    virtual void label(const Demand& /*demand*/) {}
    [[nodiscard]] virtual std::uint64_t bytes() const = 0;  // in use and kept
    virtual void add_to(Outcome& outcome) const = 0;
};

class NoCache final : public Policy {
public:
    std::uint64_t acquire(const Demand& demand) override {
        const std::uint64_t bytes = align_up(demand.bytes, kPageBytes);
        sizes_[demand.bo] = bytes;
        bytes_ += bytes;
        return bytes;
    }
    void put(const Demand& demand) override { bytes_ -= sizes_[demand.bo]; }
    [[nodiscard]] std::uint64_t bytes() const override { return bytes_; }
    void add_to(Outcome& /*outcome*/) const override {}

private:
    std::map<std::uint32_t, std::uint64_t> sizes_;
    std::uint64_t bytes_ = 0;
};

class Mesa final : public Policy {
public:
    std::uint64_t acquire(const Demand& demand) override {
        const std::uint64_t bytes = align_up(demand.bytes, kPageBytes);
        std::list<Kept>& bucket = bucket_of(bytes);
        for (auto at = bucket.begin(); at != bucket.end(); ++at) {
            if (at->bytes >= bytes && at->flags == demand.flags) {
                if (at->busy_until_ns > demand.now_ns) {
                    break;
                }
                const std::uint64_t size = at->bytes;
                bucket.erase(at);
                ++hits_;
                used_[demand.bo] = size;
                return size;
            }
        }
        bytes_ += bytes;
        used_[demand.bo] = bytes;
        return bytes;
    }
    void put(const Demand& demand) override {
        const std::uint64_t bytes = used_[demand.bo];
        bucket_of(bytes).push_back({bytes, demand.flags, demand.now_ns, demand.busy_until_ns});
        for (std::list<Kept>& bucket : buckets_) {
            while (!bucket.empty() && demand.now_ns / kSecond - bucket.front().put_ns / kSecond > 2) {
                bytes_ -= bucket.front().bytes;
                bucket.pop_front();
            }
        }
    }
    [[nodiscard]] std::uint64_t bytes() const override { return bytes_; }
    void add_to(Outcome& outcome) const override { outcome.hits += hits_; }

private:
    struct Kept {
        std::uint64_t bytes = 0;
        unsigned flags = 0;
        std::uint64_t put_ns = 0;
        std::uint64_t busy_until_ns = 0;
    };
    std::list<Kept>& bucket_of(std::uint64_t bytes) {
        const int log2 = static_cast<int>(std::bit_width(bytes)) - 1;
        return buckets_[static_cast<std::size_t>(std::clamp(log2, 12, 22) - 12)];
    }

    std::array<std::list<Kept>, 11> buckets_;
    std::map<std::uint32_t, std::uint64_t> used_;
    std::uint64_t bytes_ = 0;
    std::uint64_t hits_ = 0;
};

class Ours final : public Policy {
public:
    Ours(const BoCacheConfig& config, std::uint64_t classes) : classes_(classes) {
        SoftDeviceConfig soft;
        soft.gpu = mali::find_gpu_model("G610");
        device_ = std::move(SoftDevice::create(soft).value());
        cache_ = std::move(BoCache::create(*device_, nullptr, config, NodeMemory::process()).value());
        gpu_ = std::move(device_->create_timeline().value());
    }
    std::uint64_t acquire(const Demand& demand) override {
        gpu_->signal(demand.now_ns);
        BoCacheRequest request;
        request.bo.bytes = classes_ == 0 ? demand.bytes : rounded(demand.bytes);
        request.bo.cpu_visible = (demand.flags & 1) == 0;
        request.bo.executable = (demand.flags & 2) != 0;
        request.bo.shareable = (demand.flags & 4) != 0;  // in the place of what the soft device does not tell apart
        request.flags.uncached = false;
        request.label = demand.label;
        request.now_ns = demand.now_ns;
        const CachedBo bo = cache_->acquire(request).value();
        used_[demand.bo] = bo.id;
        return bo.bo->size;
    }
    void put(const Demand& demand) override {
        gpu_->signal(demand.now_ns);
        const FencePoint fence = gpu_->at(demand.busy_until_ns);
        const bool busy = demand.busy_until_ns > demand.now_ns;
        static_cast<void>(cache_->put(used_[demand.bo], {&fence, busy ? 1U : 0U}, BoBusy::kUntilFences, demand.now_ns));
    }
    void label(const Demand& demand) override {
        Bo& bo = *device_->bos().find(used_[demand.bo]);
        static_cast<void>(device_->bos().set_label(bo, demand.label));
    }
    [[nodiscard]] std::uint64_t bytes() const override { return cache_->statistics().usage.all_bytes(); }
    void add_to(Outcome& outcome) const override {
        outcome.hits += cache_->statistics().hits;
        outcome.silent_hits += cache_->statistics().hits_without_calls;
    }

private:
    [[nodiscard]] std::uint64_t rounded(std::uint64_t bytes) const {
        const std::uint64_t pages = align_up(bytes, kPageBytes) / kPageBytes;
        if (pages <= classes_) {
            return pages * kPageBytes;
        }
        const auto n = static_cast<unsigned>(std::bit_width(pages - 1));
        return align_up(pages, (std::uint64_t{1} << (n - 1)) / classes_) * kPageBytes;
    }

    std::uint64_t classes_;
    Owned<SoftDevice> device_;
    Owned<Timeline> gpu_;
    Owned<BoCache> cache_;
    std::map<std::uint32_t, BoId> used_;
};

template <class MakePolicy>
Outcome run(const std::vector<Demand>& demands, MakePolicy&& make_policy) {
    std::map<std::size_t, std::unique_ptr<Policy>> clients;
    std::map<std::pair<std::size_t, std::uint32_t>, std::pair<std::uint64_t, Demand>> in_use;
    Outcome outcome;
    std::uint64_t total = 0;
    for (const Demand& demand : demands) {
        std::unique_ptr<Policy>& client = clients[demand.client];
        if (!client) {
            client = make_policy(demand.client);
        }
        total -= client->bytes();
        if (demand.what == Demand::What::kAcquire) {
            ++outcome.acquires;
            in_use[{demand.client, demand.bo}] = {client->acquire(demand), demand};
        } else if (demand.what == Demand::What::kEnd) {
            client->add_to(outcome);
            clients.erase(demand.client);
            continue;
        } else if (demand.what == Demand::What::kPut) {
            client->put(demand);
            const auto& [size, acquired] = in_use[{demand.client, demand.bo}];
            const double seconds = static_cast<double>(demand.now_ns - acquired.now_ns) / 1e9;
            const std::uint64_t asked = align_up(acquired.bytes, kPageBytes);
            outcome.asked += static_cast<double>(asked) * seconds;
            outcome.wasted += static_cast<double>(size - asked) * seconds;
        } else {
            client->label(demand);
        }
        total += client->bytes();
        outcome.peak_bytes = std::max(outcome.peak_bytes, total);
        std::uint64_t& peak = outcome.peaks[demand.client];
        peak = std::max(peak, client->bytes());
    }
    for (const auto& [number, client] : clients) {
        client->add_to(outcome);
    }
    return outcome;
}

void print(const char* policy, const Outcome& outcome) {
    const double mib = static_cast<double>(outcome.peak_bytes) / (1 << 20);
    std::printf("| %-20s | %8llu | %7llu | %5.2f %% | %7llu | %8.1f | %5.2f %% |\n", policy,
                static_cast<unsigned long long>(outcome.acquires),
                static_cast<unsigned long long>(outcome.acquires - outcome.hits),
                100.0 * static_cast<double>(outcome.hits) / static_cast<double>(outcome.acquires),
                static_cast<unsigned long long>(outcome.silent_hits), mib, 100.0 * outcome.wasted / outcome.asked);
}

void compare(const std::string& path) {
    const std::vector<Demand> demands = DemandReader().read(path);
    if (demands.empty()) {
        return;
    }
    std::printf("\n%s\n\n", path.substr(path.rfind('/') + 1).c_str());
    std::printf("| policy | acquires | BOs made | hits | without a call | peak MiB | waste |\n");
    std::printf("| --- | --: | --: | --: | --: | --: | --: |\n");
    const auto ours = [](const BoCacheConfig& config, std::uint64_t classes) {
        return [config, classes](std::size_t) -> std::unique_ptr<Policy> {
            return std::make_unique<Ours>(config, classes);
        };
    };
    const Outcome none =
        run(demands, [](std::size_t) -> std::unique_ptr<Policy> { return std::make_unique<NoCache>(); });
    print("no cache", none);
    print("Mesa", run(demands, [](std::size_t) -> std::unique_ptr<Policy> { return std::make_unique<Mesa>(); }));
    BoCacheConfig config;
    print("BoCache", run(demands, ours(config, 0)));
    print("BoCache, 4 an octave", run(demands, ours(config, 4)));
    print("BoCache, high water", run(demands, [&](std::size_t client) {
              BoCacheConfig marked = config;
              marked.high_water_bytes = none.peaks.at(client);
              return ours(marked, 0)(client);
          }));
    BoCacheConfig small = config;
    small.max_bytes = std::uint64_t{4} << 20;
    print("BoCache, 4 MiB cap", run(demands, ours(small, 0)));
}

void time_hits() {
    SoftDeviceConfig soft;
    soft.gpu = mali::find_gpu_model("G610");
    const Owned<SoftDevice> device = std::move(SoftDevice::create(soft).value());
    const Owned<Vm> vm = std::move(device->create_vm({}).value());
    const Owned<BoCache> cache = std::move(BoCache::create(*device, vm.get(), {}, NodeMemory::process()).value());
    BoCacheRequest request;
    request.bo.bytes = 64 << 10;
    request.label = "batch pool";
    request.cpu_view = true;
    constexpr int kRounds = 1'000'000;
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < kRounds; ++i) {
        static_cast<void>(cache->put(cache->acquire(request).value().id));
    }
    const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - begin;
    std::printf("\nan acquire that hits and its put: %.0f ns, %llu of %d without a call\n", took.count() / kRounds,
                static_cast<unsigned long long>(cache->statistics().hits_without_calls), kRounds);
}

}  // namespace
}  // namespace granule

int main(int count, char** arguments) try {
    for (int i = 1; i < count; ++i) {
        granule::compare(arguments[i]);
    }
    granule::time_hits();
    return 0;
} catch (const std::exception& problem) {
    static_cast<void>(std::fprintf(stderr, "%s\n", problem.what()));
    return 1;
}
