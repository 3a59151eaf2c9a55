#include "virtual-texture/fly_through.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "rendering/granule_call.hpp"
#include "virtual-texture/bind_meter.hpp"
#include "virtual-texture/camera.hpp"
#include "virtual-texture/frame_memory.hpp"
#include "virtual-texture/gpu_frame.hpp"
#include "virtual-texture/gpu_thread.hpp"
#include "virtual-texture/residency.hpp"
#include "virtual-texture/residency_picture.hpp"
#include "virtual-texture/sparse_texture.hpp"
#include "virtual-texture/texture.hpp"

namespace streaming {
namespace {

using rendering::check;
using rendering::checked;

constexpr std::uint32_t kLoadsPerFrame = 48;

granule::Device open_device(const Options& options) {
    auto info = granule_sized<granule_device_info>();
    auto soft = granule_sized<granule_soft_info>();
    if (options.device.empty()) {
        soft.kernel = options.kernel;
        info.soft = &soft;
        return checked(granule::Device::open(info), "the soft device");
    }
    info.path = options.device.c_str();
    granule::Device device = checked(granule::Device::open(info), options.device);
    if (device.properties().sparse == 0) {
        throw std::runtime_error(options.device + ": it has no sparse mappings; a panthor is wanted");
    }
    return device;
}

granule::Vm make_vm(granule::Device& device, BindMeter& meter) {
    auto info = granule_sized<granule_vm_info>();
    info.label = "virtual texture";
    meter.watch(info);
    return checked(device.create_vm(info), "a VM");
}

class Flight {
public:
    explicit Flight(const Options& options)
        : options_(options),
          device_(open_device(options)),
          vm_(make_vm(device_, meter_)),
          bound_(checked(device_.create_timeline(), "a timeline")),
          rendered_(checked(device_.create_timeline(), "a timeline")),
          texture_(device_, vm_, options.budget, options.leaves, has_pixels()),
          residency_(options.budget, kLoadsPerFrame) {
        if (has_pixels()) {
            frames_.emplace(device_, vm_, options.width, options.height);
            gpu_ = std::make_unique<GpuThread>(vm_, bound_, rendered_);
        }
        report_.leaves = options.leaves;
        report_.has_pixels = has_pixels();
        report_.at_start = vm_.statistics();
        appeared_at_start_ = meter_.appeared();
        gone_at_start_ = meter_.gone();
    }

    Report run(const std::atomic<bool>& stop) {
        const Nanoseconds begun = now();
        std::uint32_t frame = 0;
        for (; frame < options_.frames && !stop; ++frame) {
            advance(frame);
            show_progress(frame);
        }
        for (std::uint32_t last = frame; last < frame + 2; ++last) {  // the two that are still under way
            if (last >= 2) {
                compare(last - 2, collect(last - 2));
            }
        }
        finish(frame);
        report_.stopped = frame < options_.frames;
        report_.elapsed = now() - begun;
        return std::move(report_);
    }

private:
    // What a frame was drawn with, for the comparison.
    struct Drawn {
        Camera camera;
        std::vector<bool> resident;
    };

    [[nodiscard]] bool has_pixels() const noexcept { return options_.device.empty(); }

    [[nodiscard]] Camera camera(std::uint32_t frame) const {
        const auto last = static_cast<float>(std::max(options_.frames, 2U) - 1);
        return camera_at(static_cast<float>(frame) / last, options_.width, options_.height);
    }

    void advance(std::uint32_t frame) {
        std::optional<rendering::Picture> done;
        std::vector<std::uint32_t> feedback;
        if (frame >= 2) {
            done = collect(frame - 2);
            feedback = feedback_of(frame - 2);
        }
        const Step step = residency_.advance(frame, feedback);
        drawn_.at(frame % 3) = {camera(frame), residency_.resident()};
        if (has_pixels()) {
            for (const Load& load : step.loads) {
                for (std::uint32_t i = 0; i < load.count; ++i) {
                    make_tile(tile_of(load.tile + i), texture_.slot(load.slot + i));
                }
            }
            frames_->prepare(frame, camera(frame), camera(frame + kFeedbackAhead), texture_.va(), residency_);
        }
        submit(frame, step);
        if (frame >= 2) {
            compare(frame - 2, done);
        }
        if (frame == options_.frames / 2) {
            write_residency(frame);
        }
    }

    // Waits until a frame is drawn, and takes what the GPU made.
    std::optional<rendering::Picture> collect(std::uint32_t frame) {
        checked(rendered_.wait(std::uint64_t{frame} + 1), "a frame's fence");
        if (!has_pixels()) {
            return std::nullopt;
        }
        last_finished_ = gpu_->finished(frame);
        return frames_->picture(frame);
    }

    [[nodiscard]] std::vector<std::uint32_t> feedback_of(std::uint32_t frame) const {
        if (has_pixels()) {
            return frames_->feedback(frame);
        }
        std::vector<std::uint32_t> feedback;
        for (int row = 0; row < feedback_count(options_.height); ++row) {
            for (int column = 0; column < feedback_count(options_.width); ++column) {
                feedback.push_back(feedback_at(camera(frame + kFeedbackAhead), frame, column, row));
            }
        }
        return feedback;
    }

