#include "tests/cli/program.hpp"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <stdexcept>

namespace granule::test {

TemporaryDirectory::TemporaryDirectory() {
    std::string pattern = std::filesystem::temp_directory_path() / "granule-test-XXXXXX";
    if (mkdtemp(pattern.data()) == nullptr) {
        throw std::runtime_error("no temporary directory: " + pattern);
    }
    path_ = pattern;
}

TemporaryDirectory::~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
}

std::string TemporaryDirectory::write(const std::string& name, std::string_view content) const {
    std::ofstream(file(name), std::ios::binary) << content;
    return file(name);
}

std::vector<std::string> TemporaryDirectory::names() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(path_)) {
        names.push_back(entry.path().filename());
    }
    std::sort(names.begin(), names.end());
    return names;
}

std::string read_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

std::string shipped_trace(const std::string& name) {
    return std::string(GRANULE_TRACES_DIR "/") + name;
}

Program::Program(const std::vector<std::string>& arguments, const std::string& standard_output)
    : out_(standard_output.empty() ? directory_.file("out") : "") {
    const std::string& out = standard_output.empty() ? out_ : standard_output;
    std::vector<std::string> words{GRANULE_PROGRAM};
    words.insert(words.end(), arguments.begin(), arguments.end());
    std::vector<char*> pointers;
    pointers.reserve(words.size() + 1);
    for (std::string& word : words) {
        pointers.push_back(word.data());
    }
    pointers.push_back(nullptr);

    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    constexpr int kCreate = O_WRONLY | O_CREAT | O_TRUNC;
    posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, out.c_str(), kCreate, 0600);
    posix_spawn_file_actions_addopen(&files, STDERR_FILENO, directory_.file("err").c_str(), kCreate, 0600);
    const int error = posix_spawn(&pid_, words.front().c_str(), &files, nullptr, pointers.data(), environ);
    posix_spawn_file_actions_destroy(&files);
    if (error != 0) {
        throw std::runtime_error("cannot run " + words.front());
    }
}

void Program::signal(int number) const {
    kill(pid_, number);
}

Outcome Program::wait() {
    int status = 0;
    while (waitpid(pid_, &status, 0) < 0) {
    }
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, out_.empty() ? "" : read_file(out_),
            read_file(directory_.file("err"))};
}

std::string joined(const std::vector<std::string>& arguments) {
    std::string line = "granule";
    for (const std::string& argument : arguments) {
        line += " " + argument;
    }
    return line;
}

Outcome run(const std::vector<std::string>& arguments) {
    return Program(arguments).wait();
}

}  // namespace granule::test
