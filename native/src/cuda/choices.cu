#include "cuda/choices.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <sstream>

namespace metalora {
namespace cuda {

namespace {

// Lines "rows n k rank slots transposed copies bias out_dtype adds own_ms library_ms algorithm rows" behind the title of their device.
bool read_line(const std::string &line, MatmulShape &shape, MatmulChoice &choice) {
    std::istringstream in(line);
    return (in >> shape.rows >> shape.n >> shape.k >> shape.rank >> shape.slots >> shape.transposed >> shape.copies >> shape.bias >> shape.out_dtype
                             >> shape.adds >> choice.own_ms >> choice.library_ms >> choice.algorithm >> choice.rows)
        && choice.algorithm >= 0;
}

void write_line(std::ostream &out, const MatmulShape &s, const MatmulChoice &c) {
    out << s.rows << ' ' << s.n << ' ' << s.k << ' ' << s.rank << ' ' << s.slots << ' ' << s.transposed << ' ' << s.copies << ' ' << s.bias << ' ' << s.out_dtype << ' ' << s.adds
        << ' ' << c.own_ms << ' ' << c.library_ms << ' ' << c.algorithm << ' ' << c.rows << '\n';
}

// Held by one writer at a time, of all threads and processes.
class FileLock {
public:
    explicit FileLock(const std::string &file) : descriptor_(::open(file.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0666)) {
        if (descriptor_ >= 0 && flock(descriptor_, LOCK_EX) != 0) ::close(descriptor_), descriptor_ = -1;
    }
    ~FileLock() {
        if (descriptor_ >= 0) ::close(descriptor_);
    }
    FileLock(const FileLock &) = delete;
    FileLock &operator=(const FileLock &) = delete;
    bool held() const { return descriptor_ >= 0; }

private:
    int descriptor_;
};

}  // namespace

void MatmulChoices::open(const std::string &folder, const std::string &device, const std::string &library) {
    title_ = "# metalora " METALORA_VERSION " " METALORA_KERNELS ", " + device + ", " + library;
    if (folder.empty()) return;
    std::string name;
    for (char c : device) name += (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ? c : '-';
    file_ = folder + "/matmul-" + name + ".txt";
    read();
}

// What the file has and this run has not measured itself.
void MatmulChoices::read() {
    std::ifstream in(file_);
    std::string line;
    if (!std::getline(in, line) || line != title_) return;  // of another version: measured anew
    while (std::getline(in, line)) {
        MatmulShape shape{};
        MatmulChoice choice{};
        if (read_line(line, shape, choice)) choices_.emplace(shape, choice);
    }
}

const MatmulChoice *MatmulChoices::find(const MatmulShape &shape) const {
    const auto found = choices_.find(shape);
    return found == choices_.end() ? nullptr : &found->second;
}

// What another run has measured meanwhile is kept, of this shape too, so that all take the same form from then on.
const MatmulChoice *MatmulChoices::add(const MatmulShape &shape, const MatmulChoice &choice) {
    if (file_.empty()) return &choices_.emplace(shape, choice).first->second;
    make_folder();
    const FileLock lock(file_ + ".lock");
    if (lock.held()) read();
    const auto at = choices_.emplace(shape, choice).first;
    if (lock.held()) save();
    return &at->second;
}

size_t MatmulChoices::own() const {
    size_t count = 0;
    for (const auto &[shape, choice] : choices_) count += choice.own();
    return count;
}

void MatmulChoices::make_folder() const {
    const std::string folder = file_.substr(0, file_.rfind('/'));
    mkdir(folder.substr(0, folder.rfind('/')).c_str(), 0777);
    mkdir(folder.c_str(), 0777);
}

// Renamed into place; a folder that cannot be written to costs another measurement, nothing else.
void MatmulChoices::save() {
    const std::string part = file_ + ".part";
    std::ofstream out(part);
    out.precision(std::numeric_limits<float>::max_digits10);  // read back, the same form wins
    out << title_ << '\n';
    for (const auto &[shape, choice] : choices_) write_line(out, shape, choice);
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
