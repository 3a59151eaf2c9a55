// bench_runner: one section of the comparison in one process; its results as JSON. ../run calls it for each section.
//
// Exit codes: 0 done; 1 an unexpected problem; 2 bad usage; 3 a subject gave a wrong answer.
#include <sched.h>

#include <CLI/CLI.hpp>
#include <array>
#include <cstdio>
#include <exception>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>

#include "tests/bench/harness/sections.hpp"

namespace granule::bench {
namespace {

struct Section {
    const char* name;
    void (*run)(const Options&, Records&);
};

constexpr std::array kSections{
    Section{"va", run_va_section},
    Section{"pt", run_page_table_section},
    Section{"map", run_map_section},
    Section{"bind", run_bind_section},
    Section{"memory", run_memory_section},
    Section{"host", run_host_section},
    Section{"pt-growth", run_table_growth_section},
};

int usage_error(const std::string& what) {
    std::cerr << "bench_runner: " << what << "\n";
    return 2;
}

bool pin_to(int cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(static_cast<unsigned>(cpu), &set);
    return sched_setaffinity(0, sizeof set, &set) == 0;
}

int run(int count, char** arguments) {
    Options options;
    int cpu = -1;
    std::string json = "-";
    CLI::App app{"Measures one section of the comparison and writes its results as JSON.", "bench_runner"};
    app.add_option("section", options.section, "va, pt, map, bind, memory, host or pt-growth")->required();
    app.add_option("--n", options.n, "live items, a list")->delimiter(',')->check(CLI::Range(1000U, 100'000'000U));
    app.add_option("--time", options.seconds, "seconds of rounds for each table cell")->check(CLI::Range(0.01, 3600.0));
    app.add_option("--rounds", options.rounds, "rounds at most")->check(CLI::Range(3, 1000));
    app.add_option("--repeats", options.repeats, "of disturbed rounds, at most")->check(CLI::Range(0, 100));
    app.add_option("--set-up", options.set_up_seconds, "seconds that a set-up and a warm-up may take each")
        ->check(CLI::Range(0.01, 3600.0));
    app.add_option("--only", options.only, "subjects whose name has this in it");
    app.add_option("--cpu", cpu, "run on this processor alone")->check(CLI::Range(0, CPU_SETSIZE - 1));
    app.add_option("--json", json, "file for the results; -: standard output");
    app.add_flag("--instructions", options.instructions, "one chunk each, to be counted by callgrind");
    try {
        app.parse(count, arguments);
    } catch (const CLI::ParseError& problem) {
        return app.exit(problem) == 0 ? 0 : 2;
    }
    for (const Section& section : kSections) {
        if (options.section != section.name) {
            continue;
        }
        if (cpu >= 0 && !pin_to(cpu)) {
            return usage_error("this process may not run on processor " + std::to_string(cpu) +
                               "; `taskset -cp $$` shows where it may");
        }
        Records records;
        section.run(options, records);
        const std::string text = records.to_json().dump(1) + "\n";
        if (json == "-") {
            std::cout << text << std::flush;
            return std::cout ? 0 : usage_error("standard output takes no more");
        }
        std::ofstream file(json);
        file << text << std::flush;
        return file ? 0 : usage_error("cannot write " + json);
    }
    return usage_error("no section '" + options.section + "'; there are va, pt, map, bind, memory, host and pt-growth");
}

}  // namespace
}  // namespace granule::bench

int main(int count, char** arguments) try {
    return granule::bench::run(count, arguments);
} catch (const std::exception& problem) {
    std::cerr << "bench_runner: " << problem.what() << "\n";
    return 1;
}
