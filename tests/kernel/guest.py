"""Boots a Debian arm64 kernel with its own Mali driver on a mock GPU and runs a shell command there.

exit code: the command's; or
    77   --offline, and the cache lacks something
    120  the kernel oopsed or panicked
    121  the guest ended before its command did
    122  something is missing: the message says what
    123  bad usage
    124  the timeout passed
    130  interrupted
"""

import argparse
import asyncio
import json
import pathlib
import signal
import sys

import boot
import busybox
import kernels
import sysroot
from cache import Cache, say
from mock_gpu import DRIVERS
from problems import Missing, NotInCache

MISSING, USAGE, SKIPPED, INTERRUPTED = 122, 123, 77, 130


def parser():
    result = argparse.ArgumentParser(
        prog="tests/kernel/guest",
        usage="%(prog)s KERNEL DRIVER [OPTION...] -- COMMAND...",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument("kernel", help="a series, whose newest is meant (6.12, 6.18, 7), or a version (6.16.12)")
    result.add_argument("driver", choices=DRIVERS)
    result.add_argument("command", nargs="+", help="of the guest's shell, the words joined by blanks; see README.md")
    result.add_argument(
        "--file",
        action="append",
        default=[],
        metavar="FILE[:/FOLDER]",
        help="a program, library or folder for the guest: programs go to /bin, *.so* to /lib, the libraries that they "
        "need come along",
    )
    result.add_argument(
        "--library-path",
        action="append",
        default=[],
        metavar="FOLDER",
        help="where those libraries are, before the sysroot and the cross compiler",
    )
    result.add_argument("--kernel-arguments", default="", metavar="TEXT", help="for the kernel's command line")
    result.add_argument("--memory", type=int, default=1024, metavar="MB", help="of the guest (1024)")
    result.add_argument("--timeout", type=float, default=240, metavar="SECONDS", help="until the guest is stopped (240)")
    result.add_argument("--huge-pages", choices=("on", "off"), default="on", help="BOs of 2 MiB blocks where possible (on)")
    result.add_argument("--json", metavar="FILE", help="write how it went: exit code, seconds, warnings, oopses")
    result.add_argument("--console", metavar="FILE", help="keep the kernel's console")
    result.add_argument("--offline", action="store_true", help="use only what the cache has")
    result.add_argument("--update", action="store_true", help="read the package lists anew, which happens weekly otherwise")
    return result


def main(arguments):
    try:
        options = _options(arguments)
    except SystemExit as usage:
        return USAGE if usage.code else 0
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        return _run(options)
    except NotInCache as problem:
        say(f"skipped: {problem}")
        return SKIPPED
    except Missing as problem:
        say(str(problem))
        return MISSING
    except KeyboardInterrupt:
        say("interrupted")
        return INTERRUPTED


def _options(arguments):
    parse = parser()
    options = parse.parse_args(arguments)
    if not boot.LEAST_MEMORY <= options.memory <= boot.MOST_MEMORY:
        parse.error(f"--memory is {boot.LEAST_MEMORY} to {boot.MOST_MEMORY}, not {options.memory}")
    return options


def _run(options):
    cache = Cache(offline=options.offline)
    guest = boot.Guest(
        kernel=kernels.get(options.kernel, cache, options.update),
        driver=options.driver,
        command=" ".join(options.command),
        files=tuple(options.file),
        library_path=(*options.library_path, *sysroot.library_folders(cache)),
        kernel_arguments=options.kernel_arguments,
        memory=options.memory,
        timeout=options.timeout,
        huge_pages=options.huge_pages == "on",
    )
    shell = busybox.get(cache, options.update)
    ending = asyncio.run(boot.run(guest, shell, lambda line: print(line, flush=True)))
    if options.console:
        pathlib.Path(options.console).write_text(ending.console, encoding="utf-8")
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(ending.as_json(guest), indent=2) + "\n", encoding="utf-8")
    if ending.log.lines:
        print("--- kernel", file=sys.stderr)
        for _, line in ending.log.lines:
            print(line, file=sys.stderr)
        print("---", file=sys.stderr)
    say(
        f"{guest.kernel.version} {guest.driver}: {ending.what}; {len(ending.log.warnings)} warnings, "
        f"{len(ending.log.oopses)} oopses; {ending.seconds:.1f} s, of which boot {ending.boot_seconds:.1f} s"
    )
    return ending.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
