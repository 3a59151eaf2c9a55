#!/usr/bin/env python3
"""What a guest is made of and what is made of what it says: cpio, registers, firmware, kernel log, results. Boots none."""

import base64
import gzip
import os
import pathlib
import struct
import tempfile
import unittest
from types import SimpleNamespace
from unittest import mock

import boot
import cpio
import device_tree
import guest
import initramfs
import kernel_log
import mock_firmware
import mock_gpu
import readme_table
import replays
import results
import run
import shared_libraries
from problems import Missing
from programs import PROGRAMS, Program


def entries(data):
    """{name: (mode, content)} of a newc archive, read as the format's definition says."""
    found, at = {}, 0
    while True:
        assert data[at : at + 6] == b"070701", f"no entry at {at}"
        numbers = [int(data[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        mode, size, name_size = numbers[1], numbers[6], numbers[11]
        name = data[at + 110 : at + 110 + name_size - 1].decode()
        start = (at + 110 + name_size + 3) // 4 * 4
        at = (start + size + 3) // 4 * 4
        if name == "TRAILER!!!":
            assert at == len(data)
            return found
        assert name not in found, f"{name} twice"
        found[name] = (mode, data[start : start + size])


class Cpio(unittest.TestCase):
    def test_files_come_after_their_folders(self):
        archive = cpio.Archive()
        archive.file("/lib/a/b.ko", b"12345")
        archive.file("init", b"#!", executable=True)
        archive.link("bin/sh", "busybox")
        archive.folder("lib/a")
        found = entries(archive.bytes())
        self.assertEqual(list(found), ["lib", "lib/a", "lib/a/b.ko", "init", "bin", "bin/sh"])
        self.assertEqual(found["lib/a"], (0o040755, b""))
        self.assertEqual(found["lib/a/b.ko"], (0o100644, b"12345"))
        self.assertEqual(found["init"], (0o100755, b"#!"))
        self.assertEqual(found["bin/sh"], (0o120777, b"busybox"))
        self.assertIn("lib/a/b.ko", archive)
        self.assertNotIn("lib/b", archive)

    def test_every_length_is_padded(self):
        for length in range(9):
            archive = cpio.Archive()
            archive.file("n" * (length + 1), b"x" * length)
            self.assertEqual(entries(archive.bytes())["n" * (length + 1)][1], b"x" * length)


class Mock(unittest.TestCase):
    def word(self, driver, offset):
        return struct.unpack_from("<I", mock_gpu.registers(driver), offset)[0]

    def test_what_the_drivers_wait_for_is_so(self):
        for driver in mock_gpu.DRIVERS:
            with self.subTest(driver=driver):
                self.assertEqual(len(mock_gpu.registers(driver)), mock_gpu.SIZE)
                self.assertEqual(self.word(driver, 0x20) & 0x20100, 0x20100)  # reset, caches cleaned
                for present in (0x100, 0x110, 0x120):
                    self.assertNotEqual(self.word(driver, present), 0)
                    self.assertEqual(self.word(driver, present), self.word(driver, present + 0x40))  # all powered
                self.assertEqual(self.word(driver, 0x14), 40 << 8 | 48)  # PA and VA bits

    def test_each_driver_finds_a_gpu_of_its_own(self):
        self.assertEqual(self.word("panfrost", 0) >> 16, 0x860)
        self.assertEqual(self.word("panthor", 0) >> 28, 10)
        self.assertEqual(self.word("panthor", 0x704), 0)  # the MCU is stopped

    def test_the_firmware_is_one_shared_section(self):
        data = mock_firmware.firmware()
        magic, _minor, _major, _, _, _, size = struct.unpack_from("<IBBHIII", data)
        kind, flags, start, end, data_start, data_end = struct.unpack_from("<6I", data, 20)
        self.assertEqual((magic, size), (0xC3F13A6E, 44))
        self.assertEqual(kind, 24 << 8)
        self.assertTrue(flags & 1 << 30)
        self.assertEqual(start, 0x04000000)
        self.assertEqual((data_end - data_start, data_start, data_end), (end - start, size, len(data)))

    def test_a_request_reads_back_as_its_answer(self):
        section = mock_firmware.firmware()[44:]
        base = 0x04000000
        blocks = [struct.unpack_from("<2I", section, 8)]
        for group in range(mock_firmware.GROUPS):
            control = 0x1000 + group * 0x400
            blocks.append(struct.unpack_from("<2I", section, control + 4))
            for stream in range(mock_firmware.STREAMS):
                blocks.append(struct.unpack_from("<2I", section, control + 0x40 + stream * 0x40 + 4))
        for request, answer in blocks:
            self.assertEqual(request, answer)
            self.assertTrue(base <= request < base + len(section))
        self.assertEqual(len(set(blocks)), len(blocks))  # no two share one

    def test_the_gpu_is_in_the_device_tree(self):
        machine = "/ { interrupt-parent = <0x8002>; };\n"
        for driver, compatible in (("panthor", "arm,mali-valhall-csf"), ("panfrost", "arm,mali-t860")):
            text = device_tree.source(machine, driver, 0x7FE00000)
            for part in (machine, compatible, "reg = <0x0 0x7fe00000 0x0 0x200000>; no-map;", "interrupt-parent = <0x8002>"):
                self.assertIn(part, text)


class Initramfs(unittest.TestCase):
    def setUp(self):
        folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        for name in ("virtio_mmio.ko", "busybox", "data.bin", "libx.so.1"):
            (folder / name).write_bytes(name.encode())
        (folder / "panthor.ko").write_bytes(b"\0parm=transparent_hugepage:a\0")
        modules = {"console": [folder / "virtio_mmio.ko"], "panthor": [folder / "panthor.ko"]}
        self.folder = folder
        self.guest = boot.Guest(
            kernel=SimpleNamespace(version="7.3.4+deb13", root_table_offset=0x38, modules=modules.get),
            driver="panthor",
            command="exit 3",
            files=(f"{folder}/data.bin:/data", f"{folder}/libx.so.1"),
        )

    def build(self):
        return entries(initramfs.build(self.guest, self.folder / "busybox", 0x7FE00000))

    def test_a_guest_has_what_it_needs(self):
        found = self.build()
        self.assertEqual(found["command"][1], b"exit 3\n")
        self.assertEqual(found["data/data.bin"][1], b"data.bin")
        self.assertEqual(found["lib/libx.so.1"][1], b"libx.so.1")
        self.assertEqual(found["modules/load-order"][1].split(), [b"virtio_mmio.ko", b"panthor.ko"])
        self.assertIn(mock_firmware.PATH, found)
        configuration = dict(line.split("=") for line in found["guest.conf"][1].decode().splitlines())
        self.assertEqual(configuration["GRANULE_PGD_OFFSET"], "0x38")
        self.assertEqual(configuration["GRANULE_HUGE_PAGES"], "1")

    def test_a_driver_with_a_huge_page_file_system_is_told_too(self):
        self.guest.huge_pages = False
        self.assertIn(b"panthor.ko transparent_hugepage=0\n", self.build()["modules/load-order"][1])

    def test_a_missing_file_is_named(self):
        self.guest.files = (f"{self.folder}/none",)
        with self.assertRaisesRegex(Missing, "none"):
            self.build()


READELF = """
  INTERP         0x0238 0x0238 0x0238 0x00001b 0x00001b R   0x1
      [Requesting program interpreter: /lib/ld-linux-aarch64.so.1]
 0x0000000000000001 (NEEDED)             Shared library: [libdrm.so.2]
 0x000000000000000e (SONAME)             Library soname: [libself.so.1]
"""


class SharedLibraries(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))

    def file(self, name, machine):
        (self.folder / name).write_bytes(b"\x7fELF" + bytes(14) + machine.to_bytes(2, "little"))
        return self.folder / name

    def test_what_a_program_needs_comes_from_the_folders_given(self):
        program = self.file("program", 183)
        libraries = {name: self.file(name, 183) for name in ("ld-linux-aarch64.so.1", "libdrm.so.2")}
        with mock.patch("subprocess.run", return_value=SimpleNamespace(stdout=READELF)):
            self.assertEqual(shared_libraries.closure(program, [self.folder / "none", self.folder]), libraries)

    def test_what_is_nowhere_is_named(self):
        program = self.file("program", 183)
        with mock.patch.object(shared_libraries, "needed", return_value=["libgone.so.1"]):
            with mock.patch.object(shared_libraries, "_of_compiler", return_value="libgone.so.1"):
                with self.assertRaisesRegex(Missing, "libgone.so.1"):
                    shared_libraries.closure(program, [self.folder])

    def test_a_file_that_cannot_run_in_a_guest_is_refused(self):
        with self.assertRaisesRegex(Missing, "arm64"):
            shared_libraries.needed(self.file("program", 62))

    def test_data_needs_nothing(self):
        (self.folder / "data").write_bytes(b"text")
        self.assertEqual(shared_libraries.needed(self.folder / "data"), [])


CONSOLE = """[    1.000000] WARNING: CPU: 0 PID: 1 at arch/arm64/a.c:9 early+0x1/0x2
[    2.100000] granule: begin one
[    2.200000] WARNING: CPU: 0 PID: 93 at drivers/iommu/io-pgtable-arm.c:677 __arm_lpae_unmap+0x464/0x600
[    2.200001] pc : __arm_lpae_unmap+0x464/0x600
[    2.300000] granule: begin two
[    2.400000][  T145] WARNING: drivers/gpu/drm/panthor/panthor_mmu.c:930 at panthor_vm_unmap_pages+0x15c/0x1e0 [panthor], CPU#0: x/1
[    2.500000] Unable to handle kernel NULL pointer dereference at virtual address 0000000000000078
[    2.500001] Internal error: Oops: 0000000096000004 [#1] SMP
[    2.500002] pc : panthor_gpuva_sm_step_remap+0x84/0x2f0 [panthor]
[    2.500003] lr : other+0x84/0x2f0 [panthor]
[    2.500004] Kernel panic - not syncing: Oops: Fatal exception
"""


class KernelLog(unittest.TestCase):
    def test_complaints_have_a_place_and_a_program(self):
        log = kernel_log.parse(CONSOLE)
        self.assertEqual(
            [(warning.program, warning.place, warning.function, warning.seconds) for warning in log.warnings],
            [
                ("", "a.c:9", "early", 1.0),
                ("one", "io-pgtable-arm.c:677", "__arm_lpae_unmap", 2.2),
                ("two", "panthor_mmu.c:930", "panthor_vm_unmap_pages", 2.4),
            ],
        )
        self.assertEqual(
            [(oops.program, oops.function) for oops in log.oopses],
            [("two", "panthor_gpuva_sm_step_remap")],
        )
        self.assertIn("NULL pointer", log.oopses[0].text)

    def test_a_panic_without_an_oops_counts(self):
        log = kernel_log.parse("[    1.0] Kernel panic - not syncing: no init found\n")
        self.assertEqual(len(log.oopses), 1)

    def test_a_quiet_kernel_said_nothing(self):
        log = kernel_log.parse("[    1.0] panthor 7fe00000.gpu: [drm] no WARNING: here\nWARNING: a program's\n")
        self.assertEqual((log.warnings, log.oopses), ([], []))


class HowItEnded(unittest.TestCase):
    def ending(self, console, status, timed_out=False):
        with tempfile.TemporaryDirectory() as folder:
            pathlib.Path(folder, "console").write_text(console, encoding="utf-8")
            pathlib.Path(folder, "status").write_text(status, encoding="utf-8")
            return boot._ending(pathlib.Path(folder), 5.0, timed_out)

    def test_each_end_has_its_exit_code(self):
        for console, status, timed_out, code in (
            ("", "booted 2.9\nexit 3\n", False, 3),
            (CONSOLE, "booted 2.9\n", False, boot.OOPS),
            (CONSOLE, "booted 2.9\nexit 0\n", False, boot.OOPS),
            ("", "booted 2.9\n", False, boot.EARLY),
            ("", "", True, boot.TIMEOUT),
        ):
            with self.subTest(code=code):
                self.assertEqual(self.ending(console, status, timed_out).exit_code, code)

    def test_a_driver_that_did_not_come_is_said(self):
        self.assertIn("no /dev/dri/renderD128", self.ending("", "booted 1\nno /dev/dri/renderD128\nexit 1\n").what)


def collected(*lines, programs=("one",)):
    collector = results.Collector(programs)
    for line in lines:
        collector.line(line)
    return collector.outcomes


BEGIN, END = '@granule {"begin": "one"}', '@granule {"end": "one", "exit": 0}'


class Results(unittest.TestCase):
    def judge(self, outcome, console=""):
        return results.judged(outcome, kernel_log.parse(console), "the guest ended early")

    def failures(self, outcome, console=""):
        return [name for name, passed, _ in self.judge(outcome, console) if not passed]

    def test_what_a_program_says_is_its_own(self):
        outcome = collected(
            '@granule {"test": "before any", "passed": true}',
            BEGIN,
            'text @granule {"test": "a", "passed": true}',
            '@granule {"test": "b", "passed": false, "what": "seven"}',
            '@granule {"table": "T", "row": {"n": 1}}',
            '@granule {"same": "end", "value": "ff"}',
            END,
        )["one"]
        self.assertEqual(outcome.tests, [("a", True, ""), ("b", False, "seven")])
        self.assertEqual(outcome.rows, [("T", {"n": 1})])
        self.assertEqual(outcome.same, [("end", "ff")])
        self.assertEqual((outcome.exit_code, outcome.output), (0, ["text "]))

    def test_a_replay_is_tests_and_a_row(self):
        trace = dict.fromkeys(("residual_operations", "isolating_operations", "piece_operations", "binds", "mismatches"), 0)
        trace |= {"trace": "/traces/a.jsonl.xz", "good": True, "verify": True, "verdict": "good", "findings": []}
        trace |= {"error": None, "kernel": "refuses"}
        trace |= {"driver_ioctls": 10, "ioctls": 9, "driver_operations": 20, "kernel_operations": 24, "residual_operations": 4}
        trace |= {"granules_remapped": 2, "moved_bos": 0, "end_mappings": "0xff"}
        tests, rows, same = replays.read({"traces": [trace]})
        self.assertEqual([passed for _, passed, _ in tests], [True, True, True])
        self.assertEqual(rows[0][1]["of these for the kernel"], 4)
        self.assertEqual(same, [("mappings at the end of a", "0xff")])
        worse = {"ioctls": 11, "kernel_operations": 25, "good": False, "findings": [{"line": 7, "what": "no"}]}
        tests, _, _ = replays.read({"traces": [trace | worse]})
        self.assertEqual([passed for _, passed, _ in tests], [False, False, False])
        self.assertIn("line 7: no", tests[0][2])
        tests, _, _ = replays.read({"traces": [trace | {"ioctls": 0}]})
        self.assertEqual([passed for _, passed, _ in tests], [True, False, True])  # a count of nothing
        tests, _, _ = replays.read({"traces": [trace | {"driver_ioctls": 0, "driver_operations": 0}]})
        self.assertEqual(len(tests), 1)

    def test_lines_that_mean_nothing_fail(self):
        for line in ("@granule {oops}", '@granule {"tset": "a", "passed": true}', '@granule {"expect": "miracles"}'):
            self.assertEqual(len(self.failures(collected(BEGIN, line, END)["one"])), 1, line)
        self.assertEqual(self.failures(collected(BEGIN, '@granule {"test": "a"}', END)["one"]), ["a"])
        for report in ("", "no report", "H4sIAAAA", base64.b64encode(gzip.compress(b'{"traces": [{}]}')).decode("ascii")):
            line = f'@granule {{"replay": "{report}"}}'
            self.assertEqual(self.failures(collected(BEGIN, line, END)["one"]), ["what it says"], report)

    def test_a_program_that_tested_nothing_failed(self):
        self.assertEqual(self.failures(collected(BEGIN, END)["one"]), ["a test"])
        self.assertEqual(self.failures(collected(BEGIN, '@granule {"table": "T", "row": {"n": 1}}', END)["one"]), ["a test"])
        self.assertEqual(self.failures(collected(BEGIN, '@granule {"test": "a", "passed": true}', END)["one"]), [])

    def test_an_exit_code_that_no_test_explains_is_a_failure(self):
        crashed = collected(BEGIN, '@granule {"test": "a", "passed": true}', '@granule {"end": "one", "exit": 139}')["one"]
        self.assertEqual(self.failures(crashed), ["exit code 0"])

    def test_a_program_that_did_not_end_failed(self):
        self.assertEqual(self.failures(collected(BEGIN)["one"]), ["the program ends"])
        self.assertEqual(self.failures(collected()["one"]), ["the program ends"])

    def test_what_the_kernel_complains_of_fails_unless_it_was_announced(self):
        warned = CONSOLE.partition("[    2.3")[0]
        oopsed = CONSOLE.replace("begin one", "begin zero").replace("begin two", "begin one")
        test = '@granule {"test": "a", "passed": true}'
        quiet, warnings, oops = ((test,), (test, '@granule {"expect": "warnings"}'), (test, '@granule {"expect": "oops"}'))
        self.assertEqual(self.failures(collected(BEGIN, *quiet, END)["one"], warned), ["no kernel warning"])
        self.assertEqual(self.failures(collected(BEGIN, *warnings, END)["one"], warned), [])
        self.assertEqual(self.failures(collected(BEGIN, *quiet)["one"], oopsed), ["no kernel warning", "no kernel oops"])
        self.assertEqual(self.failures(collected(BEGIN, *warnings)["one"], oopsed), ["no kernel oops"])
        self.assertEqual(self.failures(collected(BEGIN, *oops)["one"], oopsed), [])

    def test_tables_have_all_columns_in_order(self):
        text = results.markdown("T", [{"a": 1234, "b": "x|y"}, {"a": 2, "c": True}])
        self.assertEqual(
            text.splitlines(),
            ["### T", "", "| a | b | c |", "| --: | --- | --- |", "| 1,234 | x\\|y |  |", "| 2 |  | yes |"],
        )


class Run(unittest.TestCase):
    def jobs(self, *programs, only=None, driver=None):
        with mock.patch.object(run, "PROGRAMS", programs):
            return run.jobs_on(SimpleNamespace(version="7"), SimpleNamespace(only=only, driver=driver))

    def test_programs_share_a_guest_unless_they_are_alone(self):
        jobs = self.jobs(
            Program("a 1", ("panthor",)),
            Program("b", ("panthor", "panfrost"), huge_pages=(True,)),
            Program("c", ("panthor",), huge_pages=(True,), alone=True),
            Program("d", ("panthor",), huge_pages=(False,), memory=2048),
        )
        self.assertEqual(
            [(job.driver, job.huge_pages, [program.label for program in job.programs]) for job in jobs],
            [
                ("panthor", True, ["a", "b"]),
                ("panthor", True, ["c"]),
                ("panthor", False, ["a"]),
                ("panthor", False, ["d"]),
                ("panfrost", True, ["b"]),
            ],
        )
        some = self.jobs(Program("a", ("panthor",)), Program("b", ("panthor", "panfrost")), only=["b"], driver="panthor")
        self.assertEqual([[program.label for program in job.programs] for job in some], [["b"], ["b"]])

    def test_a_program_of_one_series_runs_on_its_kernels_only(self):
        with mock.patch.object(run, "PROGRAMS", (Program("a", ("panthor",), series=("6.18",)),)):
            options = SimpleNamespace(only=None, driver=None)
            for version, guests in (("6.18.15+deb13", 2), ("6.1.8", 0), ("6.180.1", 0), ("7.3.4", 0)):
                self.assertEqual(len(run.jobs_on(SimpleNamespace(version=version), options)), guests, version)

    def test_no_two_programs_have_one_label(self):
        labels = [program.label for program in PROGRAMS]
        self.assertEqual(sorted(labels), sorted(set(labels)))

    def job(self, version, same):
        job = run.Job(SimpleNamespace(version=version), "panthor", True, [Program("one", ("panthor",), count_warnings=True)])
        job.outcomes = collected(BEGIN, f'@granule {{"same": "end", "value": {same}}}', END)
        job.ending = SimpleNamespace(log=kernel_log.parse(CONSOLE), what="", seconds=1)
        return job

    def test_a_run_in_which_nothing_ran_is_no_success(self):
        passed, failed = ("7", "a", True, ""), ("7", "b", False, "")
        self.assertEqual(run.exit_code([passed], []), 0)
        self.assertEqual(run.exit_code([passed, failed], [failed]), 1)
        self.assertEqual(run.exit_code([], []), run.NOTHING_RAN)

    def test_offline_with_an_empty_cache_nothing_runs(self):
        with tempfile.TemporaryDirectory() as folder, mock.patch("builtins.print") as printed, mock.patch("sys.stderr"):
            with mock.patch.dict(os.environ, {"GRANULE_KERNEL_CACHE": folder}):
                self.assertEqual(run.main(["--offline", "6.18", "7"]), run.NOTHING_RAN)
        self.assertEqual(printed.call_args.args, ("0 passed, 0 failed, 2 skipped",))

    def test_what_is_to_be_the_same_is_compared_over_guests(self):
        (test,) = run.same_tests([self.job("6.12", 1), self.job("7", 1)])
        self.assertTrue(test[2])
        (test,) = run.same_tests([self.job("6.12", 1), self.job("7", 2)])
        self.assertFalse(test[2])
        self.assertEqual(run.same_tests([self.job("6.12", 1)]), [])

    def test_a_row_gets_its_kernel_and_its_warnings(self):
        job = self.job("6.12.107", 1)
        rows = run.table_rows([(job, job.programs[0], {"kernel": "x", "n": 1})])
        self.assertEqual(rows, [{"kernel": "6.12.107", "n": 1, "kernel warnings": 1}])

    def test_the_table_of_the_readme_has_each_kernel_plainly_and_through_the_library(self):
        plain = {"kernel": "6.18.15+deb13", "huge pages": True, "kernel warnings": 5}
        plain |= {case: "EINVAL, not done" for case in readme_table._CASES}
        small = plain | {"huge pages": False, "kernel warnings": 0}
        library = plain | {case: "works, 3 operations in 1 ioctl" for case in readme_table._CASES} | {"kernel warnings": 0}
        tables = {"proof": [plain, small], "proof, through the library": [library]}
        made = readme_table.table(tables)
        self.assertEqual(made.count("\n"), 4)
        self.assertEqual(made.count("**EINVAL, not done**"), 5)
        self.assertEqual(made.count("works (3)"), 5)
        self.assertEqual(made.count("6.18.15"), 1)
        self.assertIsNone(readme_table.table({"proof": [plain]}))
        self.assertIsNone(readme_table.table(tables | {"proof": [plain, plain | {"kernel": "7.3.4"}]}))

    def test_the_table_replaces_the_one_that_the_readme_has(self):
        readme = "a\n" + readme_table.BEGIN + "old\n" + readme_table.END + "b\n"
        self.assertEqual(readme_table.inserted(readme, "new\n"), readme.replace("old", "new"))
        with self.assertRaises(ValueError):
            readme_table.inserted("no table here\n", "new\n")

    def test_a_complaint_of_no_program_is_not_lost(self):
        names = [name for _, name, passed, _ in run.job_tests(self.job("7", 1)) if not passed]
        self.assertEqual(names.count("the kernel is content without a program too"), 3)  # early, "two", and its oops


class CommandLine(unittest.TestCase):
    def test_a_command_may_have_options_of_its_own(self):
        arguments = "6.18 panthor --memory 512 --file a --file b:/c -- ls -l --json"
        options = guest._options(arguments.split())
        self.assertEqual(options.command, ["ls", "-l", "--json"])
        self.assertEqual((options.memory, options.file), (512, ["a", "b:/c"]))

    def test_bad_usage_has_its_exit_code(self):
        with mock.patch("sys.stderr"):
            for arguments in ([], ["6.18"], ["6.18", "lima", "--", "ls"], ["7", "panthor", "--memory", "4096", "--", "ls"]):
                self.assertEqual(guest.main(arguments), guest.USAGE, arguments)


if __name__ == "__main__":
    unittest.main()
