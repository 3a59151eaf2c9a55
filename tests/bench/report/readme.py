"""The tables of figures in the project's README, made of what was measured: run --readme."""

import goals
import marked
import tables
from document import runs_of
from goals import ABSL, COUNTS, DRM_MM, GPUVM, UTIL_VMA, VMA

COMMAND = "tests/bench/run --readme"

# What the shipped traces are of; others stay out of the README.
TRACES = {
    "sparse-vtex-g610-v26-k12": "panvk, sparse texture",
    "sparse-arena-g610-v26-k19": "panvk, sparse buffers",
    "multiclient-g610-v26-clients": "panfrost, 30 processes",
    "glmark2-g52-v26": "panfrost, ARM_MALI_LPAE",
}


def write(path, document):
    """Into the README, the tables that this document has everything for."""
    for name, made in (("replays", replays(document)), ("ratios", ratios(document))):
        if made:
            marked.insert(path, f"{COMMAND}, {name}", made)
        else:
            print(f"README.md keeps its table of {name}: not everything in it was measured")


def replays(document):
    """None without all of the shipped traces, verified."""
    found = {replay["trace"].removesuffix(".jsonl.xz"): replay for replay in document["replays"] if "mismatches" in replay}
    if not found.keys() >= TRACES.keys():
        return None
    head = (
        "trace",
        "binds",
        "maps over live maps",
        "operations that cut a mapping",
        "granules remapped",
        "mismatches",
        "ns/bind, median",
        "ns/bind, p99.9",
    )
    keys = ("binds", "overmaps", "partial_unmaps", "granules_remapped", "mismatches", "ns_per_bind_p50", "ns_per_bind_p999")
    rows = [
        [f"{trace} ({what})"] + [tables.whole(_rounded(found[trace][key]) if key.startswith("ns") else found[trace][key]) for key in keys]
        for trace, what in TRACES.items()
    ]
    return "\n".join(tables.table(head, rows)) + "\n"


def ratios(document):
    """None without a harness's run."""
    own, peers = runs_of(document)
    if peers is None:
        return None

    def of_va(peer):
        return goals.va_ratios(peers, "A", peer, dict.fromkeys(short for _, short in COUNTS))

    lines = (
        ("VA, free and allocate 64 KiB tiles to 2 MiB: VmaVirtualBlock", _tiles(of_va(VMA), "T")),
        ("the same: Mesa's util_vma", _tiles(of_va(UTIL_VMA), "T")),
        ("the same: Linux's drm_mm, best fit", _tiles(of_va(DRM_MM), "T")),
        ("mappings, map and unmap 64 KiB tiles: absl::btree_map", _tiles(goals.map_ratios(own, "map", ABSL, "op_ns", {}), "W2")),
        ("the same: Linux's drm_gpuvm", _tiles(goals.map_ratios(peers, "C", GPUVM, "op_ns", {}), "W2")),
        ("mappings, look-up by VA: absl::btree_map", _tiles(goals.map_ratios(own, "map", ABSL, "find_ns", {}), "W2")),
        (
            "a whole bind of a 64 KiB tile: drm_gpuvm + io-pgtable-arm",
            {"1e5": dict((label, value) for label, value, _ in goals.whole_bind(own, peers))["one by one"]},
        ),
    )
    head = ("what", *(f"{short} items" for _, short in COUNTS))
    rows = [[what] + [_ratio(values.get(short)) for _, short in COUNTS] for what, values in lines]
    return (
        "\n".join(tables.table(head, rows))
        + "\n\n"
        + "\n".join(tables.table(("page tables: io-pgtable-arm", *_OPERATIONS), _page_tables(peers)))
        + f"\n\n{_days(document)}, {document['machine']}.\n"
    )


_OPERATIONS = ("map, fresh tables", "map, warm tables", "unmap", "walk")
# The tests of a harness; "" where there is none.
_PAGE_TABLES = (
    ("4 KiB pages, 1 GiB", ("map 1G 4K fresh", "map 1G 4K warm", "unmap 1G 4K", "i2p random 1G/4K")),
    ("2 MiB blocks, 64 GiB", ("map 64G 2M blocks", "", "unmap 64G 2M blocks", "i2p random 64G/2M")),
    ("runs of 64 KiB", ("map 256M SG-64K fresh", "map 256M SG-64K warm", "unmap 256M SG-64K", "")),
    ("4 KiB pages anywhere, one by one", ("map scattered 4K fresh", "map scattered 4K warm", "unmap scattered 4K", "i2p scattered")),
    ("the same as a batch", ("map scattered 4K fresh, batch", "", "unmap scattered 4K, batch", "")),
)


def _page_tables(peers):
    """Walks beside the older io-pgtable-arm, the faster of the two."""
    for what, tests in _PAGE_TABLES:
        cells = []
        for operation, test in zip(_OPERATIONS, tests):
            peer = goals.old_io_pgtable if operation == "walk" else goals.new_io_pgtable
            cells.append(_ratio(goals.table_ratios(peers, "B", peer, [("", test, None)])[0][1]))
        yield [what, *cells]


def _tiles(cells, workload):
    """{"1e3": ratio, ...} of the cells of one workload, "T 1e3" and the like."""
    return {label.partition(" ")[2]: value for label, value, _ in cells if label.startswith(workload + " ")}


def _ratio(value):
    return "" if value is None else f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def _rounded(value):
    """To two digits: the rest is of the day."""
    return round(value, 2 - len(str(int(value))))


def _days(document):
    days = sorted({run["time"][:10] for run in document["runs"]})
    return days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
