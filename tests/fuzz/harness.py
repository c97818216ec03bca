"""What every fuzz target needs: atheris or a clear line, a folder that goes, branches counted."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

_FOLDER = "PYEDGE_FUZZ_FOLDER"

Target = Callable[[bytes], None]


def fuzz(make: Callable[[Path], Target], modules: Iterable[ModuleType]) -> int:
    """Fuzz what `make(folder)` returns as the command line says (-runs=N, -max_total_time=S).

    Branches in `modules` guide the search. Without atheris this says so and returns 0. A target
    that raises is a finding: atheris writes the input to crash-HASH, and the exit code is not 0.
    """
    name = Path(sys.argv[0]).stem
    try:
        import atheris
    except ImportError:
        print(f"{name}: atheris is not installed, nothing was fuzzed (pip install atheris)")
        return 0
    if _FOLDER not in os.environ:
        # atheris ends its process on the spot; a parent clears up behind it
        with tempfile.TemporaryDirectory(prefix=f"{name}-") as folder:
            environment = {**os.environ, _FOLDER: folder}
            command = [sys.executable, *sys.argv]
            return subprocess.run(command, env=environment, check=False).returncode
    target = make(Path(os.environ[_FOLDER]))
    for module in modules:
        _instrument(atheris, module)
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
    return 0


def _instrument(atheris: Any, module: ModuleType) -> None:
    """Count the branches of a module's functions; an editable install hides them from imports."""
    owners = [module, *(c for c in vars(module).values() if inspect.isclass(c))]
    for owner in owners:
        for member in vars(owner).values():
            function = getattr(member, "fget", member)
            if inspect.isfunction(function) and function.__module__ == module.__name__:
                atheris.instrument_func(function)
