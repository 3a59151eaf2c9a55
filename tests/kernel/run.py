"""Runs the programs of programs.py on real kernels, in guests, and says what they found.

exit code: 0 all passed; 1 some failed, or something is missing; 2 bad usage; 77 nothing ran, because all of it was
skipped (--offline); 130 interrupted
"""

import argparse
import asyncio
import collections
import dataclasses
import itertools
import signal
import sys
import time

import boot
import busybox
import cross_build
import kernels
import readme_table
import results
import sysroot
from cache import Cache, say
from problems import Missing, NotInCache
from programs import PROGRAMS

LOGS = cross_build.DIRECTORY / "kernel-logs"
TABLES = cross_build.DIRECTORY / "kernel-tables.md"
README = cross_build.DIRECTORY.parent / "README.md"
NOTHING_RAN = 77  # as of a test of automake or meson that is skipped


@dataclasses.dataclass
class Job:
    """The programs of one guest, and how they went."""

    kernel: kernels.Kernel
    driver: str
    huge_pages: bool
    programs: list
    outcomes: dict = dataclasses.field(default_factory=dict)  # label: results.Outcome
    ending: boot.Ending = None

    @property
    def where(self):
        return f"{self.kernel.version} {self.driver} {'huge' if self.huge_pages else 'small'} pages"


def main(arguments):
    parser = argparse.ArgumentParser(
        prog="tests/kernel/run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "kernels", nargs="*", default=kernels.DEFAULT_KERNELS, metavar="KERNEL", help="6.12 6.16.12 6.18 7 without any"
    )
    parser.add_argument("--offline", action="store_true", help="download nothing; what the cache lacks is skipped")
    parser.add_argument("--update", action="store_true", help="read the package lists anew, which happens weekly otherwise")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="guests at a time (2)")
    parser.add_argument("--only", action="append", metavar="PROGRAM", help="only this program")
    parser.add_argument("--readme", action="store_true", help="write the table of kernels into the project's README")
    parser.add_argument("--driver", choices=boot.mock_gpu.DRIVERS, help="only this driver")
    options = parser.parse_args(arguments)
    unknown = set(options.only or ()) - {program.label for program in PROGRAMS}
    if unknown:
        parser.error(f"no program {', '.join(sorted(unknown))} in programs.py")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        return _run(options)
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    except Missing as problem:
        say(str(problem))
        print("0 passed, 1 failed")
        return 1


def _run(options):
    start = time.monotonic()
    cache = Cache(offline=options.offline)
    jobs, skipped = [], 0
    for name in options.kernels:
        try:
            jobs += jobs_on(kernels.get(name, cache, update=options.update and not jobs), options)
        except NotInCache as problem:
            say(f"skipped: {problem}")
            skipped += 1
    if not jobs and not skipped:
        raise Missing("no program of programs.py runs with this driver")
    try:
        shell = busybox.get(cache, options.update)
        if jobs:
            cross_build.build(cache, options.update)
    except NotInCache as problem:
        say(f"skipped: {problem}")
        jobs, skipped = [], len(options.kernels)
    built = time.monotonic()
    if jobs:
        LOGS.mkdir(parents=True, exist_ok=True)
        for log in LOGS.iterdir():
            log.unlink(missing_ok=True)  # another run may be doing the same
        asyncio.run(_run_guests(jobs, shell, tuple(sysroot.library_folders(cache)), max(1, options.jobs)))
    tests = [test for job in jobs for test in job_tests(job)] + same_tests(jobs)
    tables = _show_tables(jobs)
    if options.readme:
        _write_readme(tables)
    failures = [test for test in tests if not test[2]]
    if failures:
        print("\nFailed:")
        for where, name, _, what in failures:
            print(f"  {where}: {name}: {what}")
        print(f"Logs: {LOGS}/")
    print(f"\n{len(jobs)} guests: {time.monotonic() - built:.0f} s, after {built - start:.0f} s of preparation")
    print(f"{len(tests) - len(failures)} passed, {len(failures)} failed" + (f", {skipped} skipped" if skipped else ""))
    return exit_code(tests, failures)


def exit_code(tests, failures):
    """A run without a test is no success: who downloads nothing learns here that nothing was tried."""
    return 1 if failures else 0 if tests else NOTHING_RAN


def jobs_on(kernel, options):
    """The guests that a kernel needs: one for programs that can share it, one for each that is alone."""
    found = []
    for driver, huge_pages in itertools.product(boot.mock_gpu.DRIVERS, (True, False)):
        wanted = [
            program
            for program in PROGRAMS
            if driver in program.drivers
            and huge_pages in program.huge_pages
            and (not program.series or any(f"{kernel.version}.".startswith(f"{name}.") for name in program.series))
            and (not options.only or program.label in options.only)
            and (not options.driver or driver == options.driver)
        ]
        groups = {}
        for program in wanted:
            groups.setdefault(program.label if program.alone else program.memory, []).append(program)
        found += [Job(kernel, driver, huge_pages, group) for group in groups.values()]
    return found


