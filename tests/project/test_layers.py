"""The layers point one way: who may import what."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pyedge
from pyedge._moved import MOVED
from tests.support.paths import ROOT


def imported_by(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def python_files(folder: str) -> list[Path]:
    found = sorted((ROOT / "pyedge" / folder).glob("**/*.py"))
    assert found, f"no Python files under pyedge/{folder}"
    return found


def test_only_kernels_touches_the_extension() -> None:
    users = {p.name for p in python_files("") if "pyedge._core" in imported_by(p)}
    assert users == {"kernels.py"}


def test_cloud_knows_neither_cli_nor_demo_nor_teachers() -> None:
    for path in python_files("cloud"):
        above = ("pyedge.cli", "pyedge.demo", "pyedge.serve")
        assert not [n for n in imported_by(path) if n.startswith(above)], path


def test_inside_cloud_graph_is_the_ground_for_compression_and_training() -> None:
    cloud = "pyedge.cloud."
    never = {"graph": ("compression", "training"), "compression": ("training",)}
    never["training"] = ("compression",)
    for folder, others in never.items():
        above = tuple(cloud + other for other in others)
        for path in python_files(f"cloud/{folder}"):
            assert not [n for n in imported_by(path) if n.startswith(above)], path


def test_models_and_data_stand_alone() -> None:
    for folder in ("models", "data"):
        for path in python_files(folder):
            above = ("pyedge.cloud", "pyedge.cli", "pyedge.demo", "pyedge.kernels")
            assert not [n for n in imported_by(path) if n.startswith(above)], path


# rooms and loose files of the package, the ground first; each imports from floors below its own
FLOORS = (
    ("errors", "warning", "arguments", "kernel_arguments", "_version"),
    ("keywords",),
    ("_moved", "kernels", "files", "classes", "runs"),
    ("images", "statistics"),
    ("knowledge", "student"),
    ("edge",),
    ("remote",),
    ("models", "data"),
    ("cloud",),
    ("serve",),
    ("cli",),
    ("demo",),
)
ON_DEVICES = sum(FLOORS[:7], ())


def test_rooms_import_from_floors_below() -> None:
    floor = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
    seen = set()
    for path in python_files(""):
        room = path.relative_to(ROOT / "pyedge").with_suffix("").parts[0]
        if room == "__init__":
            continue
        seen.add(room)
        for name in imported_by(path):
            other = name.removeprefix("pyedge.").split(".")[0]
            if name.startswith("pyedge.") and other in floor and other != room:
                assert floor[other] < floor[room], f"{path}: {name}"
    assert seen == floor.keys()


def test_devices_know_no_torch() -> None:
    for room in ON_DEVICES:
        path = ROOT / "pyedge" / f"{room}.py"
        for each in [path] if path.exists() else python_files(room):
            assert not [n for n in imported_by(each) if n.split(".")[0] == "torch"], each


# of csrc, the ground first; the tests of C++ stand above all but the bindings
CSRC_FLOORS = (("simd", "threads"), ("kernels",), ("engine",), ("python", "tests"))


def test_includes_are_of_floors_below() -> None:
    floor = {room: number for number, rooms in enumerate(CSRC_FLOORS) for room in rooms}
    seen = set()
    for path in [*ROOT.glob("csrc/**/*.cpp"), *ROOT.glob("csrc/**/*.hpp")]:
        room = path.relative_to(ROOT / "csrc").parts[0]
        seen.add(room)
        for name in re.findall(r'#include "([^"]+)"', path.read_text(encoding="utf-8")):
            other = name.split("/")[0] if "/" in name else room
            assert other == room or floor[other] < floor[room], f"{path}: {name}"
    assert seen == floor.keys()


def test_kernels_and_engine_know_no_python_and_no_torch() -> None:
    folders = ("kernels", "simd", "threads", "engine")
    sources = [path for folder in folders for path in ROOT.glob(f"csrc/{folder}/**/*.?pp")]
    assert len(sources) > 80
    for path in sources:
        includes = re.findall(r"#\s*include\s*[<\"]([^>\"]+)", path.read_text(encoding="utf-8"))
        assert not [name for name in includes if re.match(r"(Python\.h|pybind11|torch|ATen)", name)]


def test_import_pyedge_needs_numpy_alone(tmp_path: Path) -> None:
    # a finder that refuses everything heavy stands in for an environment without it
    code = (
        "import sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in "
        "{'torch', 'torch_pruning', 'lightning_fabric', 'matplotlib', 'PIL', 'sklearn', 'rich'}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Refuse())\n"
        "import pyedge, pyedge.kernels\n"
        "try:\n"
        "    pyedge.compress\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert 'pip install "pyedge[cloud]"' in done.stdout
    assert "torch" in done.stdout


def circles(imports: dict[str, set[str]]) -> list[set[str]]:
    """Sets of modules that import each other in a loop."""
    reached: dict[str, set[str]] = {}
    for start in imports:
        seen, stack = set(), [start]
        while stack:
            for each in imports[stack.pop()]:
                if each not in seen:
                    seen.add(each)
                    stack.append(each)
        reached[start] = seen
    found: list[set[str]] = []
    for name in imports:
        loop = {each for each in reached[name] if name in reached[each]}
        if loop and loop not in found:
            found.append(loop)
    return found


def test_circles_are_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [{"b", "c"}]
    assert circles({"a": {"b"}, "b": set()}) == []


def test_no_module_imports_itself_by_way_of_others() -> None:
    files = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path
        for path in python_files("")
        if path.name != "__init__.py"
    }
    assert len(files) > 200
    # for types alone, or inside of functions, is an import all the same
    imports = {name: imported_by(path) & files.keys() - {name} for name, path in files.items()}
    assert circles(imports) == []


def test_version_is_the_projects() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'\nversion = "{pyedge.__version__}"\n' in project


def test_modules_that_have_moved_are_found_with_a_warning() -> None:
    assert len(MOVED) > 30
    for new in MOVED.values():
        assert (ROOT / f"{new.replace('.', '/')}.py").exists(), new
    code = (
        "import warnings, importlib\n"
        "from pyedge._moved import MOVED\n"
        "for old, new in MOVED.items():\n"
        "    with warnings.catch_warnings(record=True) as found:\n"
        "        warnings.simplefilter('always')\n"
        "        module = importlib.import_module(old)\n"
        "    assert module is importlib.import_module(new), old\n"
        "    assert module.__spec__.name == module.__name__ == new, old\n"
        "    assert [str(each.message) for each in found] == [f'{old} has moved, to {new}'], old\n"
        "with warnings.catch_warnings(record=True) as found:\n"
        "    warnings.simplefilter('always')\n"
        "    from pyedge.student import StudentFile\n"
        "import pyedge\n"
        "assert StudentFile is pyedge.StudentFile and found\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
