#!/usr/bin/env python3
"""What is made of measurements: ratios, goals that miss, runs added to each other, pages, pictures, counts. Of small runs whose
answers are known; nothing is measured.
"""

import contextlib
import io
import json
import pathlib
import sys
import tempfile
import unittest
import xml.etree.ElementTree
from unittest import mock

import document
import goals
import instructions
import marked
import plot
import readme
import replays
import report
import svg
import tables

ROLES = {"NULL": "null", "granule": "granule", "absl::btree_map": "peer"}


def map_test(op, find, mappings=800, item=32):
    """A test of section map: the empty loop takes 1 ns, the peer 101 and 51."""
    return {
        "NULL": {"op_ns": 1, "find_ns": 1},
        "absl::btree_map": {"op_ns": 101, "find_ns": 51},
        "granule": {"op_ns": op, "find_ns": find, "bytes_per_mapping": item, "mappings": mappings},
    }


def run_of(sections, disturbed=(), machine="a machine", time="2026-01-02T03:04 UTC", **more):
    made = document.empty()
    made.update(machine=machine, roles=ROLES, sections=sections, disturbed=list(disturbed), **more)
    made["caches"] = [["L1", 48 << 10], ["L2", 1 << 20]]
    made["runs"] = [{"time": time, "what": "sh tests/bench/run"}]
    return made


def harness(sections):
    roles = {
        "NULL": "null",
        "granule": "candidate",
        "VmaVirtualBlock": "peer",
        "util_vma (Mesa)": "peer",
        "drm_mm BEST": "peer",
        "drm_gpuvm, linked to BOs": "peer",
        "io-pgtable 7.3 Mali": "peer",
        "io-pgtable 6.12 Mali": "peer",
    }
    return {"roles": roles, "sections": sections, "disturbed": []}


def row(rows, what, against):
    """The row `against` of the rows about `what`, whose name is in the first of them only."""
    name = None
    for one in rows:
        name = one.what or name
        if name == what and one.against == against:
            return one
    raise AssertionError(f"no row {what} against {against}")


class Goals(unittest.TestCase):
    def rows(self, *args, **more):
        return goals.rows(*document.runs_of(run_of(*args, **more)))

    def test_a_ratio_is_net_of_the_empty_loop_and_missed_below_its_goal(self):
        rows = self.rows({"map": {"W1 N=1000": map_test(op=51, find=11), "W2 N=1000": map_test(op=26, find=51)}})
        maps = row(rows, "mapping map, map and unmap", "absl::btree_map")
        self.assertEqual(maps.cells, [("W1 1e3", 2.0, 2.2), ("W2 1e3", 4.0, 2.2)])
        self.assertEqual(maps.met(), "no: W1 1e3")
        finds = row(rows, "mapping map, look-up by VA", "absl::btree_map")
        self.assertEqual(finds.cells, [("W1 1e3", 5.0, 1.8), ("W2 1e3", 1.0, 1.8)])
        self.assertEqual(finds.met(), "no: W2 1e3")

    def test_of_sizes_more_is_a_miss(self):
        rows = self.rows({"map": {"W1 N=1000": map_test(2, 2, item=32), "W3 N=1000": map_test(2, 2, item=33)}})
        self.assertEqual(row(rows, "mapping map, memory per mapping", "drm_gpuvm 145 B, absl 35 B").met(), "no: W3 1e3")

    def test_a_row_says_what_it_lacks(self):
        rows = self.rows({})
        self.assertEqual(row(rows, "VA heap, churn pair", "VmaVirtualBlock (TLSF)").met(), "needs PEERS")
        self.assertEqual(row(rows, "mapping map, look-up by VA", "absl::btree_map").met(), "not measured")

    def test_a_harness_is_compared_with_what_it_measured_of_ours(self):
        sections = {"A": {"T N=1000": {"NULL": {"pair_ns": 5}, "VmaVirtualBlock": {"pair_ns": 65}, "granule": {"pair_ns": 20}}}}
        own = {"va": {"T N=1000": {"NULL": {"pair_ns": 0}, "granule": {"pair_ns": 1}}}}
        rows = self.rows(own, peers=harness(sections))
        self.assertEqual(row(rows, "VA heap, churn pair", "VmaVirtualBlock (TLSF)").cells, [("T 1e3", 4.0, 4)])


