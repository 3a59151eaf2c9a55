"""Which programs the kernel tier runs, with which arguments, in which guests.

A program runs on every kernel with the drivers and the huge pages that it names. Programs share a guest, one after the
other; one that makes a kernel warn or oops runs `alone`, because the kernel says some warnings only once.
"""

import dataclasses

EITHER = (True, False)


@dataclasses.dataclass(frozen=True)
class Program:
    command: str  # its first word is the program, unless `program` says otherwise
    drivers: tuple
    huge_pages: tuple = EITHER
    series: tuple = ()  # of kernels; all of them without any
    alone: bool = False
    memory: int = 1024  # MB of the guest; those that need the same share one
    timeout: int = 120  # seconds, of which a quiet machine needs a tenth
    files: tuple = ()  # more files for the guest, from the project's root: "FILE:/FOLDER"
    count_warnings: bool = False  # its rows get a column with the kernel's warnings
    name: str = ""  # where two entries have the same first word
    program: str = ""  # `granule`, or what is built from cases/

    @property
    def binary(self):
        return self.program or self.command.split()[0]

    @property
    def label(self):
        return self.name or self.command.split()[0]


def replay(trace, driver, options="--verify", memory=1024):
    """Replays a trace of tests/traces/, whose BOs fit into the guest's memory."""
    return Program(
        f"sh /bin/replay.sh /traces/{trace}.jsonl.xz {options}".rstrip(),
        (driver,),
        huge_pages=(True,),
        timeout=300,
        memory=memory,
        files=("tests/kernel/replay.sh:/bin", f"tests/traces/{trace}.jsonl.xz:/traces"),
        count_warnings=True,
        name=f"replay-{trace.partition('-v26')[0]}",
        program="granule",
    )


def on_traces(command, driver, *traces):
    """A program that takes traces of tests/traces/."""
    return Program(
        f"{command} {' '.join(f'/traces/{trace}.jsonl.xz' for trace in traces)}",
        (driver,),
        huge_pages=(True,),
        timeout=120,
        memory=2048,
        files=tuple(f"tests/traces/{trace}.jsonl.xz:/traces" for trace in traces),
        name=f"{command.split()[0]}-{traces[0].partition('-v26')[0]}",
    )


_PANTHOR_TRACES = ("sparse-vtex-g610-v26-k12", "sparse-arena-g610-v26-k19", "multiclient-g610-v26-clients")

PROGRAMS = (
    # What the others look through.
    Program("instruments", ("panthor", "panfrost"), huge_pages=(True,)),
    # The uAPI: everything that needs an ioctl.
    Program("uapi_vm_bind", ("panthor",), alone=True),
    Program("uapi_panthor_bo", ("panthor",)),
    Program("uapi_panfrost", ("panfrost",)),
    # The library on the real driver.
    Program("bo_life", ("panthor", "panfrost")),
    Program("sequences", ("panthor",)),
    Program("imported", ("panthor",)),
    Program("differential --operations 20000", ("panthor",), timeout=300, count_warnings=True),
    Program("losses", ("panthor",), huge_pages=(True,), series=("6.18",), alone=True),
    # The C interface, from C.
    Program("c_abi", ("panthor", "panfrost")),
    Program("c_abi --lose", ("panthor",), huge_pages=(True,), series=("6.18",), alone=True, name="c_abi_lose"),
    Program("bit_for_bit", ("panthor", "panfrost")),
    # The proof: the same calls plainly and through the library.
    Program("proof_plain", ("panthor",), huge_pages=(True,), alone=True, count_warnings=True),
    Program("proof_library", ("panthor",), count_warnings=True),
    # What real programs asked for.
    replay("sparse-vtex-g610-v26-k12", "panthor", memory=3072),
    # Comparing all of its 50 million pages would take as long as everything else on this kernel.
    replay("sparse-arena-g610-v26-k19", "panthor", options="", memory=3072),
    replay("multiclient-g610-v26-clients", "panthor"),
    replay("glmark2-g52-v26", "panfrost"),
    # The beginnings of the same traces, with the kernel's own tables compared on the way.
    on_traces("replay_traces --calls 2500 --every 500", "panthor", *_PANTHOR_TRACES),
    on_traces("replay_traces --calls 20000 --every 5000", "panfrost", "glmark2-g52-v26"),
    # And with every call to the kernel failing before it succeeds.
    on_traces("faults_on_traces --calls 5000", "panthor", "multiclient-g610-v26-clients"),
    on_traces("faults_on_traces --skip 330 --calls 40 --no-queue", "panthor", "sparse-vtex-g610-v26-k12"),
    on_traces("faults_on_traces --calls 8000", "panfrost", "glmark2-g52-v26"),
)
