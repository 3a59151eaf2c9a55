// A reference on a BO for as long as a call looks at it, so that its owner may let go of it meanwhile.
//
// Thread-safety: one thread; the BO table is any thread's.
#pragma once

#include "src/bo.hpp"

namespace granule {

class BoPin {
public:
    explicit BoPin(BoTable& bos) noexcept : bos_(bos) {}
    BoPin(const BoPin&) = delete;
    BoPin& operator=(const BoPin&) = delete;
    ~BoPin() {
        if (bo_ != nullptr) {
            bos_.release(*bo_, 1);
        }
    }

    // Once. nullptr: no such BO.
    [[nodiscard]] const Bo* take(BoId id) noexcept {
        bo_ = bos_.retain_if_live(id, 1);
        return bo_;
    }

private:
    BoTable& bos_;
    Bo* bo_ = nullptr;
};

}  // namespace granule
