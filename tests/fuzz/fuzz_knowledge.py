"""Fuzz the reader of knowledge packs: any bytes give a FormatError or a pack that can be used.

    python tests/fuzz/fuzz_knowledge.py -runs=20000

Needs atheris (pip install atheris); without it, it says so and ends with exit code 0. The first
byte of an input chooses a file of a small pack, and the rest takes its place or lies over a part of
it. Anything but FormatError that comes out of the reader is a finding.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np

from pyedge.errors import FormatError
from pyedge.images.digests import set_digest
from pyedge.knowledge import format as knowledge_format
from pyedge.knowledge import pack as knowledge
from pyedge.knowledge.format import FileRecord, GroupSpec, Manifest
from pyedge.knowledge.pack import Knowledge

try:
    import atheris
except ImportError:
    print("fuzz_knowledge: atheris is not installed, nothing was fuzzed (pip install atheris)")
    sys.exit(0)

_FOLDER = "PYEDGE_FUZZ_FOLDER"  # atheris ends its process without clearing up: a parent does


def instrument(module: ModuleType) -> None:
    """Count the branches of a module's functions; an editable install hides them from imports."""
    owners = [module, *(c for c in vars(module).values() if inspect.isclass(c))]
    for owner in owners:
        for function in vars(owner).values():
            function = getattr(function, "fget", function)
            if inspect.isfunction(function) and function.__module__ == module.__name__:
                atheris.instrument_func(function)


def write_pack(folder: Path) -> None:
    """Write a pack of two images in two views, without torch: one group, two blocks, int8."""
    bare = Manifest(
        images=2,
        views=2,
        classes=("a", "b"),
        dtype="int8",
        input_shape=(1, 4, 4),
        groups=(GroupSpec(2, (2, 2, 3)),),
        student="1" * 64,
        teacher="2" * 64,
        image_set=set_digest(np.zeros((2, 16), np.uint8)),
    )
    files = {}
    for name, spec in bare.arrays().items():
        data = spec.header + bytes(spec.nbytes)
        (folder / name).write_bytes(data)
        files[name] = FileRecord(len(data), hashlib.sha256(data).hexdigest())
    (folder / "manifest.json").write_text(replace(bare, files=files).to_json())


def use(pack: Knowledge) -> None:
    """Do what a learner does with a pack that was not refused."""
    rows = np.arange(pack.count, dtype=np.int64)
    found = pack.batch(rows, np.full(pack.count, pack.views - 1))
    for blocks in found["maps"]:
        for maps, scales in blocks:
            np.asarray(maps[found["map_rows"]]).sum(dtype=np.float64)
            assert scales is None or len(scales) == len(maps)
    assert np.isfinite(found["logits"]).all()


class Target:
    """A good pack in a folder, and what an input does to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        write_pack(folder)
        self.good = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
        arrays = [name for name in self.good if name != "manifest.json"]
        self.names = ["manifest.json"] * len(arrays) + arrays  # half of the effort each

    def __call__(self, data: bytes) -> None:
        """Put the input in the place of a file, or over a part of it, and read the pack."""
        provider = atheris.FuzzedDataProvider(data)
        name = provider.PickValueInList(self.names)
        forged = provider.ConsumeBool() and name != "manifest.json"
        good, start, end = self.good[name], 0, len(self.good[name])
        if not provider.ConsumeBool():
            start = provider.ConsumeIntInRange(0, len(good))
            end = provider.ConsumeIntInRange(start, len(good))
        bad = good[:start] + provider.ConsumeBytes(len(data)) + good[end:]
        self._write(name, bad)
        if forged:  # digest and size in the manifest agree with the altered file
            manifest = json.loads(self.good["manifest.json"])
            digest = hashlib.sha256(bad).hexdigest()
            manifest["files"][name] = {"bytes": len(bad), "sha256": digest}
            self._write("manifest.json", json.dumps(manifest).encode())
        try:
            use(Knowledge(self.folder))
        except FormatError:
            pass
        finally:
            for each in {name, "manifest.json"}:
                self._write(each, self.good[each])

    def _write(self, name: str, data: bytes) -> None:
        (self.folder / name).write_bytes(data)


def main() -> int:
    """Fuzz for as long as the command line says (-runs=N, -max_total_time=S)."""
    if _FOLDER not in os.environ:
        with tempfile.TemporaryDirectory(prefix="fuzz-knowledge-") as folder:
            command = [sys.executable, __file__, *sys.argv[1:]]
            return subprocess.run(
                command, env={**os.environ, _FOLDER: folder}, check=False
            ).returncode
    for module in (knowledge, knowledge_format):
        instrument(module)
    target = Target(Path(os.environ[_FOLDER]))
    use(Knowledge(target.folder))  # the pack that inputs are laid over is a good one
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
