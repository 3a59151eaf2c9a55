#include "mali/gpu_model.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <set>
#include <string>
#include <string_view>

#include "mali/lock_region.hpp"

using namespace granule::mali;

namespace {

std::string name_of(const GpuModel* model) {
    return model == nullptr ? "none" : std::string(model->name);
}

}  // namespace

TEST_CASE("the GPUs of the recorded traces are found by product id and by whole GPU_ID") {
    const GpuModel* g52 = find_gpu_model(0x7212U);
    REQUIRE(g52 != nullptr);
    CHECK(g52->name == "Mali-G52");
    CHECK(g52->driver == KernelDriver::kPanfrost);
    CHECK(g52->format == Format::kMaliLpae);
    CHECK(g52->family == GpuFamily::kBifrost);
    CHECK(g52->arch == 7);
    CHECK_FALSE(g52->has_csf());
    CHECK(find_gpu_model(0x72120000U) == g52);

    const GpuModel* g610 = find_gpu_model(0xa867U);
    REQUIRE(g610 != nullptr);
    CHECK(g610->name == "Mali-G610");
    CHECK(g610->driver == KernelDriver::kPanthor);
    CHECK(g610->format == Format::kAarch64_4k);
    CHECK(g610->family == GpuFamily::kValhall);
    CHECK(g610->arch == 10);
    CHECK(g610->has_csf());
    CHECK(find_gpu_model(0xa8670005U) == g610);
}

TEST_CASE("ids that public boot logs show are recognised") {
    const auto found = [](std::uint32_t id) { return name_of(find_gpu_model(id)); };
    CHECK(found(0x0600) == "Mali-T600");
    CHECK(found(0x0720) == "Mali-T720");
    CHECK(found(0x0750) == "Mali-T760");
    CHECK(found(0x0860) == "Mali-T860");
    CHECK(found(0x6000) == "Mali-G71");
    CHECK(found(0x6221) == "Mali-G72");
    CHECK(found(0x7093) == "Mali-G31");
    CHECK(found(0x7211) == "Mali-G76");
    CHECK(found(0x9091) == "Mali-G57");
    CHECK(found(0x9093) == "Mali-G57");
    CHECK(found(0x9202) == "Mali-G78");
    CHECK(found(0xac74) == "Mali-G310");
    CHECK(found(0xc870) == "Mali-G720");
    CHECK(found(0x1234) == "none");
    CHECK(found(0) == "none");
    CHECK(found(0xffffffff) == "none");
}

TEST_CASE("architecture minor and revision do not hide a GPU, and G52 r1 is told from G52") {
    CHECK(name_of(find_gpu_model(0xa007U)) == "Mali-G610");
    CHECK(name_of(find_gpu_model(0xaff7U)) == "Mali-G610");
    CHECK(name_of(find_gpu_model(0x7002U)) == "Mali-G52");
    CHECK(name_of(find_gpu_model(0x7402U)) == "Mali-G52 r1");
    CHECK(name_of(find_gpu_model(0x74021000U)) == "Mali-G52 r1");
}

TEST_CASE("the first T60x says 0x6956") {
    CHECK(name_of(find_gpu_model(0x6956U)) == "Mali-T600");
    CHECK(name_of(find_gpu_model(0x69560010U)) == "Mali-T600");
    CHECK(decode_gpu_id(0x69560010).product == 0x0600);
}

TEST_CASE("both layouts of GPU_ID are taken apart") {
    const GpuId midgard = decode_gpu_id(0x08602000);  // T860 r2p0
    CHECK(midgard.is_midgard());
    CHECK(midgard.product == 0x0860);
    CHECK(midgard.version_major == 2);
    CHECK(midgard.version_minor == 0);
    CHECK(midgard.arch_minor() == 0);

    const GpuId valhall = decode_gpu_id(0xa8670125);
    CHECK_FALSE(valhall.is_midgard());
    CHECK(valhall.arch_major() == 10);
    CHECK(valhall.arch_minor() == 8);
    CHECK(valhall.arch_rev() == 6);
    CHECK(valhall.version_major == 0);
    CHECK(valhall.version_minor == 0x12);
    CHECK(valhall.version_status == 5);
}

