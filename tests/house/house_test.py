#!/usr/bin/env python3
"""The checks of this folder can fail: each is shown a small project that keeps its rule, and one violation at a time."""

import pathlib
import tempfile
import unittest

import built_files
import c_coverage
import file_length
import include_rule
import own_header
import project_files
import readmes
import texts

README = "# A folder\n\nWhat it is.\n"

# A project that keeps every rule.
SOUND = {
    "README.md": README,
    "mali/README.md": README,
    "mali/meson.build": "mali_sources = files(\n  'leaf.cpp',\n)\nlibrary_headers += files('leaf.hpp')\n",
    "mali/leaf.hpp": "#pragma once\n#include <cstdint>\n#include <tl/expected.hpp>\n",
    "mali/leaf.cpp": '#include "mali/leaf.hpp"\n#include <cstddef>\n',
    "allocator/README.md": README,
    "allocator/meson.build": "files('plan.hpp')\n",
    "allocator/plan.hpp": '#pragma once\n#include <memory>\n#include "mali/leaf.hpp"\n',
    "src/README.md": README + "\n- `backend/` drives kernels; `include/granule/` is installed.\n",
    "src/meson.build": "files('backend/soft.cpp', 'include/granule/granule.h')\n",
    "src/backend/soft.cpp": '#include <sys/mman.h>\n#include "allocator/plan.hpp"\n#include <granule/granule.h>\n',
    "src/include/granule/granule.h": "#pragma once\n",
    "examples/README.md": README,
    "examples/meson.build": "files('triangle.hpp')\n",
    "examples/triangle.hpp": "#ifndef TRIANGLE_HPP\n#define TRIANGLE_HPP\n#include <granule/granule.h>\n#endif\n",
    "tests/README.md": README + "\n`mali/` and `data/`.\n",
    "tests/meson.build": "files('mali/leaf_test.hpp')\n",
    "tests/mali/leaf_test.hpp": '#pragma once\n#include <thread>\n#include "mali/leaf.hpp"\n#include "allocator/plan.hpp"\n',
    "tests/data/leaf.bin": "\0 /home/" + "nobody: data is not text\n",
}


