"""Every function and every number of an enum that the installed C headers declare is in the C tests (tests/c_api/*.c), by
name. What cannot be, is in ELSEWHERE with its reason; what is there and could be, is a violation too.
"""

import re

HEADERS = "src/include/granule"
TESTS = "tests/c_api"

_KERNEL = "only a kernel's device has it: tests/c_api/kernel_device_test.cpp"
_UNREACHABLE = "nothing that a caller can do to the soft device brings it about"
ELSEWHERE = {
    "GRANULE_KERNEL_FROM_RELEASE": _KERNEL,
    "GRANULE_KERNEL_FROM_UNKNOWN": _KERNEL,
    "GRANULE_FAULT_OTHER": "no access of the soft GPU faults so",
    "GRANULE_STATUS_CANCELLED": _UNREACHABLE,
    "GRANULE_STATUS_KERNEL_OOPS": _UNREACHABLE,
    "granule_vk_allocate": "called through granule_allocator_from_vk()",
    "granule_vk_release": "called through granule_allocator_from_vk()",
}

_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
# The C++ of a header, but for its `extern "C" {` and its end.
_CPP = re.compile(r"^#ifdef __cplusplus\n(.*?)^#(?:else|endif)", re.DOTALL | re.MULTILINE)
_FUNCTION = re.compile(r"\b(granule_\w+)\s*\(")
_ENUM = re.compile(r"\benum\s+\w+\s*\{(.*?)\}", re.DOTALL)
_NUMBER = re.compile(r"\b(GRANULE_\w+)\s*=")
_WORD = re.compile(r"\w+")


def check(project):
    declared = {}
    for file in project.under((HEADERS,), (".h",)):
        text = _CPP.sub("", _COMMENT.sub("", project.text(file)))
        for name in _FUNCTION.findall(text):
            declared.setdefault(name, file)
        for numbers in _ENUM.findall(text):
            for name in _NUMBER.findall(numbers):
                declared.setdefault(name, file)
    tested = set()
    for file in project.under((TESTS,), (".c",)):
        tested.update(_WORD.findall(_COMMENT.sub("", project.text(file))))
    for name, file in sorted(declared.items()):
        if name not in tested and name not in ELSEWHERE:
            yield f"{file}: {name} is in no C test of {TESTS}/, nor said to be elsewhere (c_coverage.py)"
        elif name in tested and name in ELSEWHERE:
            yield f"{file}: {name} is in a C test, and said to be elsewhere (c_coverage.py)"
