"""Student files (.pyedge): all that a device needs to predict with a student and to teach it.

A zip of graph.json and .npy arrays, described in docs/format.md. It takes only numpy to read and
write.
"""

from __future__ import annotations

import zipfile
from dataclasses import fields, replace
from os import PathLike
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from pyedge.arguments import checked_path, kind_of, path_comes_first, shown
from pyedge.errors import FormatError
from pyedge.files.npy_archive import Archive, ArraySpec, open_archive, spec_of, write_archive
from pyedge.keywords import keywords
from pyedge.statistics.stored import document_of, specs_of
from pyedge.statistics.stored import loaded as loaded_statistics
from pyedge.student.checks import check_description, check_made, check_values
from pyedge.student.file import StudentFile
from pyedge.student.int8_weights import still_int8, weight_of
from pyedge.student.made_weights import made_weight

FORMAT = "pyedge-student"
VERSION = 3
# by the version that they came with: a file without them is of an earlier one, which older pyedge
# reads too
_LATER = {2: ("statistics", "head", "made"), 3: ("input_scales", "weight_scales")}


def is_student(path: str | PathLike[str]) -> bool:
    """Tell whether a file seems to be a student's, without reading it; False without a file."""
    try:
        with zipfile.ZipFile(path) as archive:
            return "graph.json" in archive.namelist()
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return False


@keywords(old_order=path_comes_first)
def write_student(student: StudentFile, path: str | PathLike[str]) -> None:
    """Write a student atomically: `path` holds the old file or the new one, never a part.

    Raises FormatError for a student that `read_student` would refuse, OSError if writing fails.
    """
    checked_path(path, "save")
    if not isinstance(student, StudentFile):
        raise TypeError(f"write_student: student: wanted a StudentFile, got {kind_of(student)}")
    specs = {name: ArraySpec.of(array) for name, array in student.arrays.items()}
    try:
        check_description(student, specs)
        check_values(student)
    except ValueError as error:
        raise FormatError(f"write_student: {error}") from error
    version = _version_of(student)
    document: dict[str, Any] = {"format": FORMAT, "version": version}
    for name in _names(version):
        document[name] = getattr(student, name)
    document["nodes"] = [dict(node) for node in student.nodes]
    document["kept"] = [positions.tolist() for positions in student.kept]
    document["record"] = [dict(entry) for entry in student.record]
    for part in ("preprocessing", "optimizer"):
        document[part] = dict(document[part])
    members = {}
    for part in ("arrays", "state"):
        document[part] = {}
        for name, array in getattr(student, part).items():
            document[part][name] = {"dtype": array.dtype.name, "shape": list(array.shape)}
            members[_member(part, name)] = array
    if version >= 2:
        document["head"] = dict(student.head)
        still = _still_made(student)
        document["made"] = {
            name: {"seed": seed, "stored": name not in still} for name, seed in student.made.items()
        }
        for name in still:
            del members[_member("arrays", name)]
        if student.statistics is not None:
            document["statistics"] = document_of(student.statistics)
            for name, array in student.statistics.arrays().items():
                members[_member("statistics", name)] = array
    if version >= 3:
        whole = still_int8(student)
        document["input_scales"] = {n: list(pair) for n, pair in student.input_scales.items()}
        document["weight_scales"] = list(whole)
        for name, numbers in whole.items():
            del members[_member("arrays", name)]
            members[_member("int8", name)] = numbers
            members[_member("scales", name)] = student.weight_scales[name]
    try:
        write_archive(path, document, members)
    except (ValueError, TypeError) as error:  # what JSON does not hold
        raise FormatError(f"write_student: {error}") from error


@keywords()
def read_student(path: str | PathLike[str]) -> StudentFile:
    """Read a student; its arrays are read-only.

    The file may come from anybody: it is checked before memory is taken for its contents, and
    nothing in it is executed. Raises FormatError for a file that is truncated, altered, foreign, of
    a later version, or does not fit together; OSError if it cannot be opened.
    """
    checked_path(path, "read_student")
    with open_archive(path, "a student of pyedge") as archive:
        document = archive.document()
        try:
            return _student(archive, document)
        except FormatError:
            raise
        except (ValueError, OverflowError, RecursionError) as error:
            raise FormatError(f"{path}: {error}") from error


