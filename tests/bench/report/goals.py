"""The goals, a row each: what, against what, the goal, and what of a run says whether it is met.

A cell of a row is (label, value, bound): at least the bound where the row is one of ratios, at most where it is one of sizes
or times; no bound: stated only. `own` is the run of bench_runner, `peers` that of a harness, or None.
"""

from results import OURS, exactly, named, quotient

MIXES = ("M", "T", "S")
WORKLOADS = ("W1", "W2", "W3")
COUNTS = ((1000, "1e3"), (10_000, "1e4"), (100_000, "1e5"), (1_000_000, "1e6"))

# OffsetAllocator is in no harness. Once it was measured beside VmaVirtualBlock: ns per pair at 1e3, 1e4, 1e5, 1e6, and of the
# empty loop in that run. It is estimated as the VmaVirtualBlock of this run by the quotient of these, net of the loop.
OFFSET_ALLOCATOR = {"M": (57.3, 57.8, 147, 300), "T": (59.9, 59.1, 166, 329), "S": (50.7, 52.0, 133, 297)}
VMA_BESIDE_IT = {"M": (122, 211, 1490, 30412), "T": (76.7, 79.9, 269, 558), "S": (78.8, 77.9, 254, 689)}
LOOP_BESIDE_IT = {"M": (11.7, 13.4, 37.8, 50.2), "T": (5.6, 5.7, 36.0, 48.1), "S": (5.5, 5.6, 36.6, 47.4)}

VMA = exactly("VmaVirtualBlock")
UTIL_VMA = named("util_vma")
DRM_MM = exactly("drm_mm BEST")
GPUVM = named("drm_gpuvm", "linked")
ABSL = exactly("absl::btree_map")


def new_io_pgtable(who):
    return who.startswith("io-pgtable 7") and who.endswith(" Mali")


def old_io_pgtable(who):
    return who.startswith("io-pgtable 6") and who.endswith(" Mali")


class Row:
    def __init__(self, what, against, goal, cells, at_most=False, peers=False, note="", unit="x"):
        self.what = what
        self.against = against
        self.goal = goal
        self.cells = [cell for cell in cells if cell[1] is not None]
        self.at_most = at_most
        self.peers = peers  # nothing to say without PEERS
        self.note = note
        self.unit = unit

    def misses(self):
        return [
            label
            for label, value, bound in self.cells
            if bound is not None and (value > bound if self.at_most else value < bound)
        ]

    def met(self):
        bounds = [bound for _, _, bound in self.cells if bound is not None]
        if not self.cells:
            return "needs PEERS" if self.peers else "not measured"
        if not bounds:
            return "stated"
        misses = self.misses()
        return "yes" if not misses else "no: " + ", ".join(misses)


def va_ratios(run, section, peer, bounds):
    """Pairs of a peer by ours, of each mix and N; `bounds` by N, missing ones are no goal."""
    return [
        (
            f"{mix} {short}",
            quotient(run.net(section, f"{mix} N={n}", peer, "pair_ns"), run.ours(section, f"{mix} N={n}", "pair_ns")),
            bounds.get(short),
        )
        for n, short in COUNTS
        for mix in MIXES
        if short in bounds
    ]


def offset_allocator(peers):
    bounds = {"1e3": 1.5, "1e4": 2, "1e5": 4, "1e6": 4}
    cells = []
    for at, (n, short) in enumerate(COUNTS):
        for mix in MIXES:
            loop = LOOP_BESIDE_IT[mix][at]
            factor = (OFFSET_ALLOCATOR[mix][at] - loop) / (VMA_BESIDE_IT[mix][at] - loop)
            vma = peers.net("A", f"{mix} N={n}", VMA, "pair_ns")
            ratio = quotient(vma, peers.ours("A", f"{mix} N={n}", "pair_ns"))
            cells.append((f"{mix} {short}", None if ratio is None else ratio * factor, bounds[short]))
    return cells


def spans(own, peers):
    cells = []
    for n, short in COUNTS:
        for mix in MIXES:
            test = f"{mix} N={n}"
            beside = peers.value("A", test, DRM_MM, "span") if peers else None
            if beside:
                ratio = quotient(peers.value("A", test, OURS, "span"), beside)
            else:
                ratio = quotient(
                    own.value("va", test, OURS, "span"), own.value("va", test, exactly("std::map best fit"), "span")
                )
            cells.append((f"{mix} {short}", ratio, 1.10 if n >= 100_000 else 1.20))
    return cells


