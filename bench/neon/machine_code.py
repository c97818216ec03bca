"""The NEON kernels as machine code: compiled for aarch64, disassembled, and searched for loops."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.neon import nesting

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "csrc" / "kernels" / "dispatch" / "isa_neon.cpp"
# CMakeLists.txt's, in a release build
FLAGS = ("-std=c++17", "-O3", "-DNDEBUG", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off")
GNU_FLAGS = ("-frename-registers",)
_TARGET = "aarch64-linux-gnu"
# The micro-kernels' full tile, 8 x 2 vectors; 16 sums
TILES = {"gemm_pixels": "pixel_tile<8, 2, Vec>", "gemm_channels": "channel_tile<8, 2>"}


@dataclass(frozen=True)
class Instruction:
    """One line of a disassembly: `fmla v0.4s, v1.4s, v2.s[0]`."""

    address: int
    name: str
    operands: str

    @property
    def target(self) -> int | None:
        """Where a branch goes, if it says so."""
        if not re.fullmatch(r"b(\.\w+)?|cbn?z|tbn?z", self.name):
            return None
        return int(self.operands.split(",")[-1], 16)

    @property
    def goes_on(self) -> bool:
        """Whether the next instruction may follow."""
        return self.name not in ("b", "br", "ret", "brk", "udf")

    @property
    def is_multiply_add(self) -> bool:
        return self.name == "fmla"

    @property
    def base(self) -> str | None:
        """The register that a load or a store takes its address from."""
        found = re.search(r"\[(\w+)", self.operands)
        memory = self.name.startswith(("ld", "st", "prf"))
        return found[1] if found and memory else None

    @property
    def frames(self) -> bool:
        """Whether it makes x29 point into the stack; without, x29 is a register like any other."""
        return self.name in ("mov", "add") and self.operands.startswith("x29, sp")


@dataclass(frozen=True)
class Loop:
    """A loop, in the order of its addresses."""

    function: str
    body: tuple[Instruction, ...]
    stack: tuple[str, ...] = ("sp",)  # registers that point there

    @property
    def multiply_adds(self) -> int:
        return sum(i.is_multiply_add for i in self.body)

    @property
    def by_lane(self) -> int:
        return sum(i.is_multiply_add and "[" in i.operands for i in self.body)

    @property
    def accumulators(self) -> int:
        return len({i.operands.split(",")[0] for i in self.body if i.is_multiply_add})

    @property
    def rest(self) -> int:
        """The fewest multiply-adds from one use of a sum to the next, around the loop."""
        sums = [i.operands.split(",")[0] for i in self.body if i.is_multiply_add]
        return (
            min((2 * sums)[place + 1 :].index(name) + 1 for place, name in enumerate(sums))
            if sums
            else 0
        )

    @property
    def loads(self) -> int:
        return sum(i.name.startswith("ld") for i in self.body)

    @property
    def pairs(self) -> int:
        """LDP of two Q registers."""
        return sum(i.name == "ldp" and i.operands.startswith("q") for i in self.body)

    @property
    def spills(self) -> int:
        """Loads from and stores to the stack."""
        return sum(i.base in self.stack for i in self.body)

    @property
    def vector_spills(self) -> int:
        """The spills of vector registers alone."""
        return sum(i.base in self.stack and i.operands[0] in "qds" for i in self.body)

    @property
    def moves(self) -> int:
        """Copies of vector registers, which a compiler that ran out of them makes."""
        return sum(i.name == "mov" and i.operands.startswith("v") for i in self.body)

    @property
    def per_multiply_add(self) -> float:
        """Instructions a multiply-add; an FMLA is four of these."""
        return len(self.body) / (4 * self.multiply_adds)

    def assembly(self) -> str:
        """The body as one block that llvm-mca reads: branches out of it go to its end."""
        inside = {i.address for i in self.body}
        lines = ["top:"]
        for i in self.body:
            operands = i.operands
            if i.target is not None:
                label = "top" if i.target in inside else "out"
                operands = ", ".join([*operands.split(", ")[:-1], label])
            lines.append(f"{i.name} {operands}")
        return "\n".join([*lines, "out:", ""])


def compilers() -> dict[str, list[str]]:
    """Compilers of C++ for aarch64 that are here, as commands, with the flags that CMake adds."""
    found = {}
    if shutil.which(f"{_TARGET}-g++"):
        found["g++"] = [f"{_TARGET}-g++", *GNU_FLAGS]
    if shutil.which("clang++"):
        found["clang"] = ["clang++", f"--target={_TARGET}"]
    if importlib.util.find_spec("ziglang"):
        # the wheel's: docs name glibc 2.28
        found["zig"] = [sys.executable, "-m", "ziglang", "c++", "-target", f"{_TARGET}.2.28"]
    return found


def version(command: list[str]) -> str:
    """The first line of a tool's --version that names one."""
    text = run([*command, "--version"])
    return next((line.strip() for line in text.splitlines() if re.search(r"\d\.\d", line)), "")


