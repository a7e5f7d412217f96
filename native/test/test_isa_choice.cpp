// Which CPU kernels are taken by themselves, on processors of all kinds.
#include "core/isa_choice.h"

#include "harness.h"

using namespace test;

TEST(avx512_is_taken_where_it_was_measured_to_be_faster) {
    struct Row {
        metalora::Processor processor;
        const char *isa, *reason;
    };
    const Row rows[] = {
        {{"AuthenticAMD", 0x1a, true, true}, "avx512", "was measured to be faster"},        // Zen 5
        {{"AuthenticAMD", 0x19, true, true}, "avx2", "was not measured to be faster"},      // Zen 4
        {{"AuthenticAMD", 0x1b, true, true}, "avx2", "was not measured to be faster"},      // to come
        {{"GenuineIntel", 0x06, true, true}, "avx2", "was not measured to be faster"},      // Skylake-SP to Granite Rapids
        {{"GenuineIntel", 0x1a, true, true}, "avx2", "was not measured to be faster"},
        {{"CentaurHauls", 0x07, true, true}, "avx2", "was not measured to be faster"},
        {{"AuthenticAMD", 0x1a, true, false}, "avx2", "the widest that this processor has"},  // masked, by a hypervisor say
        {{"AuthenticAMD", 0x17, true, false}, "avx2", "the widest that this processor has"},  // Zen 2
        {{"GenuineIntel", 0x06, false, false}, "portable", "the widest that this processor has"},
        {{"", 0, false, false}, "portable", "the widest that this processor has"},
    };
    for (const Row &row : rows) {
        const metalora::IsaChoice choice = metalora::choose_isa(row.processor);
        EXPECT(std::string(choice.isa) == row.isa);
        EXPECT(std::string(choice.reason).find(row.reason) != std::string::npos);
    }
}

// Whoever takes the slower of two is told how to take the other.
TEST(what_is_passed_over_can_be_forced) {
    EXPECT(std::string(metalora::choose_isa({"GenuineIntel", 6, true, true}).reason).find("isa avx512 forces it") != std::string::npos);
}