def _student(archive: Archive, document: dict[str, Any]) -> StudentFile:
    if document.get("format") != FORMAT:
        archive.fail("not a student of pyedge")
    version = document.get("version")
    if type(version) is not int or not 1 <= version <= VERSION:
        archive.fail(
            f"a student file of version {version!r}; this pyedge reads versions 1 to {VERSION}"
        )
    names = set(_names(version))
    for name in sorted({"format", "version", *names} ^ document.keys()):
        archive.fail(f"graph.json {'lacks' if name in names else 'holds an unknown'} {name!r}")
    specs = {part: _specs(archive, document, part) for part in ("arrays", "state")}
    described = document.get("statistics")
    special = {"arrays", "state", "kept", "statistics", "made", "input_scales", "weight_scales"}
    plain = {name: _tuple(document[name]) for name in names - special}
    stored: set[str] = set()
    if "made" in names:
        plain["made"], stored = _seeds(document["made"])
    if "weight_scales" in names:
        scales = _listed(document["weight_scales"])
        plain["input_scales"] = _pairs(document["input_scales"])
        plain["weight_scales"] = dict.fromkeys(scales, np.empty(0, np.float32))
    student = StudentFile(**plain, kept=_kept(archive, document["kept"]), arrays={}, state={})
    check_description(student, specs["arrays"])
    check_made(student.made, specs["arrays"])
    sums = {} if described is None else specs_of(described)
    expected = {_member("statistics", name): spec for name, spec in sums.items()}
    for part, each in specs.items():
        for name, spec in each.items():
            if part == "arrays" and name in student.weight_scales:
                expected[_member("int8", name)] = ArraySpec("int8", spec.shape)
                expected[_member("scales", name)] = ArraySpec("float32", spec.shape[:1])
            elif part != "arrays" or name not in student.made or name in stored:
                expected[_member(part, name)] = spec
    archive.check_names(expected)
    for part, loaded in (("arrays", student.arrays), ("state", student.state)):
        assert isinstance(loaded, dict)  # made a few lines above
        for name, spec in specs[part].items():
            if part == "arrays" and name in student.made and name not in stored:
                loaded[name] = made_weight(student.made[name], *spec.shape)
            elif part == "arrays" and name in student.weight_scales:
                loaded[name] = _weight(archive, student, name, spec)
            else:
                loaded[name] = archive.array(_member(part, name), spec)
    if described is not None:
        arrays = {n: archive.array(_member("statistics", n), spec) for n, spec in sums.items()}
        student = replace(student, statistics=loaded_statistics(described, arrays))
    check_values(student)
    return student


def _version_of(student: StudentFile) -> int:
    if student.input_scales or student.weight_scales:
        return 3
    later = student.statistics is not None or bool(student.head) or bool(student.made)
    return 2 if later else 1


def _names(version: int) -> list[str]:
    """Return the keys of graph.json that are fields of a StudentFile."""
    later = {name for since, names in _LATER.items() if since > version for name in names}
    return [each.name for each in fields(StudentFile) if each.name not in later]


def _listed(names: Any) -> list[str]:
    """Return the names of arrays that stand in the file in 8 bits."""
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"weight_scales: wanted a list of names of arrays, got {shown(names)}")
    if len(set(names)) != len(names):
        raise ValueError(f"weight_scales: wanted different arrays, got {shown(names)}")
    return names


def _pairs(scales: Any) -> Any:
    if not isinstance(scales, dict):
        return scales
    return {name: _tuple(pair) for name, pair in scales.items()}


def _weight(
    archive: Archive, student: StudentFile, name: str, spec: ArraySpec
) -> NDArray[np.float32]:
    """Return an array that stands in the file in 8 bits, and keep its scales."""
    scales = archive.array(_member("scales", name), ArraySpec("float32", spec.shape[:1]))
    if not np.isfinite(scales).all() or (scales < 0).any():
        raise ValueError(f"weight_scales: {name!r}: wanted finite numbers from 0")
    assert isinstance(student.weight_scales, dict)  # made in _student
    student.weight_scales[name] = scales
    numbers = archive.array(_member("int8", name), ArraySpec("int8", spec.shape))
    weight = weight_of(numbers, scales)
    weight.flags.writeable = False
    return weight


def _seeds(made: Any) -> tuple[dict[str, int], set[str]]:
    """Return the seeds of arrays that are made, for `check_made`, and which are stored anyway."""
    if not isinstance(made, dict):
        raise ValueError(f"made: wanted seeds by the names of arrays, got {shown(made)}")
    for name, entry in made.items():
        if not isinstance(entry, dict) or entry.keys() != {"seed", "stored"}:
            raise ValueError(f"made: {name!r:.80}: wanted seed and stored, got {shown(entry)}")
        if not isinstance(entry["stored"], bool):
            raise ValueError(
                f"made: {name!r:.80}: stored: wanted true or false, got {shown(entry['stored'])}"
            )
    seeds = {name: entry["seed"] for name, entry in made.items()}
    return seeds, {name for name, entry in made.items() if entry["stored"]}


def _still_made(student: StudentFile) -> dict[str, int]:
    """Return which arrays are still what their seed makes, unchanged by learning."""
    return {
        name: seed
        for name, seed in student.made.items()
        if np.array_equal(student.arrays[name], made_weight(seed, *student.arrays[name].shape))
    }


def _specs(archive: Archive, document: dict[str, Any], part: str) -> dict[str, ArraySpec]:
    listed = document[part]
    if not isinstance(listed, dict):
        archive.fail(f"{part}: wanted an object of arrays by name, got {shown(listed)}")
    specs = {}
    for name, value in listed.items():
        spec = spec_of(value)
        if spec is None:
            archive.fail(f"{part}: {name!r}: wanted a known dtype and a shape, got {shown(value)}")
        specs[name] = spec
    return specs


def _kept(archive: Archive, value: Any) -> tuple[NDArray[np.int64], ...]:
    if not isinstance(value, list) or not all(isinstance(each, list) for each in value):
        archive.fail(f"kept: wanted a list of lists of channels, got {shown(value)}")
    if not all(type(i) is int and 0 <= i < 1 << 24 for each in value for i in each):
        archive.fail(f"kept: wanted channels of the teacher, whole numbers, got {shown(value)}")
    return tuple(np.array(each, np.int64) for each in value)


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _member(part: str, name: str) -> str:
    # a name may hold any printable character; this one is safe in a zip and on a disk
    return f"{part}/{quote(name, safe='')}"