class Added(unittest.TestCase):
    def test_a_later_run_takes_the_place_of_its_like_test_by_test(self):
        before = run_of({"map": {"W1 N=1000": map_test(51, 11), "W1 N=10000": map_test(52, 12)}, "va": {"M N=1000": {}}})
        whole = document.added(before, run_of({"map": {"W1 N=1000": map_test(26, 6)}}, time="2026-01-03T00:00 UTC"))
        self.assertEqual(whole["sections"]["map"]["W1 N=1000"]["granule"]["op_ns"], 26)
        self.assertEqual(whole["sections"]["map"]["W1 N=10000"]["granule"]["op_ns"], 52)
        self.assertIn("va", whole["sections"])
        self.assertEqual([run["time"] for run in whole["runs"]], ["2026-01-02T03:04 UTC", "2026-01-03T00:00 UTC"])

    def test_what_was_disturbed_is_so_until_it_is_measured_again(self):
        notices = ["map W1 N=1000: the empty loop moved by 20 %", "map W2 N=1000: the same", "pt all: the same"]
        before = run_of({"map": {"W1 N=1000": {}, "W2 N=1000": {}}, "pt": {"64K pairs": {}}}, notices)
        self.assertEqual(document.added(before, run_of({"map": {"W1 N=1000": {}}}))["disturbed"], notices[1:])
        again = run_of({"pt": {"64K pairs": {}}}, ["pt all: still"])
        self.assertEqual(document.added(before, again)["disturbed"], [*notices[:2], "pt all: still"])

    def test_a_later_run_of_a_harness_leaves_what_it_did_not_measure(self):
        whole = document.added(
            run_of({}, peers=harness({"A": {"M N=1000": {"granule": {"pair_ns": 1}}, "M N=10000": {"granule": {"pair_ns": 2}}}})),
            run_of({}, peers=harness({"A": {"M N=10000": {"granule": {"pair_ns": 3}}}})),
        )
        tests = whole["peers"]["sections"]["A"]
        self.assertEqual([tests[test]["granule"]["pair_ns"] for test in ("M N=1000", "M N=10000")], [1, 3])

    def test_another_machine_is_refused(self):
        with self.assertRaises(document.OtherMachine):
            document.added(run_of({}), run_of({}, machine="another"))

    def test_counts_and_replays_are_exchanged_one_by_one(self):
        before = run_of(
            {}, instructions=[["va", "M", "granule", "pair", 9], ["va", "T", "granule", "pair", 8]], replays=[{"trace": "a", "binds": 1}]
        )
        later = run_of({}, instructions=[["va", "T", "granule", "pair", 7]], replays=[{"trace": "b", "binds": 2}])
        whole = document.added(before, later)
        self.assertEqual([count[4] for count in whole["instructions"]], [9, 7])
        self.assertEqual([replay["trace"] for replay in whole["replays"]], ["a", "b"])