TEST_CASE("a user may write the name with or without Mali-, in any case, or the id") {
    for (const std::string_view text :
         {"G610", "g610", "Mali-G610", "mali-g610", "MALI-G610", "0xa867", "0xA867", "0XA867", "0xa8670005"}) {
        CAPTURE(std::string(text));
        CHECK(name_of(find_gpu_model(text)) == "Mali-G610");
    }
    CHECK(name_of(find_gpu_model(std::string_view("T604"))) == "Mali-T600");
    CHECK(name_of(find_gpu_model(std::string_view("t628"))) == "Mali-T620");
    CHECK(name_of(find_gpu_model(std::string_view("g52"))) == "Mali-G52");
    CHECK(name_of(find_gpu_model(std::string_view("g52 r1"))) == "Mali-G52 r1");
    CHECK(name_of(find_gpu_model(std::string_view("immortalis-g715"))) == "Mali-G715");
    CHECK(name_of(find_gpu_model(std::string_view("G925"))) == "Mali-G725");
    CHECK(name_of(find_gpu_model(std::string_view("G1"))) == "Mali-G1-Ultra");
    CHECK(name_of(find_gpu_model(std::string_view("g1-pro"))) == "Mali-G1-Pro");
}

TEST_CASE("what is no GPU is not found") {
    for (const std::string_view text :
         {"", "Mali-", "G61", "G6100", "0x", "0xg", "0xa867 ", "0xa86700051", "a867", "Mali-Mali-G610", " G610"}) {
        CAPTURE(std::string(text));
        CHECK(find_gpu_model(text) == nullptr);
    }
}

TEST_CASE("every product of panfrost's and panthor's tables is here") {
    for (const std::string_view text :
         {"T600", "T604", "T620", "T720", "T760", "T820", "T830", "T860", "T880",     "G71",        "G72",
          "G51",  "G76",  "G52",  "G31",  "G57",  "G68",  "G77",  "G78",  "G310",     "G510",       "G610",
          "G710", "G615", "G715", "G620", "G720", "G625", "G725", "G925", "G1-Ultra", "G1-Premium", "G1-Pro"}) {
        CAPTURE(std::string(text));
        CHECK(find_gpu_model(text) != nullptr);
    }
}

TEST_CASE("the table agrees with itself: every row is found by its id, and its facts fit together") {
    std::set<std::uint16_t> ids;
    for (const GpuModel& model : gpu_models()) {
        CAPTURE(std::string(model.name));
        CHECK(ids.insert(model.product_id).second);
        CHECK(find_gpu_model(std::uint32_t{model.product_id}) == &model);
        CHECK(find_gpu_model(std::uint32_t{model.product_id} << 16) == &model);
        CHECK(find_gpu_model(model.name)->name == model.name);
        for (const std::string_view alias : model.aliases) {
            CHECK((alias.empty() || find_gpu_model(alias) == &model));
        }

        const bool midgard = model.family == GpuFamily::kMidgard;
        CHECK(decode_gpu_id(model.product_id).is_midgard() == midgard);
        CHECK((midgard || decode_gpu_id(model.product_id).arch_major() == model.arch));
        CHECK(model.has_transcfg() == !midgard);
        CHECK(model.has_csf() == (model.driver == KernelDriver::kPanthor));
        CHECK(model.has_csf() == (model.format == Format::kAarch64_4k));
        CHECK((model.format == Format::kMaliLpae || model.aarch64_mmu));
        CHECK(model.va_bits >= 32);
        CHECK(model.va_bits <= 48);
        CHECK(model.pa_bits == 40);
        CHECK(model.address_spaces >= 4);
        CHECK(model.address_spaces <= 16);
        CHECK(model.smallest_lock_log2 == (midgard ? kSmallestLockMidgardHardware : kSmallestLockLog2));
    }
}

TEST_CASE("MMU_FEATURES holds the VA bits and the PA bits") {
    CHECK(decode_mmu_features(0x2830) == MmuFeatures{48, 40});
    CHECK(decode_mmu_features(0x2821) == MmuFeatures{33, 40});
    CHECK(decode_mmu_features(0xffff2823) == MmuFeatures{35, 40});
    CHECK(encode_mmu_features({48, 40}) == 0x2830);
}

TEST_CASE("families and drivers have names") {
    CHECK(std::string(to_string(GpuFamily::kMidgard)) == "Midgard");
    CHECK(std::string(to_string(GpuFamily::kBifrost)) == "Bifrost");
    CHECK(std::string(to_string(GpuFamily::kValhall)) == "Valhall");
    CHECK(std::string(to_string(GpuFamily::kFifthGen)) == "5th Gen");
    CHECK(std::string(to_string(KernelDriver::kPanfrost)) == "panfrost");
    CHECK(std::string(to_string(KernelDriver::kPanthor)) == "panthor");
}
