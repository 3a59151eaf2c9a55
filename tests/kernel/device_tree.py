"""The device tree of a guest: QEMU's own of its virt machine, and a Mali whose registers are guest RAM.

Its interrupts exist and nobody raises them.
"""

import re
import subprocess

from mock_gpu import SIZE

_COMPATIBLE = {
    "panfrost": '"rockchip,rk3399-mali", "arm,mali-t860"',
    "panthor": '"rockchip,rk3588-mali", "arm,mali-valhall-csf"',
}
# Panthor of 6.12 does not start without an operating point and a regulator.
_POWER = {
    "panfrost": "clocks = <&gpu_clock>;",
    "panthor": """clocks = <&gpu_clock>, <&gpu_clock>, <&gpu_clock>;
        clock-names = "core", "coregroup", "stacks";
        operating-points-v2 = <&gpu_points>;
        mali-supply = <&gpu_supply>;""",
}

_GPU = """
/ {{
    reserved-memory {{ /* the kernel gives the registers to nobody */
        #address-cells = <2>;
        #size-cells = <2>;
        ranges;
        registers@{address:x} {{ reg = <{high:#x} {low:#x} 0x0 {size:#x}>; no-map; }};
    }};
    gpu_clock: gpu-clock {{ compatible = "fixed-clock"; #clock-cells = <0>; clock-frequency = <500000000>; }};
    gpu_supply: gpu-supply {{
        compatible = "regulator-fixed";
        regulator-name = "mali";
        regulator-min-microvolt = <800000>;
        regulator-max-microvolt = <800000>;
        regulator-always-on;
    }};
    gpu_points: gpu-points {{
        compatible = "operating-points-v2";
        opp-500000000 {{ opp-hz = /bits/ 64 <500000000>; opp-microvolt = <800000>; }};
    }};
    gpu@{address:x} {{
        compatible = {compatible};
        reg = <{high:#x} {low:#x} 0x0 {size:#x}>;
        interrupt-parent = <{interrupts:#x}>;
        interrupts = <0 100 4>, <0 101 4>, <0 102 4>;
        interrupt-names = "job", "mmu", "gpu";
        {power}
    }};
}};
"""


def source(machine_source, driver, address):
    """The tree of the machine, as text, with the GPU at `address`."""
    interrupts = re.search(r"interrupt-parent = <(0x[0-9a-f]+)>", machine_source)
    return machine_source + _GPU.format(
        address=address,
        high=address >> 32,
        low=address & 0xFFFFFFFF,
        size=SIZE,
        interrupts=int(interrupts[1], 16),
        compatible=_COMPATIBLE[driver],
        power=_POWER[driver],
    )


def compile_tree(qemu, driver, address, folder):
    """Writes guest.dtb for the machine that the command `qemu` starts; its path."""
    machine = folder / "machine.dtb"
    subprocess.run([*qemu, "-machine", f"dumpdtb={machine}"], check=True, capture_output=True)
    text = _dtc("-I", "dtb", "-O", "dts", str(machine)).decode("utf-8")
    tree = folder / "guest.dtb"
    tree.write_bytes(_dtc("-I", "dts", "-O", "dtb", stdin=source(text, driver, address).encode("utf-8")))
    return tree


def _dtc(*arguments, stdin=None):
    return subprocess.run(["dtc", "-q", *arguments], input=stdin, check=True, stdout=subprocess.PIPE).stdout