class Report(unittest.TestCase):
    def report(self, *arguments):
        """What report.py prints, its JSON, and its figures.md; in a folder with `before.json` and `map.json`."""
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            before = run_of({"map": {"W2 N=1000": map_test(26, 11)}}, instructions=[["va", "M", "granule", "pair", 99.5]])
            before["replays"] = [{"trace": "a.jsonl.xz", "binds": 17523, "ns_per_bind_p50": 480, "ns_per_bind_p999": 21000}]
            (folder / "before.json").write_text(json.dumps(before))
            part = {"roles": ROLES, "tests": {"W1 N=1000": map_test(51, 11)}, "disturbed": ["W1 N=1000: moved"]}
            (folder / "map.json").write_text(json.dumps(part))
            out, figures = folder / "out.json", folder / "figures.md"
            words = [argument.replace("DIR", str(folder)) for argument in arguments]
            with (
                mock.patch.object(sys, "argv", ["report.py", "--out", str(out), "--figures", str(figures), *words]),
                mock.patch.object(report.machine, "name", lambda: "a machine"),
                contextlib.redirect_stdout(io.StringIO()) as printed,
            ):
                report.main()
            return printed.getvalue(), json.loads(out.read_text()), figures.read_text()

    def test_a_run_is_one_page_and_one_document(self):
        printed, made, figures = self.report("--what", "sh tests/bench/run map", "map=DIR/map.json")
        self.assertIn("| mapping map, map and unmap | absl::btree_map | ", printed)
        self.assertIn("| W1 1e3 2.00x | no: W1 1e3 |", printed)
        self.assertIn("**Disturbed, run again:** map W1 N=1000: moved", printed)
        self.assertIn("sh tests/bench/run map", printed)
        self.assertEqual(made["sections"]["map"]["W1 N=1000"]["granule"]["op_ns"], 51)
        self.assertEqual(figures, report.FIGURES_HEAD + printed.rstrip("\n") + "\n")

    def test_a_run_is_added_to_an_earlier_one(self):
        printed, made, _ = self.report("--before", "DIR/before.json", "map=DIR/map.json")
        self.assertIn("| W1 1e3 2.00x; W2 1e3 4.00x | no: W1 1e3 |", printed)
        self.assertIn("| a.jsonl.xz | 17,523 | 480 ns | 21000 ns |", printed)
        self.assertIn("| va: instructions per operation | granule |", printed)
        self.assertIn("| M, pair | 99.5 |", printed)
        self.assertEqual(len(made["runs"]), 2)

    def test_an_earlier_run_is_reported_as_it_was(self):
        printed, made, _ = self.report("--before", "DIR/before.json")
        self.assertIn("| W2 1e3 4.00x | yes |", printed)
        self.assertEqual(len(made["runs"]), 1)

    def test_what_is_no_run_is_said_to_be_none(self):
        with self.assertRaisesRegex(SystemExit, "map.json: not the JSON of a run"):
            self.report("--before", "DIR/map.json")

    def test_threads_are_a_section_too(self):
        made = report.threads_as_section([{"case": "one VM", "threads": 2, "p99_ns": 700}])
        self.assertEqual(made["tests"], {"one VM, 2 threads": {"granule": {"p99_ns": 700}}})


class Counts(unittest.TestCase):
    def test_dumps_are_divided_by_their_operations(self):
        with tempfile.TemporaryDirectory() as folder:
            for number, text in enumerate(
                (
                    "desc: Trigger: Client Request: M N=1000|granule|pair|2000\nsummary: 300000\n",
                    "desc: Trigger: Client Request: M N=1000|NULL|pair|2000\ntotals: 38000\n",
                    "desc: Trigger: Program termination\ntotals: 5\n",
                ),
                start=9,
            ):
                pathlib.Path(folder, f"va.callgrind.{number}").write_text(text)
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                instructions.main([str(path) for path in pathlib.Path(folder).iterdir()])
            counted = json.loads(printed.getvalue())
            self.assertEqual(counted, [["va", "M N=1000", "granule", "pair", 150], ["va", "M N=1000", "NULL", "pair", 19]])
            self.assertEqual(
                list(tables.instructions(counted))[2:3], ["| M N=1000, pair | 150 | 19.0 |"]
            )

    def test_nothing_counted_is_an_error(self):
        with self.assertRaises(SystemExit):
            instructions.main([])