async def _run_guests(jobs, shell, libraries, at_once):
    """All of them, `at_once` at a time. An error ends the others too: what asyncio.run leaves, it cancels."""
    places, done = asyncio.Semaphore(at_once), itertools.count(1)

    async def one(job):
        async with places:
            await _run_guest(job, shell, libraries)
        _show_progress(job, next(done), len(jobs))

    await asyncio.gather(*map(one, jobs))


async def _run_guest(job, shell, libraries):
    names = {program.binary for program in job.programs}
    guest = boot.Guest(
        kernel=job.kernel,
        driver=job.driver,
        command=results.script((program.label, program.command, program.timeout) for program in job.programs),
        files=(
            *(str(cross_build.program(name)) for name in sorted(names)),
            *(f"{cross_build.ROOT}/{file}" for file in sorted({file for program in job.programs for file in program.files})),
        ),
        library_path=libraries,
        memory=max(program.memory for program in job.programs),
        timeout=30 + sum(program.timeout for program in job.programs),
        huge_pages=job.huge_pages,
    )
    collector = results.Collector([program.label for program in job.programs])
    lines = []

    def each_line(text):
        lines.append(text)
        collector.line(text)

    job.ending = await boot.run(guest, shell, each_line)
    job.outcomes = collector.outcomes
    log = LOGS / f"{job.where} {job.programs[0].label}".replace(" ", "-")
    log.with_name(log.name + ".out").write_text("\n".join(lines) + "\n", encoding="utf-8")
    log.with_name(log.name + ".console").write_text(job.ending.console, encoding="utf-8")


def job_tests(job):
    """(where, name, passed, what) of everything that the programs of a guest tested."""
    found = [
        (f"{job.where}: {label}", *test)
        for label, outcome in job.outcomes.items()
        for test in results.judged(outcome, job.ending.log, job.ending.what)
    ]
    for complaint in job.ending.log.warnings + job.ending.log.oopses:
        if complaint.program not in job.outcomes:
            found.append((job.where, "the kernel is content without a program too", False, complaint.text))
    return found


def same_tests(jobs):
    """A test for each value that is to be the same in all guests."""
    values = collections.defaultdict(lambda: collections.defaultdict(list))
    said_by = collections.Counter()
    for job in jobs:
        for outcome in job.outcomes.values():
            for name, value in outcome.same:
                values[name][str(value)].append(job.where)
                said_by[name] += 1
    return [
        (
            "all guests",
            f"the same everywhere: {name}",
            len(found) == 1,
            "; ".join(f"{value} on {', '.join(where)}" for value, where in found.items()),
        )
        for name, found in values.items()
        if said_by[name] > 1  # one alone has nothing to be the same as
    ]


def _show_progress(job, done, of):
    parts = []
    for label, outcome in job.outcomes.items():
        tests = results.judged(outcome, job.ending.log, job.ending.what)
        failed = sum(not passed for _, passed, _ in tests)
        seconds = f" ({outcome.seconds:.1f} s)" if outcome.seconds else ""
        parts.append(f"{label} {len(tests) - failed} passed" + (f", {failed} FAILED" if failed else "") + seconds)
    print(f"[{done}/{of}] {job.where}: {'; '.join(parts)}; {job.ending.seconds:.1f} s in all", flush=True)


def _show_tables(jobs):
    """Every table, on the terminal and in a file; {name: rows}."""
    tables = collections.defaultdict(list)
    for job in jobs:
        for program in job.programs:
            for name, row in job.outcomes[program.label].rows:
                tables[name].append((job, program, row))
    tables = {name: table_rows(rows) for name, rows in tables.items()}
    texts = [results.markdown(name, rows) for name, rows in tables.items()]
    for text in texts:
        print(f"\n{text}")
    if texts:
        TABLES.write_text("\n\n".join(texts) + "\n", encoding="utf-8")
    return tables


def _write_readme(tables):
    made = readme_table.table(tables)
    if made is None:
        say("README.md stays as it is: not every kernel ran both proof_plain and proof_library")
        return
    README.write_text(readme_table.inserted(README.read_text(encoding="utf-8"), made), encoding="utf-8")


def table_rows(rows):
    """The rows of a table with what the runner knows: which kernel, and what else differs between them."""
    drivers, sizes = {job.driver for job, _, _ in rows}, {job.huge_pages for job, _, _ in rows}
    found = []
    for job, program, row in rows:
        whole = {"kernel": job.kernel.version}
        if len(drivers) > 1:
            whole["driver"] = job.driver
        if len(sizes) > 1:
            whole["huge pages"] = job.huge_pages
        whole |= {column: value for column, value in row.items() if column not in whole}
        if program.count_warnings:
            whole["kernel warnings"] = sum(warning.program == program.label for warning in job.ending.log.warnings)
        found.append(whole)
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
