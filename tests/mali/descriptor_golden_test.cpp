// tests/golden/descriptors.txt, line by line: what Linux writes is what the encoders give, and the decoders read it
// back.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <fstream>
#include <map>
#include <sstream>
#include <string>

#include "mali/descriptor.hpp"
#include "mali/lock_region.hpp"
#include "mali/translation_config.hpp"

namespace {

using namespace granule;
using namespace granule::mali;

// The words of one line, typed. A word that is missing or not understood fails the line.
class Words {
public:
    explicit Words(const std::string& line) : in_(line) {}

    std::string word() {
        std::string text;
        if (!(in_ >> text)) {
            complete_ = false;
        }
        return text;
    }
    std::uint64_t number() {
        const std::string text = word();
        std::size_t used = 0;
        std::uint64_t value = 0;
        try {
            value = std::stoull(text, &used, 0);
        } catch (const std::exception&) {
            complete_ = false;
        }
        complete_ = complete_ && used == text.size();
        return value;
    }
    unsigned small() { return static_cast<unsigned>(number()); }
    template <class T>
    T one_of(const std::map<std::string, T>& meanings) {
        const auto found = meanings.find(word());
        if (found == meanings.end()) {
            complete_ = false;
            return {};
        }
        return found->second;
    }
    Format format() { return one_of<Format>({{"mali", Format::kMaliLpae}, {"aarch64", Format::kAarch64_4k}}); }
    LeafSize size() { return one_of<LeafSize>({{"4K", LeafSize::k4K}, {"2M", LeafSize::k2M}, {"1G", LeafSize::k1G}}); }
    bool coherent() { return one_of<bool>({{"coherent", true}, {"noncoherent", false}}); }
    // io-pgtable's prot flags (Linux include/linux/iommu.h); MMIO before CACHE, as arm_lpae_prot_to_pte has it.
    LeafAttributes prot() {
        const std::uint64_t flags = number();
        LeafAttributes attributes;
        attributes.read = (flags & 0x01) != 0;
        attributes.write = (flags & 0x02) != 0;
        attributes.execute = (flags & 0x08) == 0;
        attributes.privileged = (flags & 0x20) != 0;
        attributes.memory = (flags & 0x10) != 0   ? MemoryType::kDevice
                            : (flags & 0x04) != 0 ? MemoryType::kCached
                                                  : MemoryType::kUncached;
        return attributes;
    }
    // All words were there, understood, and none is left.
    bool complete() {
        std::string rest;
        return complete_ && !(in_ >> rest);
    }

private:
    std::istringstream in_;
    bool complete_ = true;
};

void check_leaf(Format format, LeafSize size, Pa pa, const LeafAttributes& attributes, std::uint64_t descriptor) {
    CHECK(encode_leaf(format, size, pa, attributes) == descriptor);
    const Entry entry = decode(format, leaf_level(size), descriptor);
    CHECK(entry.kind == EntryKind::kLeaf);
    CHECK(entry.pa == pa);
    CHECK(entry.size == size);
    CHECK(entry.attributes == expressible(format, attributes));
    CHECK_FALSE(entry.software_sync);
}

void check_line(const std::string& what, Words& words) {
    if (what == "leaf" || what == "low") {
        const Format format = words.format();
        const LeafSize size = words.size();
        const Pa pa{what == "leaf" ? words.number() : 0};
        const LeafAttributes attributes = words.prot();
        check_leaf(format, size, pa, attributes, words.number());
    } else if (what == "table") {
        const Format format = words.format();
        const bool coherent = words.coherent();
        const Pa next{words.number()};
        const std::uint64_t descriptor = words.number();
        CHECK(encode_table(format, next, coherent) == descriptor);
        for (unsigned level = 0; level < kLastLevel; ++level) {
            const Entry entry = decode(format, level, descriptor);
            CHECK(entry.kind == EntryKind::kTable);
            CHECK(entry.pa == next);
            CHECK(entry.software_sync == !coherent);
        }
    } else if (what == "index") {
        const Va va{words.number()};
        const unsigned level = words.small();
        CHECK(index_at(va, level) == words.small());
    } else if (what == "root") {
        const Format format = words.format();
        const unsigned va_bits = words.small();
        CHECK(start_level(format, va_bits) == words.small());
        CHECK(root_entries(format, va_bits) == words.number());
    } else if (what == "registers") {
        const Format format = words.format();
        const unsigned va_bits = words.small();
        const bool coherent = words.coherent();
        const Pa root{words.number()};
        const TranslationConfig config = translation_config(format, va_bits, coherent, root);
        CHECK(config.transtab == words.number());
        CHECK(config.memattr == words.number());
        CHECK(config.transcfg == words.number());
    } else if (what == "mair") {
        const std::uint64_t mair = words.number();
        CHECK(kAarch64Mair == mair);
        const bool coherent = words.coherent();
        CHECK(memattr_from_mair(mair, coherent) == words.number());
    } else if (what == "lock") {
        const Va start{words.number()};
        const VaRange range{start, start + words.number()};
        const LockRegion region = lock_region(range);
        CHECK(region.lockaddr == words.number());
        CHECK(region.locked.contains(range));
    } else {
        FAIL("unknown check: ", what);
    }
}

}  // namespace

TEST_CASE("every descriptor, register and lock region that Linux wrote is what the encoders give") {
    const std::string path = GRANULE_GOLDEN_DIR "/descriptors.txt";
    std::ifstream file(path);
    REQUIRE_MESSAGE(file.is_open(), path);

    std::map<std::string, unsigned> checks;
    unsigned number = 0;
    for (std::string line; std::getline(file, line);) {
        ++number;
        line.resize(std::min(line.find('#'), line.size()));
        if (line.find_first_not_of(" \t") == std::string::npos) {
            continue;
        }
        CAPTURE(number);
        CAPTURE(line);
        Words words(line);
        const std::string what = words.word();
        check_line(what, words);
        CHECK(words.complete());
        ++checks[what];
    }
    // An empty or truncated file is not a passed test.
    CHECK(checks["leaf"] >= 20);
    CHECK(checks["low"] >= 14);
    CHECK(checks["table"] >= 8);
    CHECK(checks["index"] >= 40);
    CHECK(checks["root"] == 8);
    CHECK(checks["registers"] == 12);
    CHECK(checks["mair"] == 2);
    CHECK(checks["lock"] == 8);
}
