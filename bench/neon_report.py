"""Read the NEON kernels' machine code: spills, multiply-adds, use of the FMA pipes; no ARM needed.

    python -m bench.neon_report [--json] [--compiler NAME ...] [--batch 8] [--no-step]

Compiles csrc/kernels/dispatch/isa_neon.cpp for aarch64 with every compiler that is here (Debian's
cross g++, clang, zig), finds the loops in the disassembly, and puts the micro-kernels' full tile
(gemm_pixels: convolutions and linear layers; gemm_channels: weight gradients) through llvm-mca.
Then counts the instructions of a whole step of ResNet 4 under emulation, and of learning from
statistics. docs/neon.md says what this cannot tell.

FMLA          multiply-adds of four lanes in a turn of the loop; all of them by lane
sums          registers that they add to, independent of each other
rest          the fewest FMLAs from one use of a sum to the next
LDP           pairs of Q registers; single loads stand together instead, ahead of their use
spills        loads from and stores to the stack within the loop
ins/mac       instructions a multiply-add; 0.25 is a loop of FMLAs and nothing else
port use      FMLAs a cycle over the most that the model can issue
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.neon import llvm_mca, machine_code, step_count


def main(arguments: list[str] | None = None) -> None:
    """Run the report from the command line."""
    options = _parse(arguments)
    report: dict[str, Any] = {
        "machine": f"{platform.machine()}, {platform.platform()}",
        "llvm_mca": (tool := llvm_mca.tool()) and llvm_mca.tool_version(tool),
        "compilers": {},
    }
    for name, command in machine_code.compilers().items():
        if not options.compiler or name in options.compiler:
            report["compilers"][name] = examine(command, tool)
    report["step"] = _step(options.batch) if options.step else None
    if options.json:
        json.dump(report, sys.stdout, indent=1)
        print()
    else:
        print("\n".join(_lines(report)))


def examine(command: list[str], tool: str | None) -> dict[str, Any]:
    """Compile, and describe the micro-kernels' loops and whatever else uses the stack in a loop."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "isa_neon.o"
        machine_code.compile_neon(command, path)
        code = machine_code.functions(path)
    found = {kernel: _describe(machine_code.hot_loop(code, tile), tool)
             for kernel, tile in machine_code.TILES.items()}  # fmt: skip
    return {
        "version": machine_code.version(command),
        "loops": found,
        "spills": {
            name: spills for name, spills in machine_code.worst_spills(code).items() if spills
        },
    }


def _describe(loop: machine_code.Loop, tool: str | None) -> dict[str, Any]:
    row: dict[str, Any] = {
        "instructions": len(loop.body),
        "fmla": loop.multiply_adds,
        "by_lane": loop.by_lane,
        "sums": loop.accumulators,
        "rest": loop.rest,
        "loads": loop.loads,
        "ldp": loop.pairs,
        "spills": loop.spills,
        "moves": loop.moves,
        "per_mac": round(loop.per_multiply_add, 3),
        "in_order_by_hand": round(llvm_mca.by_hand(loop), 3),
        "cpus": {},
    }
    for cpu, target in llvm_mca.TARGETS.items() if tool else ():
        found = llvm_mca.estimate(tool or "", loop, cpu)
        row["cpus"][cpu] = {
            "model": found.model,
            "cycles": round(found.cycles, 1),
            "peak_fmla": found.peak,
            "port_use": round(found.port_use, 3),
            "target": target,
            "meets": found.meets,
        }
    return row


def _step(batch: int) -> dict[str, Any]:
    if tool := step_count.missing():
        return {"left_out": f"no {tool}"}
    found = step_count.count_step(batch)
    return {
        "batch": batch,
        "instructions": found.instructions,
        "direct_macs": found.direct_macs,
        "executed_macs": found.executed_macs,
        "per_direct_mac": round(found.per_direct_mac, 3),
        "per_executed_mac": round(found.per_executed_mac, 3),
        "micro_kernels_per_executed_mac": round(found.tiles_per_executed_mac, 3),
        "by_function": found.shares(),
        "sums_instructions": step_count.count_sums(batch),
        "half_instructions": step_count.count_half_step(batch),
        "half_sums_instructions": step_count.count_sums(batch, half=True),
        "answers_instructions": {
            each: step_count.count_answers(batch, each) for each in ("float32", "half", "int8")
        },
    }