class HouseTest(unittest.TestCase):
    def problems(self, check, **changes):
        """What `check` says of the sound project with the files in `changes` put into it (None: taken away)."""
        with tempfile.TemporaryDirectory() as root:
            for file, text in {**SOUND, **changes.get("files", {})}.items():
                if text is not None:
                    path = pathlib.Path(root, file)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text(text, encoding="utf-8")
            return list(check.check(project_files.Project(root)))

    def assert_caught(self, check, file, text, *words):
        """`check` reports exactly one problem, which has `words`, once `file` is put into the sound project."""
        problems = self.problems(check, files={file: text})
        self.assertEqual(len(problems), 1, problems)
        for word in words:
            self.assertIn(word, problems[0])

    def test_a_sound_project_has_no_problem(self):
        for check in (built_files, c_coverage, file_length, include_rule, own_header, readmes, texts):
            with self.subTest(check=check.__name__):
                self.assertEqual(self.problems(check), [])

    def test_a_header_that_does_not_come_first_in_its_source_is_caught(self):
        for text in ('#include <cstdint>\n#include "mali/leaf.hpp"\n', '#include "mali/other_leaf.hpp"\n', "int leaf;\n"):
            with self.subTest(text=text):
                self.assert_caught(own_header, "mali/leaf.cpp", text, "mali/leaf.cpp", "first")
        self.assertEqual(self.problems(own_header, files={"mali/leaf.cpp": '// Why.\n#include "leaf.hpp"\n'}), [])

    def test_a_header_without_a_guard_is_caught(self):
        for text in ("#include <cstdint>\n", "#ifndef LEAF_HPP\n#define LEAVE_HPP\n#endif\n", "// #pragma once\n"):
            with self.subTest(text=text):
                self.assert_caught(own_header, "mali/leaf.hpp", text, "mali/leaf.hpp", "guard")

    def test_a_function_or_a_number_that_no_c_test_names_is_caught(self):
        header = "src/include/granule/granule.h"
        declared = "#pragma once\nint granule_cut(int);\ntypedef enum e {\n    GRANULE_A = 1 /* GRANULE_B = 2 */\n} e;\n"
        for test, missing in (
            ("int main(void) { return granule_cut(0); }\n", "GRANULE_A"),
            ("int main(void) { return GRANULE_A; } /* granule_cut */\n", "granule_cut"),
            ("int main(void) { return granule_cut(GRANULE_A); }\n", ""),
        ):
            with self.subTest(test=test):
                problems = self.problems(c_coverage, files={header: declared, "tests/c_api/cut_test.c": test})
                self.assertEqual(len(problems), 1 if missing else 0, problems)
                self.assertIn(missing, "".join(problems))
        both = {header: "enum e { GRANULE_FAULT_OTHER = 4 };\n", "tests/c_api/cut_test.c": "GRANULE_FAULT_OTHER;\n"}
        self.assertEqual(len(self.problems(c_coverage, files=both)), 1)

    def test_an_include_to_the_right_is_caught(self):
        for file, include in (
            ("mali/bad.hpp", '"allocator/plan.hpp"'),
            ("mali/bad.hpp", "<allocator/plan.hpp>"),
            ("mali/bad.hpp", "<granule/granule.h>"),
            ("allocator/bad.cpp", '"src/include/granule/granule.h"'),
            ("src/include/granule/bad.h", '"tests/mali/leaf_test.hpp"'),
            ("src/bad.cpp", '"examples/triangle.hpp"'),
            ("tests/bad.cpp", '"examples/triangle.hpp"'),
            ("examples/bad.cpp", "<mali/leaf.hpp>"),
        ):
            with self.subTest(file=file, include=include):
                self.assert_caught(include_rule, file, f"// A comment.\n  # include {include}\n", f"{file}:2:", "left")

    def test_an_include_that_is_not_from_the_root_is_caught(self):
        for include in ('"leaf.hpp"', '"../mali/leaf.hpp"', '"mali/gone.hpp"', '"mali/"'):
            with self.subTest(include=include):
                self.assert_caught(include_rule, "mali/bad.hpp", f"#include {include}\n", "mali/bad.hpp:1:", "root")

    def test_an_impure_include_is_caught(self):
        for file, include in (
            ("mali/bad.hpp", "<sys/mman.h>"),
            ("mali/bad.hpp", "<mutex>"),
            ("mali/bad.hpp", "<vector>"),
            ("mali/bad.hpp", "<iostream>"),
            ("allocator/bad.hpp", "<unistd.h>"),
            ("allocator/bad.hpp", "<thread>"),
            ("allocator/bad.hpp", "<xf86drm.h>"),
        ):
            with self.subTest(file=file, include=include):
                self.assert_caught(include_rule, file, f"#include {include}\n", f"{file}:1:", include)

    def test_who_has_only_the_installed_headers_includes_neighbours_by_name(self):
        for file in ("examples/thing/bad.cpp", "tests/c_api/bad.c"):
            good = {file: '#include "near.h"\n', file.rpartition("/")[0] + "/near.h": ""}
            self.assertEqual(self.problems(include_rule, files=good), [])
            self.assert_caught(include_rule, file, '#include "far.h"\n', f"{file}:1:", "own")

    def test_an_example_that_uses_the_inside_of_the_library_is_caught(self):
        self.assert_caught(
            include_rule,
            "examples/triangle.hpp",
            '#include "src/backend/soft.cpp"\n',
            "installed",
        )

    def test_a_file_that_is_never_compiled_is_caught(self):
        self.assert_caught(built_files, "mali/forgotten.cpp", "", "mali/forgotten.cpp")
        self.assert_caught(built_files, "mali/forgotten.hpp", "", "mali/forgotten.hpp")
        # Named by a folder that is not above it.
        self.assert_caught(built_files, "allocator/leaf.cpp", "", "allocator/leaf.cpp")
        # Beside a test that builds programs, but not this one.
        programs = {"tests/install/run.py": 'build("named.c")\n', "tests/install/named.c": "", "tests/install/forgotten.c": ""}
        problems = self.problems(built_files, files=programs)
        self.assertEqual(len(problems), 1, problems)
        self.assertIn("tests/install/forgotten.c", problems[0])

    def test_a_long_file_without_a_reason_is_caught(self):
        long = "int x;\n" * 501
        self.assert_caught(file_length, "mali/long.hpp", long, "501")
        self.assert_caught(file_length, "mali/long.hpp", "int lines;\n" + long, "502")
        self.assert_caught(file_length, "mali/long.hpp", "\n" * 40 + "// Long: one table, 600 lines.\n" + long, "542")
        self.assertEqual(self.problems(file_length, files={"mali/long.hpp": "// Over 500 lines: a table.\n" + long}), [])
        self.assertEqual(self.problems(file_length, files={"mali/long.hpp": "int x;\n" * 500}), [])

    def test_a_missing_readme_is_caught(self):
        self.assert_caught(readmes, "README.md", None, "README.md")
        self.assert_caught(readmes, "allocator/README.md", None, "allocator/", "missing")

    def test_a_folder_that_no_readme_names_is_caught(self):
        self.assert_caught(readmes, "src/trace/reader.hpp", "", "src/trace/")

    def test_a_readme_that_is_no_page_is_caught(self):
        self.assert_caught(readmes, "mali/README.md", "# mali\n", "1 lines")
        self.assert_caught(readmes, "mali/README.md", "line\n" * 201, "201 lines")

    def test_texts_that_do_not_belong_are_caught(self):
        for text in (
            "see /home/" + "somebody/notes",
            "cp /work/" + "x .",
            "../sha" + "red/design.md",
            "URIs: https://de" + "b.example.org/debian",
            "// TO" + "DO: later",
            "# FIX" + "ME",
            "<" * 7 + " HEAD",
        ):
            with self.subTest(text=text):
                self.assert_caught(texts, "mali/bad.md", f"fine\n{text}\n", "mali/bad.md:2:")
        fine = "// TO" + "DO(#12): said where\nsrc/home/x and <https://www.kernel.org/doc/>\n"
        self.assertEqual(self.problems(texts, files={"mali/fine.md": fine}), [])

    def test_a_place_that_was_never_filled_is_caught(self):
        for text in ("@NUMBERS@", "it takes @P99_NS@ ns", "| @A1@ |"):
            with self.subTest(text=text):
                self.assert_caught(texts, "mali/bad.md", f"fine\n{text}\n", "mali/bad.md:2:", "never filled")
        # Meson's own, and text that is nobody's place.
        self.assertEqual(self.problems(texts, files={"tools/meson.build": "output: '@PLAINNAME@.c'\n"}), [])
        self.assertEqual(self.problems(texts, files={"mali/fine.md": "`@0@`, a@b.example, @ALL and @ B @\n"}), [])


if __name__ == "__main__":
    unittest.main()
