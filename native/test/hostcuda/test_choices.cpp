// What was measured about a device's products is found again, by the same version, device and library alone.
#include <unistd.h>

#include <fstream>
#include <limits>
#include <thread>

#include "cuda/choices.h"
#include "harness.h"

using namespace test;
using metalora::cuda::MatmulChoice;
using metalora::cuda::MatmulChoices;
using metalora::cuda::MatmulShape;

namespace {

std::string folder() { return format("choices-%d/cache", int(getpid())); }
const std::string kFile = "/matmul-A-GPU-1.txt";
const MatmulShape kShape{8192, 4096, 4096, 16, 2, true, false, false, ML_BF16, false}, kOther{8192, 4096, 4096, 16, 2, true, true, false, ML_BF16, false};

}  // namespace

TEST(choices_are_found_again) {
    MatmulChoices first;
    first.open(folder(), "A GPU/1", "cuBLASLt 13.1.1");
    EXPECT(first.size() == 0 && first.find(kShape) == nullptr);
    first.add(kShape, {1.5f, 2.5f, 0, 1});
    first.add(kOther, {3, 2, 5, 8192});
    EXPECT(first.own() == 1);
    MatmulChoices second;
    second.open(folder(), "A GPU/1", "cuBLASLt 13.1.1");
    EXPECT(second.size() == 2 && second.own() == 1);
    EXPECT(second.find(kShape) != nullptr && second.find(kShape)->own_ms == 1.5f && second.find(kShape)->library_ms == 2.5f);
    EXPECT(second.find(kOther) != nullptr && second.find(kOther)->algorithm == 5 && second.find(kOther)->rows == 8192);
    for (auto [device, library] : {std::pair<const char *, const char *>{"A GPU/1", "cuBLASLt 13.2.0"}, {"Another GPU", "cuBLASLt 13.1.1"}}) {
        MatmulChoices other;
        other.open(folder(), device, library);
        EXPECT(other.size() == 0);
    }
    EXPECT(std::remove((folder() + kFile).c_str()) == 0);
}

// Times that differ in the last bit decide alike once they are read back; a shape that the library has no kernel for is our own's,
// and near ties are the library's.
TEST(choices_decide_alike_once_kept) {
    const float close = std::nextafter(2.5f * MatmulChoice::kBy, 0.0f);
    MatmulChoices first;
    first.open(folder(), "A GPU/1", "library");
    EXPECT(first.add(kShape, {close, 2.5f, 0, 1})->own());
    EXPECT(!first.add(kOther, {2.5f * MatmulChoice::kBy, 2.5f, 0, 1})->own());
    MatmulShape third = kShape;
    third.slots = 4;
    EXPECT(first.add(third, {close, MatmulChoice::kCannot, 0, 1})->own());
    MatmulChoices second;
    second.open(folder(), "A GPU/1", "library");
    EXPECT(second.size() == 3 && second.own() == 2);
    EXPECT(second.find(kShape)->own() && !second.find(kOther)->own() && second.find(third)->own());
    EXPECT(std::remove((folder() + kFile).c_str()) == 0);
}

// Of two runs that measure the same shape at the same time, both take what the first one found.
TEST(choices_of_another_run_are_taken) {
    MatmulChoices first, second;
    for (MatmulChoices *one : {&first, &second}) one->open(folder(), "A GPU/1", "library");
    EXPECT(first.add(kShape, {1, 2, 0, 1})->own());
    EXPECT(second.add(kShape, {2, 1, 3, 1})->own() && second.find(kShape)->own_ms == 1);
    EXPECT(std::remove((folder() + kFile).c_str()) == 0);
}

// Each writer keeps what the others have measured, and all find whole files.
TEST(choices_of_several_writers_are_all_kept) {
    constexpr int kWriters = 4, kShapes = 20;
    std::vector<std::thread> writers;
    for (int w = 0; w < kWriters; w++) {
        writers.emplace_back([w] {
            MatmulChoices mine;
            mine.open(folder(), "A GPU/1", "library");
            for (int i = 0; i < kShapes; i++) mine.add({w + 1, i + 1, 8, 0, 0, false, false, false, ML_BF16, false}, {float(w), float(i), 0, 1});
        });
    }
    for (auto &writer : writers) writer.join();
    MatmulChoices all;
    all.open(folder(), "A GPU/1", "library");
    EXPECT(all.size() == kWriters * kShapes);
    EXPECT(std::remove((folder() + kFile).c_str()) == 0);
}

TEST(choices_survive_files_they_cannot_use) {
    MatmulChoices broken;
    broken.open(folder(), "A GPU/1", "library");
    broken.add(kShape, {1, 2, 0, 1});
    { std::ofstream(folder() + kFile, std::ios::app) << "no numbers\n1 2\n"; }
    MatmulChoices read;
    read.open(folder(), "A GPU/1", "library");
    EXPECT(read.size() == 1);
    MatmulChoices nowhere;
    nowhere.open("/proc/no/such/folder", "A GPU/1", "library");
    nowhere.add(kShape, {1, 2, 0, 1});
    EXPECT(nowhere.find(kShape) != nullptr);
    EXPECT(std::remove((folder() + kFile).c_str()) == 0 && std::remove((folder() + kFile + ".lock").c_str()) == 0);
    EXPECT(rmdir(folder().c_str()) == 0 && rmdir(folder().substr(0, folder().rfind('/')).c_str()) == 0);
}