    void submit(std::uint32_t frame, const Step& step) {
        meter_transaction(frame);
        const bool may_cut = options_.leaves == GRANULE_LEAVES_LARGEST;
        const std::uint64_t drawn_before = may_cut || frame == 0 ? frame : frame - 1;  // frames
        const Nanoseconds before = now();
        report_.operations += texture_.bind(step, rendered_.at(drawn_before), bound_.at(std::uint64_t{frame} + 1));
        report_.submit_times.push_back(now() - before);
        submitted_ = before;
        report_.tiles_bound += step.tiles_loaded;
        report_.tiles_unbound += step.tiles_unbound;
        last_had_binds_ = !step.loads.empty() || !step.unbinds.empty();
        if (has_pixels()) {
            gpu_->submit(frame, frames_->job(frame));
        } else {
            checked(rendered_.signal(std::uint64_t{frame} + 1), "a frame without a GPU");
        }
    }

    // How long the transaction of the frame before took; it is done before the next one is queued.
    void meter_transaction(std::uint32_t frame) {
        if (frame == 0) {
            return;
        }
        checked(bound_.wait(frame), "the fence of the binds");
        check(bound_.status(), "the binds of the frame before");
        if (last_had_binds_ && has_pixels()) {
            const bool waited = options_.leaves == GRANULE_LEAVES_LARGEST;
            const Nanoseconds could_begin = waited ? std::max(submitted_, last_finished_) : submitted_;
            report_.bind_times.push_back(meter_.last() - std::min(could_begin, meter_.last()));
        }
    }

    void compare(std::uint32_t frame, const std::optional<rendering::Picture>& picture) {
        ++report_.frames;
        if (!picture) {
            return;
        }
        const Drawn& drawn = drawn_.at(frame % 3);
        const Comparison compared = reference_.compare(*picture, drawn.camera, drawn.resident);
        Comparison& sum = report_.comparison;
        if (compared.wrong > 0 && sum.wrong == 0) {
            sum.first_wrong_x = compared.first_wrong_x;
            sum.first_wrong_y = compared.first_wrong_y;
            fmt::print(stderr, "virtual-texture: frame {}: {} pixels are wrong, the first one at {},{}\n", frame,
                       compared.wrong, compared.first_wrong_x, compared.first_wrong_y);
        }
        sum.pixels += compared.pixels;
        sum.textured += compared.textured;
        sum.fell_back += compared.fell_back;
        sum.wrong += compared.wrong;
        report_.checksum = report_.checksum * 0x100000001B3U ^ rendering::checksum(*picture);
        if (is_shown(frame)) {
            rendering::write_png(*picture, fmt::format("{}/frame-{:03}.png", options_.out, frame));
        }
    }

    // The first one, one while the tiles come in, and four more on the way.
    [[nodiscard]] bool is_shown(std::uint32_t frame) const noexcept {
        const std::uint32_t last = options_.frames - 1;
        return frame == 0 || frame == 3 || frame == last || frame == last / 4 || frame == last / 2 ||
               frame == last - last / 4;
    }

    void show_progress(std::uint32_t frame) const {
        if (isatty(STDERR_FILENO) != 0) {
            fmt::print(stderr, "\r{}: frame {}/{}\033[K{}", name_of(options_.leaves), frame + 1, options_.frames,
                       frame + 1 == options_.frames ? "\n" : "");
        }
    }

    // How the texture is mapped for the frame that was submitted last.
    void write_residency(std::uint32_t frame) {
        checked(bound_.wait(std::uint64_t{frame} + 1), "a frame's binds");
        rendering::write_png(residency_picture(vm_, texture_.range(), residency_, frame, name_of(options_.leaves)),
                             fmt::format("{}/residency-{}-{:03}.png", options_.out, name_of(options_.leaves), frame));
    }

    void finish(std::uint32_t frames) {
        if (frames > 0) {
            checked(bound_.wait(frames), "the last binds");
        }
        checked(vm_.check(), "the VM");
        report_.at_end = vm_.statistics();
        report_.mappings_appeared = meter_.appeared() - appeared_at_start_;
        report_.mappings_gone = meter_.gone() - gone_at_start_;
        if (has_pixels()) {
            report_.gpu = gpu_->counters();
            auto soft = granule_sized<granule_soft_statistics>();
            check(granule_soft_get_statistics(device_.get(), &soft), "the GPU's statistics");
            report_.gpu_accesses = soft.accesses;
            report_.gpu_stale = soft.stale;
            report_.leaf_cuts = soft.leaf_cuts;
        }
        if (frames > 0) {
            write_residency(frames - 1);
        }
    }

    const Options options_;
    Report report_;
    BindMeter meter_;
    granule::Device device_;
    granule::Vm vm_;
    granule::Timeline bound_;     // n + 1: the binds of frame n are done
    granule::Timeline rendered_;  // n + 1: frame n is drawn
    SparseTexture texture_;
    Residency residency_;
    std::optional<FrameMemory> frames_;
    Reference reference_;
    std::array<Drawn, 3> drawn_{};  // by frame % 3
    std::uint64_t appeared_at_start_ = 0;
    std::uint64_t gone_at_start_ = 0;
    Nanoseconds submitted_ = 0;      // when the last transaction was handed over
    Nanoseconds last_finished_ = 0;  // when the last frame was drawn that is known of
    bool last_had_binds_ = false;
    std::unique_ptr<GpuThread> gpu_;  // ends first
};

}  // namespace

Report fly_through(const Options& options, const std::atomic<bool>& stop) {
    return Flight(options).run(stop);
}

}  // namespace streaming