def adversary(own):
    cells = []
    for n, short in COUNTS:
        cells.append((short, own.value("va", f"growing N={n}", OURS, "span"), 1.35))
    failed = [own.value("va", f"{mix} N={n}", OURS, "fail_percent") for mix in MIXES for n, _ in COUNTS]
    failed = [value for value in failed if value is not None]
    if failed:
        cells.append(("failures %", max(failed), 0))
    return cells


def tails(own):
    cells = []
    for n, short in COUNTS:
        bound = 200 if n == 100_000 else None
        for test in (*MIXES, "2 MiB", "fixed"):
            cells.append((f"{test} {short}", own.value("va", f"{test} N={n}", OURS, "alloc_p999_ns"), bound))
    return cells


def frees(own):
    return [
        (f"{test} {short}", own.value("va", f"{test} N={n}", OURS, "free_p999_ns"), None)
        for n, short in COUNTS
        for test in (*MIXES, "2 MiB", "fixed")
    ]


def va_bytes(own):
    return [
        (f"{mix} {short}", own.value("va", f"{mix} N={n}", OURS, "bytes_per_live"), 8)
        for n, short in COUNTS
        for mix in MIXES
    ]


def table_ratios(run, section, peer, tests):
    """`tests`: (label, the test's name in that run, bound)."""
    return [
        (label, quotient(run.net(section, test, peer, "ns"), run.ours(section, test, "ns")), bound)
        for label, test, bound in tests
    ]


def map_ratios(run, section, peer, metric, bounds):
    cells = []
    for n, short in COUNTS:
        for workload in WORKLOADS:
            test = f"{workload} N={n}"
            batch = n >= 1_000_000 and metric == "op_ns"
            mine = exactly("granule, batch") if batch and section == "map" else OURS
            below = run.net(section, test, mine, metric)
            above = run.net(section, test, peer, metric)
            cells.append((f"{workload} {short}", quotient(above, below), bounds.get(short)))
    return cells


def map_bytes(own):
    return [
        (f"{workload} {short}", own.value("map", f"{workload} N={n}", OURS, "bytes_per_mapping"), 32)
        for n, short in COUNTS
        for workload in WORKLOADS
    ]


def whole_bind(own, peers):
    mapping = peers.net("C", "W2 N=100000", GPUVM, "op_ns")
    table = peers.net("B", "map+unmap 64K random, per pair", new_io_pgtable, "ns")
    beside = None if mapping is None or table is None else mapping + table
    return [
        ("one by one", quotient(beside, own.ours("bind", "tile N=100000", "bind_ns")), 5),
        ("batch", quotient(beside, own.ours("bind", "tile N=100000", "batch_ns")), None),
    ]


class Nothing:
    """A run that was not made."""

    def tests(self, _):
        return {}

    def value(self, *_):
        return None

    net = ours = value