def _lines(report: dict[str, Any]) -> list[str]:
    lines = [
        f"machine: {report['machine']}",
        f"llvm-mca: {report['llvm_mca'] or 'not here (Debian: llvm)'}",
    ]
    if not report["compilers"]:
        lines.append("no compiler for aarch64 (Debian: g++-aarch64-linux-gnu; PyPI: ziglang)")
    for name, row in report["compilers"].items():
        lines += ["", f"{name}: {row['version']}"]
        lines.append("                 FMLA  by lane  sums  rest  loads  LDP  spills  ins/mac")
        for kernel, loop in row["loops"].items():
            lines.append(
                f"  {kernel:<14} {loop['fmla']:>5} {loop['by_lane']:>8} {loop['sums']:>5}"
                f" {loop['rest']:>5} {loop['loads']:>6} {loop['ldp']:>4} {loop['spills']:>7}"
                f" {loop['per_mac']:>8.3f}"
            )
        for kernel, loop in row["loops"].items():
            for cpu, found in loop["cpus"].items():
                hand = (
                    f"; by hand {loop['in_order_by_hand']:.0%}" if cpu in llvm_mca.IN_ORDER else ""
                )
                lines.append(
                    f"  {kernel:<14} {cpu:<12} port use {found['port_use']:>4.0%}"
                    f" ({'meets' if found['meets'] else 'MISSES'} {found['target']:.0%};"
                    f" {found['cycles']} cycles, model {found['model']},"
                    f" {found['peak_fmla']:g} FMLA a cycle{hand})"
                )
        said = ", ".join(f"{kernel} {count}" for kernel, count in row["spills"].items())
        lines.append(
            f"  vector registers spilled in the worst loop of other kernels: {said or 'none'}"
        )
    if step := report["step"]:
        lines += ["", *_step_lines(step)]
    return lines


def _step_lines(step: dict[str, Any]) -> list[str]:
    if "left_out" in step:
        return [f"step not counted: {step['left_out']}"]
    lines = [
        f"a step of ResNet 4, {step['batch']} images, one thread: "
        f"{step['instructions'] / 1e6:.1f} M instructions",
        f"  {step['per_direct_mac']:.3f} a multiply-add of the direct form "
        f"({step['direct_macs'] / 1e6:.0f} M)",
        f"  {step['per_executed_mac']:.3f} a multiply-add executed "
        f"({step['executed_macs'] / 1e6:.0f} M; Winograd saves the rest), of which the "
        f"micro-kernels {step['micro_kernels_per_executed_mac']:.3f}",
    ]
    lines += (f"  {share:>6.1%}  {name}" for name, share in step["by_function"].items())
    each = step["sums_instructions"] / step["batch"]
    lines.append(
        f"learning from statistics: {each / 1e6:.1f} M instructions an image; 500 images, at one "
        f"a cycle and 1.8 GHz: {500 * each / 1.8e9:.1f} s"
    )
    step_share, sums_share = (
        step[f"half_{name}"] / step[name] for name in ("instructions", "sums_instructions")
    )
    lines.append(
        f"in half precision (BFDOT): {step_share:.2f} of a step's instructions, "
        f"{sums_share:.2f} of those of learning from statistics"
    )
    plain, half, int8 = step["answers_instructions"].values()
    lines.append(
        f"answers: {plain / step['batch'] / 1e6:.1f} M instructions an image, of which half "
        f"precision (BFDOT) takes {half / plain:.2f} and 8 bits (SDOT) {int8 / plain:.2f}"
    )
    return lines


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.neon_report", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--compiler", action="append", choices=("g++", "clang", "zig"), help="default: all here"
    )
    parser.add_argument("--batch", type=int, default=8, help="images in the counted step (8)")
    parser.add_argument(
        "--no-step", dest="step", action="store_false", help="leave the counted step out"
    )
    options = parser.parse_args(arguments)
    if options.batch < 1:
        parser.error(f"--batch must be at least 1, not {options.batch}")
    return options


if __name__ == "__main__":
    main()