def compile_neon(command: list[str], to: Path) -> None:
    """Compile the NEON kernels into the object file `to`. Raises RuntimeError with the reason."""
    run([*command, *FLAGS, f"-I{ROOT / 'csrc'}", "-c", str(SOURCE), "-o", str(to)])


def disassembler() -> str | None:
    """An objdump for aarch64, or None."""
    names = (
        f"{_TARGET}-objdump",
        "llvm-objdump",
        *(f"llvm-objdump-{n}" for n in range(25, 13, -1)),
    )
    return next((name for name in names if shutil.which(name)), None)


def functions(path: Path) -> dict[str, tuple[Instruction, ...]]:
    """Every function of an object file, by its readable name without arguments; several of a name,
    such as overloads, as one."""
    tool = disassembler()
    if tool is None:
        raise RuntimeError("no objdump for aarch64 (Debian: binutils-aarch64-linux-gnu, or llvm)")
    text = run([tool, "-d", "-C", "--no-show-raw-insn", str(path)])
    found: dict[str, tuple[Instruction, ...]] = {}
    name, lines = "", []
    for line in [*text.splitlines(), "0 <>:"]:
        if heading := re.fullmatch(r"[0-9a-f]+ <(.*)>:", line):
            if name:
                found[name] = (*found.get(name, ()), *lines)
            name, lines = _short(heading[1]), []
        elif code := re.match(r"\s*([0-9a-f]+):\s+([a-z][\w.]*)\s*([^</]*)", line):
            lines.append(Instruction(int(code[1], 16), code[2], code[3].strip()))
    return found


def loops(name: str, code: tuple[Instruction, ...]) -> list[Loop]:
    """The innermost loops of a function."""
    return _loops(name, code, nesting.innermost(code))


def hot_loop(code: dict[str, tuple[Instruction, ...]], tile: str) -> Loop:
    """The loop of a tile's function with the most multiply-adds."""
    return max(loops(tile, code[tile]), key=lambda loop: loop.multiply_adds)


def worst_spills(
    code: dict[str, tuple[Instruction, ...]], innermost: bool = False
) -> dict[str, int]:
    """Vector registers spilled in the loop of each function with most, whatever loops are in it, or
    in the innermost ones alone; the micro-kernels' apart."""
    which = nesting.innermost if innermost else nesting.outermost
    return {
        name: max((loop.vector_spills for loop in _loops(name, body, which(body))), default=0)
        for name, body in sorted(code.items())
        if not re.match(r"(pixel|channel)_tile", name)
    }


def run(command: list[str]) -> str:
    """Run a tool; return what it prints. Raises RuntimeError with its errors."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:4])} ...: {done.stderr.strip()[-500:]}")
    return done.stdout


def _loops(name: str, code: tuple[Instruction, ...], bodies: list[set[int]]) -> list[Loop]:
    stack = ("sp", "x29") if any(i.frames for i in code) else ("sp",)
    return [Loop(name, tuple(i for i in code if i.address in inside), stack) for inside in bodies]


def _short(name: str) -> str:
    """`void (anonymous namespace)::f<8, 2>(int)` -> `f<8, 2>`."""
    name = name.replace("(anonymous namespace)::", "").removeprefix("void ")
    return name.split("(")[0]