class Replays(unittest.TestCase):
    def test_times_are_of_the_replay_that_verified_nothing(self):
        quick = dict.fromkeys(replays.KEPT, 1) | {"trace": "d/a.jsonl.xz", "verify": False, "mismatches": 0, "binds": 3}
        verified = quick | {"verify": True, "mismatches": 2, "ns_per_bind_p50": 99}
        other = quick | {"trace": "d/b.jsonl.xz"}
        found = replays.of([{"traces": [verified]}, {"traces": [quick]}, {"traces": [other]}])
        self.assertEqual([(one["trace"], one["binds"], one["ns_per_bind_p50"], one.get("mismatches")) for one in found],
                         [("a.jsonl.xz", 3, 1, 2), ("b.jsonl.xz", 3, 1, None)])  # fmt: skip


class Readme(unittest.TestCase):
    def replayed(self, traces):
        keys = dict.fromkeys(replays.KEPT, 4) | {"mismatches": 0, "ns_per_bind_p50": 6189, "ns_per_bind_p999": 78537}
        return [{"trace": f"{trace}.jsonl.xz", **keys} for trace in traces]

    def test_the_table_of_replays_needs_all_shipped_traces(self):
        made = readme.replays(run_of({}, replays=self.replayed([*readme.TRACES, "another"])))
        self.assertIn("| glmark2-g52-v26 (panfrost, ARM_MALI_LPAE) | 4 | 4 | 4 | 4 | 0 | 6,200 | 79,000 |", made)
        self.assertNotIn("another", made)
        self.assertIsNone(readme.replays(run_of({}, replays=self.replayed(list(readme.TRACES)[1:]))))

    def test_the_table_of_ratios_needs_a_harness(self):
        self.assertIsNone(readme.ratios(run_of({})))
        walk = {"NULL": {"ns": 1}, "io-pgtable 7.3 Mali": {"ns": 21}, "io-pgtable 6.12 Mali": {"ns": 11}, "granule": {"ns": 5}}
        pair = {"NULL": {"op_ns": 0}, "drm_gpuvm, linked to BOs": {"op_ns": 300}, "granule": {"op_ns": 30}}
        peers = harness({"B": {"i2p random 1G/4K": walk}, "C": {"W2 N=1000": pair}})
        made = readme.ratios(run_of({"map": {"W2 N=1000": map_test(26, 11)}}, peers=peers))
        self.assertIn("| mappings, map and unmap 64 KiB tiles: absl::btree_map | 4.0 |", made)
        self.assertIn("| the same: Linux's drm_gpuvm | 10 |", made)
        self.assertIn("| 4 KiB pages, 1 GiB |  |  |  | 2.5 |", made)
        self.assertIn("2026-01-02, a machine.", made)

    def test_a_part_of_a_page_is_exchanged_and_the_rest_stays(self):
        page = "a\n<!-- x: begin -->\nold\n<!-- end -->\nb\n<!-- y: begin -->\n<!-- end -->\n"
        self.assertEqual(
            marked.inserted(page, "x", "new\n"), "a\n<!-- x: begin -->\nnew\n<!-- end -->\nb\n<!-- y: begin -->\n<!-- end -->\n"
        )
        for bad in (page.replace("x: begin", "z: begin"), "<!-- x: begin -->\n"):
            with self.subTest(page=bad), self.assertRaisesRegex(ValueError, "lacks the line"):
                marked.inserted(bad, "x", "new\n")


