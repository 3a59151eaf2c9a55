#include "allocator/plan.hpp"

namespace granule {

const char* to_string(PlanError::Code code) noexcept {
    switch (code) {
        case PlanError::Code::kNone:
            return "";
        case PlanError::Code::kMisaligned:
            return "VA, size or BO offset is not a multiple of 4096";
        case PlanError::Code::kOutOfRange:
            return "the range is outside the address space";
        case PlanError::Code::kOutsideBo:
            return "the range is outside the BO";
        case PlanError::Code::kEmptyRange:
            return "the range is empty";
        case PlanError::Code::kGranuleCut:
            return "the request would cut a granule";
    }
    return "?";
}

const char* to_string(UnmapPolicy policy) noexcept {
    switch (policy) {
        case UnmapPolicy::kReject:
            return "reject";
        case UnmapPolicy::kSplit:
            return "split";
        case UnmapPolicy::kEnlarge:
            return "enlarge";
    }
    return "?";
}

const char* to_string(LeafPolicy policy) noexcept {
    return policy == LeafPolicy::kLargest ? "largest" : "page";
}

const char* to_string(KernelBehaviour kernel) noexcept {
    switch (kernel) {
        case KernelBehaviour::kSplits:
            return "splits";
        case KernelBehaviour::kRefuses:
            return "refuses";
        case KernelBehaviour::kOopses:
            return "oopses";
        case KernelBehaviour::kRealigns:
            return "realigns";
    }
    return "?";
}

const char* to_string(PlanOp::Kind kind) noexcept {
    return kind == PlanOp::Kind::kMap ? "map" : "unmap";
}

const char* to_string(PlanOp::Purpose purpose) noexcept {
    switch (purpose) {
        case PlanOp::Purpose::kRequested:
            return "requested";
        case PlanOp::Purpose::kGranule:
            return "granule";
        case PlanOp::Purpose::kResidual:
            return "residual";
        case PlanOp::Purpose::kIsolate:
            return "isolate";
    }
    return "?";
}

}  // namespace granule
