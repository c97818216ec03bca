"""The instructions of a whole step of learning on aarch64, counted under emulation.

qemu-aarch64-static logs every block of instructions as it translates it and every block that it
runs; between two marks in csrc/tests/resnet4_step.cpp the blocks' sizes are added up, by function.
No plugin is needed, and one thread runs, so that nobody's waiting is counted. Emulation runs the
very instructions of the real program; how long they take on a device it cannot tell.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bench.neon.machine_code import ROOT, run
from bench.shared.floor import count_macs
from bench.shared.students import make_student

EMULATOR = "qemu-aarch64-static"
_BUILD = ROOT / "build" / "neon"  # as tools/test_neon.sh has it: what was built serves both
_BEGIN, _END = "count_from_here", "count_to_here"
# functions whose FMLAs are the multiply-adds of convolutions and linear layers
_TILE = re.compile(r"(pixel|channel)_tile")


@dataclass(frozen=True)
class StepCount:
    """One step of ResNet 4, of `batch` images."""

    batch: int
    direct_macs: int  # of the direct form of the convolutions
    executed_macs: int  # Winograd's are fewer; tiles' padding is counted
    by_function: dict[str, int]

    @property
    def instructions(self) -> int:
        return sum(self.by_function.values())

    @property
    def per_direct_mac(self) -> float:
        return self.instructions / self.direct_macs

    @property
    def per_executed_mac(self) -> float:
        return self.instructions / self.executed_macs

    @property
    def tiles_per_executed_mac(self) -> float:
        """The micro-kernels' own share."""
        tiles = sum(n for name, n in self.by_function.items() if _TILE.search(name))
        return tiles / self.executed_macs

    def shares(self, least: float = 0.01) -> dict[str, float]:
        """Each function's share of the instructions, the largest first, down to `least`."""
        total: Counter[str] = Counter()
        for name, count in self.by_function.items():
            total[_readable(name)] += count
        return {
            name: round(count / self.instructions, 4)
            for name, count in total.most_common()
            if count >= least * self.instructions
        }


def missing() -> str | None:
    """What the count lacks here, or None."""
    needs = ("cmake", "aarch64-linux-gnu-g++", EMULATOR)
    return next((tool for tool in needs if shutil.which(tool) is None), None)


def build() -> Path:
    """Build the program that is counted, as tools/test_neon.sh builds the tests."""
    toolchain = ROOT / "cmake" / "aarch64-linux-gnu.cmake"
    run(["cmake", "-S", str(ROOT), "-B", str(_BUILD), f"-DCMAKE_TOOLCHAIN_FILE={toolchain}",
         "-DPYEDGE_BUILD_PYTHON=OFF", "-DPYEDGE_BUILD_TESTS=ON"])  # fmt: skip
    run(["cmake", "--build", str(_BUILD), "--target", "resnet4_step", "--parallel", "2"])
    return _BUILD / "csrc" / "tests" / "resnet4_step"


def count_step(batch: int) -> StepCount:
    """Build, run and count. Raises RuntimeError where a tool fails or the loss does not fall."""
    instructions, multiply_adds = _counted(str(batch))
    student = make_student("resnet4")
    vectors = sum(n for name, n in multiply_adds.items() if _TILE.search(name))
    return StepCount(
        batch,
        batch * count_macs(student, student.last_conv).total,
        4 * vectors,
        dict(instructions.most_common()),
    )


def count_sums(batch: int, *, half: bool = False) -> int:
    """Count the instructions of learning a batch from statistics: a forward pass, and its sums.

    The solve at the end, numpy's, is not among them. Raises RuntimeError where a tool fails.
    """
    return _counted(str(batch), "sums", *(["half"] if half else []))[0].total()


def count_half_step(batch: int) -> int:
    """Count the instructions of a step in half precision. Raises as `count_step` does."""
    return _counted(str(batch), "half")[0].total()


def count_answers(batch: int, precision: str = "float32") -> int:
    """Count the instructions of a batch's logits. Raises as `count_step` does."""
    return _counted(str(batch), "answers", *([] if precision == "float32" else [precision]))[
        0
    ].total()


def _counted(*arguments: str) -> tuple[Counter[str], Counter[str]]:
    command = [EMULATOR, "-cpu", "max", "-d", "in_asm,exec,nochain", str(build()), *arguments]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        found = count_log(process.stderr)
    if process.returncode:
        raise RuntimeError(f"resnet4_step failed under {EMULATOR}: {process.returncode}")
    return found


def count_log(lines: Iterable[bytes]) -> tuple[Counter[str], Counter[str]]:
    """Instructions and FMLAs by function, run between the marks, from an emulator's log."""
    sizes: list[int] = []
    multiply_adds: list[int] = []
    names: list[str] = []
    block_at: dict[bytes, int] = {}  # by address; a block may be translated again
    runs: Counter[int] = Counter()
    counting, reading = False, False
    for line in lines:
        if line.startswith(b"Trace"):
            # Trace 0: 0x7f.. [flags/address/flags/flags] function
            block = block_at[line.split(b"/", 2)[1]]
            if counting:
                runs[block] += 1
            if names[block] == _BEGIN:
                counting = True
            elif names[block] == _END:
                counting = False
            reading = False
        elif line.startswith(b"IN:"):
            names.append(line[3:].strip().decode())
            sizes.append(0)
            multiply_adds.append(0)
            reading = True
        elif reading and line.startswith(b"0x"):
            if sizes[-1] == 0:
                block_at[line[2 : line.index(b":")].zfill(16)] = len(sizes) - 1
            sizes[-1] += 1
            multiply_adds[-1] += b" fmla " in line
    instructions: Counter[str] = Counter()
    vectors: Counter[str] = Counter()
    for block, times in runs.items():
        instructions[names[block]] += times * sizes[block]
        vectors[names[block]] += times * multiply_adds[block]
    instructions.pop(_END, None)
    return instructions, vectors


def _readable(mangled: str) -> str:
    """`f<8, 2>` of a mangled name, `parallel_for` of the many that it is made for."""
    if shutil.which("c++filt") is None:
        return mangled
    name = run(["c++filt", mangled]).strip()
    if match := re.search(r"parallel_for\w*<(?:pyedge::)?([\w:]+)", name):
        return match[1]
    name = re.sub(r"\(anonymous namespace\)::|pyedge::|^void ", "", name)
    return name.split("(")[0]
