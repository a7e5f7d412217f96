#include "cuda/choices.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>

namespace metalora {
namespace cuda {

// Lines "rows n k rank slots transposed own_ms library_ms" behind the title of their device.
void MatmulChoices::open(const std::string &folder, const std::string &device, const std::string &library) {
    title_ = "# metalora " METALORA_VERSION ", " + device + ", " + library;
    if (folder.empty()) return;
    std::string name;
    for (char c : device) name += (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ? c : '-';
    file_ = folder + "/matmul-" + name + ".txt";
    std::ifstream in(file_);
    std::string line;
    if (!std::getline(in, line) || line != title_) return;  // of another version: measured anew
    while (std::getline(in, line)) {
        std::istringstream values(line);
        MatmulShape shape{};
        MatmulChoice choice{};
        if (values >> shape.rows >> shape.n >> shape.k >> shape.rank >> shape.slots >> shape.transposed >> choice.own_ms >> choice.library_ms) {
            choices_[shape] = choice;
        }
    }
}

const MatmulChoice *MatmulChoices::find(const MatmulShape &shape) const {
    const auto found = choices_.find(shape);
    return found == choices_.end() ? nullptr : &found->second;
}

const MatmulChoice *MatmulChoices::add(const MatmulShape &shape, const MatmulChoice &choice) {
    const auto at = choices_.emplace(shape, choice).first;
    save();
    return &at->second;
}

size_t MatmulChoices::own() const {
    size_t count = 0;
    for (const auto &[shape, choice] : choices_) count += choice.own_ms < choice.library_ms;
    return count;
}

// Renamed into place. A folder that cannot be written to costs another measurement, nothing else.
void MatmulChoices::save() const {
    if (file_.empty()) return;
    const std::string folder = file_.substr(0, file_.rfind('/')), part = file_ + "." + std::to_string(getpid());
    mkdir(folder.substr(0, folder.rfind('/')).c_str(), 0777);
    mkdir(folder.c_str(), 0777);
    std::ofstream out(part);
    out << title_ << '\n';
    for (const auto &[s, c] : choices_) {
        out << s.rows << ' ' << s.n << ' ' << s.k << ' ' << s.rank << ' ' << s.slots << ' ' << s.transposed << ' ' << c.own_ms << ' '
            << c.library_ms << '\n';
    }
    out.close();
    if (!out || std::rename(part.c_str(), file_.c_str()) != 0) std::remove(part.c_str());
}

std::string cache_folder() {
#ifdef METALORA_HOSTCUDA
    return "";
#else
    const char *cache = std::getenv("XDG_CACHE_HOME"), *home = std::getenv("HOME");
    if (cache != nullptr && *cache != 0) return std::string(cache) + "/metalora";
    return home != nullptr && *home != 0 ? std::string(home) + "/.cache/metalora" : "";
#endif
}

}  // namespace cuda
}  // namespace metalora