class Plot(unittest.TestCase):
    def growth(self):
        """Map tests whose cost grows; 32 B a mapping, N mappings."""
        tests = {}
        for n in (1_000, 10_000, 100_000):
            for workload in ("W1", "W2", "W3"):
                tests[f"{workload} N={n}"] = map_test(n / 100, 5, mappings=n)
        return run_of({"map": tests})

    def test_a_line_has_its_points_in_order(self):
        tests = self.growth()["sections"]["map"]
        self.assertEqual(plot.points(tests, "W1", "granule", "op_ns"), [(1_000, 10), (10_000, 100), (100_000, 1000)])
        self.assertEqual(plot.points(tests, "W1", "granule, batch", "op_ns"), [])

    def test_a_cache_is_outgrown_where_the_bytes_that_were_counted_say(self):
        sizes = plot.footprint(self.growth()["sections"]["map"], "W1", "granule")
        self.assertEqual(sizes, [(1_000, 32_000), (10_000, 320_000), (100_000, 3_200_000)])
        self.assertAlmostEqual(plot.outgrows(sizes, 1 << 20), (1 << 20) / 32, delta=1)
        self.assertIsNone(plot.outgrows(sizes, 1 << 30))
        live = {"T N=1000": {"granule": {"bytes_per_live": 6, "callers_bytes_per_live": 24}}}
        self.assertEqual(plot.footprint(live, "fixed", "granule"), [(1_000, 30_000)])

    def test_what_was_measured_is_drawn(self):
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()) as said:
            path = pathlib.Path(folder, "growth.json")
            path.write_text(json.dumps(self.growth()))
            with contextlib.redirect_stdout(io.StringIO()):
                plot.main(str(path), folder)
            self.assertEqual(sorted(file.name for file in pathlib.Path(folder).glob("*.svg")), ["growth-find.svg", "growth-map.svg"])
            picture = pathlib.Path(folder, "growth-map.svg").read_text()
            texts = [text.text for text in xml.etree.ElementTree.fromstring(picture).iter("{http://www.w3.org/2000/svg}text")]
            for text in ("W1", "W2", "W3", "the empty loop", "2026-01-02, a machine", "1e3", "1e5", "1000", "L2 1 MiB"):
                self.assertIn(text, texts)
            self.assertIn("README.md keeps its table", said.getvalue())
            finds = pathlib.Path(folder, "growth-find.svg").read_text()
            self.assertIn(">the empty loop<", finds)
            self.assertNotIn("at most", finds)

    def test_an_empty_loop_that_is_far_below_is_named(self):
        grown = self.growth()
        for runs in grown["sections"]["map"].values():
            runs["NULL"] = {"op_ns": 0.3, "find_ns": 0.3}
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
            path = pathlib.Path(folder, "growth.json")
            path.write_text(json.dumps(grown))
            with contextlib.redirect_stdout(io.StringIO()):
                plot.main(str(path), folder)
            picture = pathlib.Path(folder, "growth-find.svg").read_text()
            self.assertNotIn(">the empty loop<", picture)
            self.assertIn("the empty loop: 0.3 ns at most", picture)

    def test_labels_do_not_lie_on_each_other(self):
        for end in (10, 99, 100):  # at the bottom of the chart, near its top, in the middle
            lines = [(name, [(1_000, end / 2 if end == 100 else 10), (10_000, end + number / 100)]) for number, name in enumerate("abcd")]
            lines.append(("e", [(1_000, 10), (10_000, 1_000 if end == 100 else 10)]))
            picture = xml.etree.ElementTree.fromstring("\n".join(svg.chart("t", "s", "x", "y", lines)))
            texts = picture.iter("{http://www.w3.org/2000/svg}text")
            places = sorted(float(text.get("y")) for text in texts if text.text in "abcde")
            with self.subTest(end=end):
                self.assertEqual(len(places), 5)
                self.assertTrue(all(below - above >= 12 for above, below in zip(places, places[1:])), places)
                self.assertTrue(svg.TOP <= places[0] and places[-1] <= svg.HEIGHT - svg.BOTTOM + 4, places)

    def test_the_table_of_growth_says_where_a_cache_is_outgrown(self):
        charts = [chart for chart in plot.CHARTS if chart[0] == "growth-find.svg"]
        with mock.patch.object(plot, "CHARTS", charts):
            made = plot.growth_table(self.growth())
        self.assertIn("| line | bytes an item, first; last | over L1, 48 KiB | over L2, 1 MiB | ns at 1e3 | 1e5 | 1e7 |", made)
        self.assertIn("| Map of mappings: look-up by VA: W2 | 32; 32 | 1.5e3 | 3.3e4 | 5.00 | 5.00 |  |", made)
        self.assertIsNone(plot.growth_table(self.growth()))


if __name__ == "__main__":
    unittest.main()
