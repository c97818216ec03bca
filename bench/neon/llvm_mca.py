"""What llvm-mca, LLVM's model of a processor, says of a loop: cycles, and use of the FMA pipes."""

from __future__ import annotations

import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bench.neon.machine_code import Loop, run, version

ITERATIONS = 200
# The least use of the FMA pipes that the micro-kernels are held to. LLVM lends the Cortex-A76 the
# model of the A57; neoverse-n1 is the A76's design in a server, with a model of its own from
# LLVM 16 on.
TARGETS = {
    "cortex-a53": 0.60,
    "cortex-a55": 0.60,
    "cortex-a73": 0.85,
    "cortex-a76": 0.85,
    "neoverse-n1": 0.85,
}
IN_ORDER = ("cortex-a53", "cortex-a55")


@dataclass(frozen=True)
class Estimate:
    """One loop on one processor."""

    cpu: str
    model: str  # whose pipes llvm-mca uses for it: A53, CortexA55, A57, N1
    cycles: float  # a turn of the loop
    fmla_per_cycle: float
    peak: float  # of the model, in FMLAs of 128 bits a cycle

    @property
    def port_use(self) -> float:
        return self.fmla_per_cycle / self.peak

    @property
    def meets(self) -> bool:
        return self.port_use >= TARGETS[self.cpu]


def tool() -> str | None:
    """The newest llvm-mca here, or None."""
    names = (*(f"llvm-mca-{n}" for n in range(25, 13, -1)), "llvm-mca")
    return next((name for name in names if shutil.which(name)), None)


def tool_version(name: str) -> str:
    return version([name])


def estimate(name: str, loop: Loop, cpu: str) -> Estimate:
    """Run the loop ITERATIONS times through the model of `cpu`."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "loop.s"
        source.write_text(loop.assembly(), encoding="utf-8")
        text = run([name, "-march=aarch64", "-mtriple=aarch64-linux-gnu", f"-mcpu={cpu}",
                    f"-iterations={ITERATIONS}", str(source)])  # fmt: skip
    return parse(text, cpu, loop.multiply_adds)


def parse(text: str, cpu: str, multiply_adds: int) -> Estimate:
    """Read llvm-mca's report of a loop with that many FMLAs a turn."""
    cycles = int(_found(r"Total Cycles:\s+(\d+)", text)) / ITERATIONS
    # uops, latency, reciprocal throughput of the first FMLA
    wait = float(_found(r"^\s*\d+\s+\d+\s+([\d.]+)\s.*\bfmla\s", text))
    model = _found(r"^\[[\d.]+\]\s+- (\w+?)Unit", text)
    return Estimate(cpu, model, cycles, multiply_adds / cycles, 1 / wait)


def by_hand(loop: Loop) -> float:
    """FMA use of a Cortex-A53 or A55 as ncnn's authors measured them, no load having to be awaited.

    Their pipes are 64 bits wide: an FMLA of 128 bits takes both for a cycle, and a load of 128 bits
    takes 2 cycles in which no FMLA is issued (ncnn's arm-a53-a55-dual-issue.md).
    """
    return loop.multiply_adds / (loop.multiply_adds + 2 * loop.loads)


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text, re.MULTILINE)
    if match is None:
        raise RuntimeError(f"llvm-mca's report has no {pattern!r}")
    return match[1]