def rows(own, peers):
    harness = peers or Nothing()
    upto5 = {"1e3": 2.2, "1e4": 2.2, "1e5": 2.2, "1e6": 3}
    gpuvm = {"1e3": 4, "1e4": 4, "1e5": 4, "1e6": 10}
    return [
        Row("VA heap, churn pair", "VmaVirtualBlock (TLSF)", ">= 4x at 1e3 and 1e4, 6x at 1e5, 10x at 1e6",
            va_ratios(harness, "A", VMA, {"1e3": 4, "1e4": 4, "1e5": 6, "1e6": 10}), peers=True),
        Row("", "Mesa util_vma", ">= 10x at 1e3, 300x at 1e4",
            va_ratios(harness, "A", UTIL_VMA, {"1e3": 10, "1e4": 300}), peers=True),
        Row("", "drm_mm (best fit)", ">= 15x",
            va_ratios(harness, "A", DRM_MM, {"1e3": 15, "1e4": 15, "1e5": 15, "1e6": 15}), peers=True),
        Row("", "OffsetAllocator", ">= 1.5x at 1e3, 2x at 1e4, 4x at 1e5 and 1e6", offset_allocator(harness), peers=True,
            note="estimated: VmaVirtualBlock of this run by what the two were beside each other"),
        Row("", "std::map best fit", "", va_ratios(own, "va", exactly("std::map best fit"),
                                                   dict.fromkeys(("1e3", "1e4", "1e5", "1e6")))),
        Row("", "absl::btree_map best fit", "", va_ratios(own, "va", exactly("absl::btree_map best fit"),
                                                          dict.fromkeys(("1e3", "1e4", "1e5", "1e6")))),
        Row("VA heap, fragmentation: span / live", "best fit (" + ("drm_mm)" if peers else "std::map)"),
            "<= 1.10x at N >= 1e5, 1.20x below", spans(own, peers), at_most=True),
        Row("VA heap, adversary: span / live", "", "<= 1.35; no failures", adversary(own), at_most=True, unit=""),
        Row("VA heap, alloc p99.9", "", "<= 200 ns at 1e5", tails(own), at_most=True, unit=" ns"),
        Row("VA heap, free p99.9", "", "", frees(own), at_most=True, unit=" ns"),
        Row("VA heap, metadata per live item", "", "<= 8 B", va_bytes(own), at_most=True, unit=" B"),
        Row("page table, map 4K contiguous, warm / fresh", "io-pgtable-arm 7.3", ">= 12x / 2x",
            table_ratios(harness, "B", new_io_pgtable,
                         [("64M warm", "map 64M 4K warm", 12), ("1G warm", "map 1G 4K warm", 12),
                          ("64M fresh", "map 64M 4K fresh", 2), ("1G fresh", "map 1G 4K fresh", 2)]), peers=True),
        Row("", "stores of this run", "<= 1.5x for 2 MiB of descriptors",
            [("1G warm", quotient(own.ours("pt", "map 1G 4K warm", "ns"),
                                  own.value("pt", "stores 2 MiB", exactly("stores: fastest"), "ns")), 1.5),
             ("64M warm", quotient(own.ours("pt", "map 64M 4K warm", "ns"),
                                   own.value("pt", "stores 128 KiB", exactly("stores: fastest"), "ns")), None)],
            at_most=True),
        Row("page table, unmap 4K; 2M map / unmap; 64K pairs; scatter lists", "io-pgtable-arm 7.3",
            ">= 4x; 4x / 5x; 2.5x; 3x",
            table_ratios(harness, "B", new_io_pgtable,
                         [("unmap 64M", "unmap 64M 4K", 4), ("unmap 1G", "unmap 1G 4K", 4),
                          ("2M map", "map 64G 2M blocks", 4), ("2M unmap", "unmap 64G 2M blocks", 5),
                          ("64K pairs", "map+unmap 64K random, per pair", 2.5),
                          ("SG fresh", "map 256M SG-64K fresh", 3), ("SG warm", "map 256M SG-64K warm", 3),
                          ("SG unmap", "unmap 256M SG-64K", None)]), peers=True),
        Row("page table, walk", "io-pgtable-arm 6.12", ">= 2.5x",
            table_ratios(harness, "B", old_io_pgtable,
                         [("1G 4K", "i2p random 1G/4K", 2.5), ("64G 2M", "i2p random 64G/2M", 2.5),
                          ("scattered", "i2p scattered", 2.5)]), peers=True),
        Row("page table, scattered single 4K pages", "io-pgtable-arm 7.3", ">= 1.5x one by one, 2.5x as a batch",
            table_ratios(harness, "B", new_io_pgtable,
                         [("map fresh", "map scattered 4K fresh", 1.5), ("map warm", "map scattered 4K warm", 1.5),
                          ("unmap", "unmap scattered 4K", 1.5), ("map batch", "map scattered 4K fresh, batch", 2.5),
                          ("unmap batch", "unmap scattered 4K, batch", 2.5)]), peers=True),
        Row("page table, all of these", "a plain loop", "",
            table_ratios(own, "pt", exactly("plain loop"),
                         [(test, test, None) for test in own.tests("pt")
                          if not test.startswith(("stores", "tables")) and "regions" not in test])),
        Row("mapping map, map and unmap", "absl::btree_map", ">= 2.2x to 1e5, 3x at 1e6 as a batch",
            map_ratios(own, "map", ABSL, "op_ns", upto5)),
        Row("", "drm_gpuvm", ">= 4x to 1e5, 10x at 1e6 as a batch", map_ratios(harness, "C", GPUVM, "op_ns", gpuvm),
            peers=True),
        Row("", "std::map", "", map_ratios(own, "map", exactly("std::map"), "op_ns", {})),
        Row("mapping map, look-up by VA", "absl::btree_map", ">= 1.8x",
            map_ratios(own, "map", ABSL, "find_ns", dict.fromkeys(("1e3", "1e4", "1e5", "1e6"), 1.8))),
        Row("mapping map, memory per mapping", "drm_gpuvm 145 B, absl 35 B", "<= 32 B", map_bytes(own), at_most=True,
            unit=" B"),
        Row("whole bind of a 64 KiB tile into a sparse 2 MiB window, N = 1e5", "drm_gpuvm + io-pgtable-arm", ">= 5x",
            whole_bind(own, harness), peers=True),
        Row("", "absl::btree_map + plain loop", "",
            [(what, quotient(own.net("bind", f"tile N={n}", named("plain loop"), metric),
                             own.ours("bind", f"tile N={n}", metric)), None)
             for n, short in COUNTS for what, metric in ((f"one by one {short}", "bind_ns"), (f"batch {short}", "batch_ns"))]),
        Row("", "time", "",
            [(what, own.value("bind", "tile N=100000", OURS, metric), None)
             for what, metric in (("p50", "bind_p50_ns"), ("p99.9", "bind_p999_ns"))], unit=" ns"),
        Row("two threads on two VMs", "one", ">= 1.9x",
            [(f"{what}, {by}", own.value("threads", f"{what}, 2 threads", OURS, metric),
              1.9 if (what, metric) == ("own VM, own BOs", "scale") else None)
             for what in ("own VM, own BOs", "own VM, shared BOs")
             for by, metric in (("by the clock", "scale"), ("by CPU time", "cpu_scale"))]),
        Row("a bind, threads on one VM", "time", "p99 stated",
            [(f"{threads}: {what}", own.value("threads", f"one VM, {threads} threads", OURS, metric), None)
             for threads in (2, 4, 8) for what, metric in (("p50", "p50_ns"), ("p99", "p99_ns"))], unit=" ns"),
        Row("memory per live item", "", "stated",
            [("BO", own.value("memory", "BO", OURS, "bytes"), None),
             ("VA range, asked", own.value("memory", "VA range, churned", OURS, "bytes"), None),
             ("VA range, touched", own.value("memory", "VA range, churned", OURS, "touched_bytes"), None),
             ("mapping (tiles)", own.value("memory", "tiles at random", OURS, "node_bytes_per_mapping"), None)], unit=" B"),
        Row("memory per mapped GiB: tables + nodes", "", "stated",
            [(test, _sum(own, test), None) for test in own.tests("memory") if "GiB" in test or "tiles" in test],
            unit=" KiB"),
        Row("page-table bytes", "the fewest that the format allows", "<= 1.08x",
            [(test, own.value("memory", test, OURS, "tables_of_fewest"), 1.08) for test in own.tests("memory")
             if "GiB" in test or "tiles" in test], at_most=True),
        Row("the machine: a load that waits for the one before", "", "",
            [(label, own.value("host", test, exactly("dependent loads"), "ns"), None)
             for label, test in (("of 32 KiB", "loads 32 KiB"), ("512 KiB", "loads 512 KiB"), ("16 MiB", "loads 16384 KiB"),
                                 ("256 MiB", "loads 262144 KiB"))], unit=" ns"),
        Row("64 B nodes; 4 KiB pages: granule's pool", "mimalloc; glibc", "",
            [(f"{short}, {who}", quotient(own.value("host", test, exactly(who), "ns"), own.value("host", test, OURS, "ns")),
              None)
             for short, test in (("nodes", "64 B nodes, N=100000"), ("pages", "4 KiB pages, N=10000"))
             for who in ("mimalloc", "glibc")]),
    ]  # fmt: skip


def _sum(own, test):
    tables = own.value("memory", test, OURS, "table_bytes_per_gib")
    nodes = own.value("memory", test, OURS, "node_bytes_per_gib")
    return None if tables is None or nodes is None else (tables + nodes) / 1024
