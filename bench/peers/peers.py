"""Who takes part, and where each is installed."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyedge
import pyedge._core

# asks a peer's own Python: its version, and the bytes of a distribution and all that it requires
_ASK = """
import importlib.metadata as m, json, re, sys
seen, todo, size = set(), [sys.argv[1], *sys.argv[3:]], 0
while todo:
    name = re.sub(r"[-_.]+", "-", todo.pop()).lower()
    if name in seen:
        continue
    seen.add(name)
    try:
        found = m.distribution(name)
    except m.PackageNotFoundError:  # of another system or version
        continue
    for file in found.files or ():
        path = file.locate()
        if path.is_file() and path.suffix != ".pyc":
            size += path.stat().st_size
    for wanted in found.requires or ():
        if "extra ==" not in wanted:
            todo.append(re.match(r"[A-Za-z0-9._-]+", wanted)[0])
version, compiled = map(m.version, sys.argv[1:3])
print(json.dumps({"version": version, "compiled": compiled, "bytes": size}))
"""
_AARCH64 = tuple(
    f"manylinux{each}_aarch64" for each in ("2014", "_2_17", "_2_27", "_2_28", "_2_31", "_2_34")
)


@dataclass(frozen=True)
class Peer:
    """A package that is compared.

    distribution: what a device would install. worker: its module. requires: of its environment,
    with what converts a network; none for what stands in the project's own. variants: the ways that
    it is run in. compiled: the distribution whose wheels are of one architecture. beside: what it
    does not run without, and does not say so. step_batch: of so many images a step is timed, and
    the time multiplied, where that of a whole batch takes minutes.
    """

    name: str
    distribution: str
    worker: str
    requires: tuple[str, ...] = ()
    variants: tuple[str, ...] = ("",)
    compiled: str | None = None
    beside: tuple[str, ...] = ()
    step_batch: int | None = None

    def python(self, environments: Path) -> Path:
        """Return its interpreter, whether that is there or not."""
        if not self.requires:
            return Path(sys.executable)
        return environments / self.distribution.lower() / "bin" / "python"

    def label(self, variant: str) -> str:
        """The name of a row."""
        return f"{self.name}, {variant}" if variant else self.name


PEERS = (
    Peer("pyedge", "pyedge", "ours", variants=("float32", "half")),
    Peer("torch", "torch", "of_torch", variants=("eager", "compiled", "compiled, bf16")),
    Peer("onnxruntime", "onnxruntime", "of_onnxruntime", ("onnxruntime==1.32.0",)),
    Peer(
        "onnxruntime-training",
        "onnxruntime-training",
        "of_onnxruntime",
        # what it was built against, and torch, without which its training module does not import
        ("onnxruntime-training==1.19.2", "onnx==1.17.0", "numpy<2", "torch==2.13.0"),
    ),
    Peer("JAX", "jax", "of_jax", ("jax==0.10.2",), compiled="jaxlib"),
    Peer(
        "ExecuTorch",
        "executorch",
        "of_executorch",
        ("executorch==1.5.1", "torch==2.13.0"),
        beside=("torch",),
        step_batch=1,
    ),
    Peer("LiteRT", "ai-edge-litert", "of_litert", ("litert-torch==0.10.0", "torch==2.13.0")),
    Peer("MNN", "MNN", "of_mnn", ("MNN==3.6.1",)),
    Peer("nntrainer", "nntrainer", "of_nntrainer", ("nntrainer",)),
)


def install(peer: Peer, environments: Path) -> str | None:
    """Make a peer's environment; return why that does not work, or None."""
    if not peer.requires:
        return None
    python = peer.python(environments)
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", python.parents[1]], check=True)
    done = _pip(python, "install", *peer.requires)
    return None if done.returncode == 0 else _reason(done)


def facts(peer: Peer, environments: Path) -> dict[str, Any]:
    """Return a peer's version, its installed bytes with all that it requires, and "aarch64".

    That is whether the index has a wheel for Linux on aarch64; pyedge's is built by
    `make wheel-aarch64`.
    """
    python = peer.python(environments)
    compiled = peer.compiled or peer.distribution
    asked = [python, "-c", _ASK, peer.distribution, compiled, *peer.beside]
    done = subprocess.run(asked, capture_output=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    version = found.pop("compiled").partition("+")[0]  # of an index's own build
    if peer.distribution == "pyedge":
        # installed in place, it lists no file of its own
        package = Path(pyedge.__file__).parent
        files = [each for each in package.rglob("*") if each.is_file() and each.suffix != ".pyc"]
        files.append(Path(pyedge._core.__file__))
        found["bytes"] += sum(each.stat().st_size for each in set(files))
        return {**found, "aarch64": True}
    return {**found, "aarch64": _has_wheel(python, f"{compiled}=={version}")}


def _has_wheel(python: Path, wheel: str) -> bool:
    target = [part for platform in _AARCH64 for part in ("--platform", platform)]
    with tempfile.TemporaryDirectory() as folder:
        done = _pip(
            python, "install", "--dry-run", "--no-deps", "--ignore-installed", *target,
            "--only-binary=:all:", "--implementation=cp", "--target", folder, wheel,
        )  # fmt: skip
    return done.returncode == 0


def _pip(python: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
    return (errors or done.stderr.splitlines() or ["pip gave no reason"])[-1]
