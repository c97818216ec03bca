"""Choosing an instruction set, threads, the GIL and forks, each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pyedge import kernels


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PYEDGE_")}
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def printed(code: str, **environment: str) -> str:
    done = run(code, **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_dispatch_takes_the_fastest_path_by_default() -> None:
    assert (
        printed("from pyedge import kernels; print(kernels.isa())")
        == (kernels.available_isas()[-1])
    )
    assert kernels.available_isas()[0] == "reference"


@pytest.mark.parametrize("isa", kernels.available_isas())
def test_dispatch_follows_the_environment(isa: str) -> None:
    assert printed("from pyedge import kernels; print(kernels.isa())", PYEDGE_ISA=isa) == isa


@pytest.mark.parametrize("isa", ["sse9", "AVX2", " "])
def test_dispatch_refuses_an_unknown_path_at_import(isa: str) -> None:
    done = run("from pyedge import kernels", PYEDGE_ISA=isa)
    assert done.returncode != 0
    assert "ImportError" in done.stderr
    assert "PYEDGE_ISA: wanted an instruction set of this CPU (reference" in done.stderr
    assert f"'{isa}'" in done.stderr


def test_dispatch_refuses_a_path_of_another_cpu() -> None:
    other = "neon" if "neon" not in kernels.available_isas() else "avx2"
    assert "ImportError" in run("from pyedge import kernels", PYEDGE_ISA=other).stderr
    with pytest.raises(ValueError, match=f"set_isa: name: .*got '{other}'"):
        kernels.set_isa(other)
    with pytest.raises(TypeError, match=r"set_isa: name: .*str, got int"):
        kernels.set_isa(2)  # type: ignore[arg-type]


def test_threads_default_to_the_big_cpus() -> None:
    code = "from pyedge import kernels; print(kernels.num_threads())"
    big = kernels.cpus().big or range(os.cpu_count() or 1)
    quota = Path("/sys/fs/cgroup/cpu.max")
    if quota.exists() and not quota.read_text().startswith("max"):
        assert int(printed(code)) <= len(big)
    else:
        assert int(printed(code)) == len(big)
    assert printed(code, PYEDGE_NUM_THREADS="3") == "3"


def test_cpus_are_those_that_the_process_may_use() -> None:
    found = kernels.cpus()
    if not hasattr(os, "sched_getaffinity"):
        assert found.numbers == ()
        return
    assert set(found.numbers) == os.sched_getaffinity(0)
    assert len(found.capacities) == len(found.numbers)
    assert set(found.big) <= set(found.numbers)
    lowest = min(found.capacities[found.numbers.index(cpu)] for cpu in found.big)
    others = set(found.numbers) - set(found.big)
    assert all(found.capacities[found.numbers.index(cpu)] * 1.5 <= lowest for cpu in others)
    one = min(found.numbers)
    code = f"import os; os.sched_setaffinity(0, [{one}]); from pyedge import kernels; "
    assert printed(code + "print(kernels.cpus().big, kernels.num_threads())") == f"({one},) 1"


@pytest.mark.parametrize("count", ["0", "-2", "two", "2.5", "99999"])
def test_threads_refuse_nonsense_at_import(count: str) -> None:
    done = run("from pyedge import kernels", PYEDGE_NUM_THREADS=count)
    assert "ImportError" in done.stderr
    assert "PYEDGE_NUM_THREADS: wanted a number from 1 to 1024" in done.stderr


def test_set_num_threads_refuses_nonsense() -> None:
    for count in (0, 5000):
        with pytest.raises(ValueError, match=r"count: .*1 to 1024"):
            kernels.set_num_threads(count)
    for count in (1.0, True, "2"):
        with pytest.raises(TypeError, match="count: wanted an int"):
            kernels.set_num_threads(count)  # type: ignore[arg-type]


def test_kernels_release_the_gil() -> None:
    # While one thread is inside a kernel (0.1 s and more a call on one core), the main thread must
    # get to run Python: with the GIL held it would count twice a call at the most.
    code = """
import sys, threading, numpy as np
from pyedge import kernels
sys.setswitchinterval(1e-4)
kernels.set_isa("reference")
x = np.zeros((32, 64, 128, 256), np.float32)
inside, done = threading.Event(), threading.Event()
def work():
    inside.set()
    for _ in range(3):
        kernels.zero_count(x)
    done.set()
thread = threading.Thread(target=work)
thread.start()
inside.wait()
turns = 0
while not done.is_set():
    done.wait(0.001)
    turns += 1
thread.join()
print(turns)
"""
    assert int(printed(code, PYEDGE_NUM_THREADS="1")) > 9


def test_kernels_work_in_the_child_of_a_fork() -> None:
    if not hasattr(os, "fork"):
        pytest.skip("no os.fork here")
    code = """
import os, warnings, numpy as np
from pyedge import kernels
warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12: fork with threads
x = np.zeros((16, 64, 32, 32), np.float32)
kernels.zero_count(x)
child = os.fork()
good = bool((kernels.zero_count(x) == 1024).all())
if child == 0:
    os._exit(0 if good else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), good)
"""
    assert printed(code, PYEDGE_NUM_THREADS="3") == "0 True"


def test_kernels_from_many_python_threads() -> None:
    from concurrent.futures import ThreadPoolExecutor

    rng = np.random.default_rng(0)
    maps = [np.maximum(rng.standard_normal((8, 33, 15, 15), np.float32), 0) for _ in range(16)]
    with ThreadPoolExecutor(4) as pool:
        counts = list(pool.map(kernels.zero_count, maps * 4))
    for x, count in zip(maps * 4, counts, strict=True):
        np.testing.assert_array_equal(count, (x == 0).sum((2, 3)))


def test_kernels_need_numpy_alone() -> None:
    code = "import sys, pyedge.kernels; print('torch' in sys.modules)"
    assert printed(code) == "False"
