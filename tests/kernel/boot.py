"""Boots one guest in QEMU, passes on what its command prints, and says how it ended.

The machine is emulated, without KVM, so that it runs anywhere. Its last 2 MiB of RAM are the registers of the mock GPU.
"""

import asyncio
import dataclasses
import pathlib
import tempfile
import time

import device_tree
import initramfs
import kernel_log
import mock_gpu
from problems import Missing

RAM = 1 << 30  # where it begins in this machine
LEAST_MEMORY, MOST_MEMORY = 256, 3072  # MB; above, RAM would not end below 4 GiB
MACHINE = ("-machine", "virt,gic-version=3", "-cpu", "cortex-a72", "-nodefaults", "-display", "none", "-monitor", "none")
ARGUMENTS = "console=ttyAMA0 quiet loglevel=4 oops=panic panic=-1 iomem=relaxed nokaslr mitigations=off"

_LONGEST_LINE = 1 << 24  # bytes, of what a command prints

# How a guest ended, where it was not by its command.
OOPS, EARLY, TIMEOUT = 120, 121, 124


@dataclasses.dataclass
class Guest:
    kernel: object  # a kernels.Kernel
    driver: str
    command: str
    files: tuple = ()
    library_path: tuple = ()
    kernel_arguments: str = ""
    memory: int = 1024  # MB
    timeout: float = 240  # seconds
    huge_pages: bool = True


@dataclasses.dataclass
class Ending:
    exit_code: int  # the command's, or one of the above
    what: str  # in words
    seconds: float  # from QEMU's start to its end
    boot_seconds: float  # the guest's clock when its driver was loaded
    log: kernel_log.KernelLog
    console: str

    def as_json(self, guest):
        return {
            "kernel": guest.kernel.version,
            "driver": guest.driver,
            "huge_pages": guest.huge_pages,
            "exit_code": self.exit_code,
            "what": self.what,
            "seconds": round(self.seconds, 2),
            "boot_seconds": self.boot_seconds,
            "warnings": [dataclasses.asdict(warning) for warning in self.log.warnings],
            "oopses": [dataclasses.asdict(oops) for oops in self.log.oopses],
        }


async def run(guest, busybox, each_line):
    """Runs the guest; each_line(TEXT) gets what the command prints, line by line. Cancelled, it takes the guest along."""
    with tempfile.TemporaryDirectory(prefix="granule-guest-") as folder:
        folder = pathlib.Path(folder)
        address = RAM + guest.memory * (1 << 20) - mock_gpu.SIZE
        (folder / "initramfs").write_bytes(initramfs.build(guest, busybox, address))
        (folder / "registers").write_bytes(mock_gpu.registers(guest.driver))
        machine = ["qemu-system-aarch64", *MACHINE, "-m", str(guest.memory)]
        try:
            tree = device_tree.compile_tree(machine, guest.driver, address, folder)
        except FileNotFoundError as error:
            raise Missing(f"{error.filename} is not installed: sh .ci/install cross kernel") from error
        start = time.monotonic()
        timed_out = await _run_qemu([*machine, *_devices(guest, folder, tree, address)], guest.timeout, each_line)
        return _ending(folder, time.monotonic() - start, timed_out)


def _devices(guest, folder, tree, address):
    return [
        "-no-reboot",
        *("-serial", f"file:{folder}/console"),
        # A port for what the command prints and one for how it ended: the console is the kernel's alone.
        *("-device", "virtio-serial-device"),
        *("-chardev", "file,id=output,path=/dev/stdout", "-device", "virtserialport,chardev=output,nr=1"),
        *("-chardev", f"file,id=status,path={folder}/status", "-device", "virtserialport,chardev=status,nr=2"),
        *("-kernel", str(guest.kernel.image), "-initrd", f"{folder}/initramfs", "-dtb", str(tree)),
        *("-device", f"loader,file={folder}/registers,addr={address:#x},force-raw=on"),
        *("-append", f"{ARGUMENTS} {guest.kernel_arguments}".strip()),
    ]


async def _run_qemu(command, timeout, each_line):
    """Whether it had to be stopped. QEMU dies with us, whatever ends us."""
    qemu = await asyncio.create_subprocess_exec(
        *("setpriv", "--pdeathsig", "KILL", *command),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        limit=_LONGEST_LINE,
    )
    try:
        async with asyncio.timeout(timeout):
            async for line in qemu.stdout:
                each_line(line.decode("utf-8", errors="replace").rstrip("\r\n"))
            await qemu.wait()
        return False
    except TimeoutError:
        return True
    finally:
        if qemu.returncode is None:
            qemu.kill()
            await qemu.wait()


def _ending(folder, seconds, timed_out):
    console, status = (_text(folder / name) for name in ("console", "status"))
    told = dict(line.partition(" ")[::2] for line in status.splitlines())
    log = kernel_log.parse(console)
    if log.oopses:
        code, what = OOPS, f"kernel oops: {log.oopses[0].text}"
    elif timed_out:
        code, what = TIMEOUT, f"stopped after {seconds:.0f} s"
    elif "exit" not in told:
        code, what = EARLY, "the guest ended before its command did"
    else:
        code, what = int(told["exit"]), f"the command ended with exit code {told['exit']}"
    troubles = [line for line in status.splitlines() if line.startswith("no")]
    return Ending(code, "; ".join([*troubles, what]), seconds, float(told.get("booted", 0)), log, console)


def _text(path):
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
