"""The NEON micro-kernels' machine code: every loop in registers, in an order that cores like.

The compilers and tools are those of bench/neon_report.py; what is missing here is skipped.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.neon import llvm_mca, machine_code, step_count
from bench.neon.machine_code import Instruction, Loop

COMPILERS = machine_code.compilers()
Functions = dict[str, tuple[Instruction, ...]]

DISASSEMBLY = """
kernel.o:     file format elf64-littleaarch64

0000000000000000 <void (anonymous namespace)::pixel_tile<8, 2>(pyedge::PixelGemm const&)>:
   0:	cbz	x0, 2c <void (anonymous namespace)::pixel_tile<8, 2>(pyedge::PixelGemm const&)+0x2c>
   4:	mov	x2, #0x0                   	// #0
   8:	ldp	q0, q1, [x1], #32
   c:	ldr	q3, [sp, #16]
  10:	fmla	v4.4s, v0.4s, v1.s[0]
  14:	fmla	v5.4s, v0.4s, v1.s[1]
  18:	mov	v6.16b, v4.16b
  1c:	fmla	v4.4s, v3.4s, v1.s[2]
  20:	cbz	x3, 2c <void (anonymous namespace)::pixel_tile<8, 2>(pyedge::PixelGemm const&)+0x2c>
  24:	subs	x0, x0, #0x1
  28:	b.ne	8 <void (anonymous namespace)::pixel_tile<8, 2>(pyedge::PixelGemm)+0x8>  // b.any
  2c:	ret
"""

# the inner loop's rare part lies behind the outer's end, and so do two pieces that are no loop
OUT_OF_LINE = """
0000000000000000 <(anonymous namespace)::sums(float const*)>:
   0:	mov	x29, #0x0
   4:	ldr	q1, [sp, #32]
   8:	ldr	q0, [x29, #16]
   c:	cbz	x2, 24 <(anonymous namespace)::sums(float const*)+0x24>
  10:	b.ne	8 <(anonymous namespace)::sums(float const*)+0x8>
  14:	ldr	x1, [sp, #64]
  18:	cbnz	x3, 4 <(anonymous namespace)::sums(float const*)+0x4>
  1c:	cbz	x4, 30 <(anonymous namespace)::sums(float const*)+0x30>
  20:	ret
  24:	str	q0, [sp, #16]
  28:	b	10 <(anonymous namespace)::sums(float const*)+0x10>
  2c:	str	q2, [sp]
  30:	ldr	q2, [sp, #48]
  34:	b	20 <(anonymous namespace)::sums(float const*)+0x20>
  38:	b	2c <(anonymous namespace)::sums(float const*)+0x2c>
"""

MCA_REPORT = """
Iterations:        200
Total Cycles:      9804
[1]    [2]    [3]    [4]    [5]    [6]    Instructions:
 1      3     1.00    *                   ldr	q0, [x0]
 1      4     0.50                        fmla	v23.4s, v31.4s, v29.s[0]

Resources:
[0.0] - CortexA55UnitALU
"""

# addresses of 16 digits between slashes; a block is translated once and run any number of times
LOG = b"""
IN: before
0x00400500:  d503201f  nop
Trace 0: 0x7f22ac000100 [0000000001009331/0000000000400500/00000001/00000200] before
IN: count_from_here
0x00400580:  d65f03c0  ret
Trace 0: 0x7f22ac000100 [0000000001009331/0000000000400580/00000001/00000200] count_from_here
IN: pixel_tile
0x00400584:  4f8010a4  fmla     v4.4s, v5.4s, v0.s[0]
0x00400588:  54ffffe1  b.ne     #0x400584

Trace 0: 0x7f22ac0002c0 [0000000001009331/0000000000400584/00000001/00000200] pixel_tile
Trace 0: 0x7f22ac0002c0 [0000000001009331/0000000000400584/00000001/00000200] pixel_tile
Trace 0: 0x7f22ac000100 [0000000001009331/0000000000400500/00000001/00000200] before
IN: count_to_here
0x0040058c:  d65f03c0  ret
Trace 0: 0x7f22ac000100 [0000000001009331/000000000040058c/00000001/00000200] count_to_here
Trace 0: 0x7f22ac0002c0 [0000000001009331/0000000000400584/00000001/00000200] pixel_tile
"""


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.exhaustive) for name in COMPILERS or [None]],
)
def code(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Functions:
    if request.param is None:
        pytest.skip("no compiler for aarch64 (Debian: g++-aarch64-linux-gnu)")
    if machine_code.disassembler() is None:
        pytest.skip("no objdump for aarch64 (Debian: binutils-aarch64-linux-gnu, or llvm)")
    path = tmp_path_factory.mktemp("neon") / "isa_neon.o"
    try:
        machine_code.compile_neon(COMPILERS[request.param], path)
    except RuntimeError as error:
        if "fatal error" in str(error) and "not found" in str(error):
            pytest.skip(f"{request.param} has no headers for aarch64 here")
        raise
    return machine_code.functions(path)


@pytest.fixture(params=machine_code.TILES)
def loop(request: pytest.FixtureRequest, code: Functions) -> Loop:
    return machine_code.hot_loop(code, machine_code.TILES[request.param])


def test_hot_loop_multiplies_by_lane_into_sixteen_sums(loop: Loop) -> None:
    assert loop.multiply_adds == loop.by_lane >= 32
    assert loop.accumulators == 16
    assert loop.rest == 16  # each sum rests while the others are added to


def test_hot_loop_keeps_to_its_registers(loop: Loop) -> None:
    assert loop.spills == 0
    assert loop.moves == 0


def test_hot_loop_is_little_but_multiply_adds(loop: Loop) -> None:
    assert loop.per_multiply_add <= 0.40


@pytest.mark.parametrize("cpu", llvm_mca.TARGETS)
def test_hot_loop_keeps_the_pipes_busy(loop: Loop, cpu: str) -> None:
    tool = llvm_mca.tool()
    if tool is None:
        pytest.skip("no llvm-mca (Debian: llvm)")
    found = llvm_mca.estimate(tool, loop, cpu)
    if cpu == "neoverse-n1" and found.model != "N1":
        pytest.skip("this llvm-mca has no model of the Neoverse N1")
    assert found.meets, found


def test_tiles_of_every_size_keep_to_their_registers(code: Functions) -> None:
    tiles = [name for name in code if name.startswith(("pixel_tile<", "channel_tile<"))]
    assert len(tiles) == 32  # 8 rows x 2 vectors, of two kinds
    for name in tiles:
        assert machine_code.hot_loop(code, name).spills == 0, name


def test_no_loop_of_any_other_kernel_spills_a_vector(
    code: Functions, request: pytest.FixtureRequest
) -> None:
    kernels = ("map_sums", "match_rows", "match_pixels", "winograd_output", "winograd_input")
    assert all(any(kernel in name for name in code) for kernel in kernels)
    # LLVM keeps what does not change on the stack between loops, and, where a finish asks about
    # every vector, in the loop of a depthwise convolution of any window
    zig = request.node.callspec.params["code"] == "zig"
    spills = machine_code.worst_spills(code, innermost=zig)
    allowed = {"with_finish<depthwise": 4} if zig else {}
    assert {n: count for n, count in spills.items() if count > allowed.get(n, 0)} == {}


def test_loops_are_read_from_a_disassembly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_code, "run", lambda command: DISASSEMBLY)
    monkeypatch.setattr(machine_code, "disassembler", lambda: "objdump")
    found = machine_code.functions(Path("kernel.o"))
    (loop,) = machine_code.loops("pixel_tile<8, 2>", found["pixel_tile<8, 2>"])
    assert len(loop.body) == 9
    assert (loop.multiply_adds, loop.by_lane, loop.accumulators, loop.rest) == (3, 3, 2, 1)
    assert (loop.loads, loop.pairs, loop.spills, loop.vector_spills, loop.moves) == (2, 1, 1, 1, 1)
    assert loop.per_multiply_add == 9 / 12
    assert "cbz x3, out" in loop.assembly()
    assert "b.ne top" in loop.assembly()
    assert machine_code.worst_spills(found) == {}


def test_loops_are_found_where_code_is_out_of_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_code, "run", lambda command: OUT_OF_LINE)
    monkeypatch.setattr(machine_code, "disassembler", lambda: "objdump")
    found = machine_code.functions(Path("kernel.o"))
    (loop,) = machine_code.loops("sums", found["sums"])
    assert [i.address for i in loop.body] == [0x8, 0xC, 0x10, 0x24, 0x28]
    # x29 is no frame's here; the outer loop has a spill that the inner has not
    assert (loop.vector_spills, machine_code.worst_spills(found)) == (1, {"sums": 2})


def test_port_use_is_read_from_llvm_mca() -> None:
    found = llvm_mca.parse(MCA_REPORT, "cortex-a55", 64)
    assert (found.model, found.peak) == ("CortexA55", 2.0)
    assert found.port_use == pytest.approx(64 / (9804 / 200) / 2)
    assert found.meets


def test_instructions_are_counted_between_the_marks() -> None:
    instructions, multiply_adds = step_count.count_log(LOG.splitlines(keepends=True))
    assert instructions == {"pixel_tile": 4, "before": 1}
    assert multiply_adds["pixel_tile"] == 2
