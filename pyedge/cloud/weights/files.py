"""Any file that may hold weights, to tensors by name; or what the file is, if it holds none."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pyedge.cloud.tables import count
from pyedge.cloud.tensor_file import says_folder
from pyedge.cloud.weights.names import averaged
from pyedge.errors import FormatError

_HEAD_BYTES = 512
_READ_BYTES = 1 << 20
_DEEPEST = 6  # containers in containers
_SAVE = "torch.save(model.state_dict(), path)"


@dataclass(frozen=True)
class WeightFile:
    """Tensors of a file, by dotted names that begin with the keys of the dicts around them.

    in_order: whether they come in the order of the network's layers, as torch writes them.
    """

    tensors: dict[str, Tensor]
    in_order: bool


def read_weights(path: str | os.PathLike[str]) -> WeightFile:
    """Read a file of torch.save or safetensors, whatever its name; no code in it is executed.

    Raises FormatError for a file without weights, and says what the file is and what to do; OSError
    if it cannot be opened.
    """
    if os.path.isdir(path):
        raise FormatError(f"{path}: a folder, wanted a file of weights{_files_in(path)}")
    with open(path, "rb") as file:
        head = file.read(_HEAD_BYTES)
    if _is_safetensors(head):
        return WeightFile(_safetensors(path), in_order=False)
    other = _other_kind(path, head)
    if other is not None:
        raise FormatError(f"{path}: {other}")
    content = _unpickled(path)
    tensors = dict(_flat(content))
    if isinstance(content, Tensor) or not tensors:
        raise FormatError(f"{path}: {_what(content)}, wanted weights by name, as {_SAVE} writes")
    return WeightFile(tensors, in_order=True)


def part_in_words(path: str | os.PathLike[str], prefix: str) -> str:
    """Write Python code for the part of a file whose names begin with `prefix` and a dot."""
    with open(path, "rb") as file:
        plain = _is_safetensors(file.read(_HEAD_BYTES))
    content: Any = None if plain else _unpickled(path)
    text = "safetensors.torch.load_file(path)" if plain else "torch.load(path)"
    rest = prefix
    while rest and content is not None:
        inner = isinstance(content, (list, tuple))
        pairs = enumerate(content) if inner else content.items()
        for key, value in pairs:
            start = f"{rest}.".startswith(f"{key}.")
            if start and isinstance(value, (dict, list, tuple)):
                text, content, rest = f"{text}[{key!r}]", value, rest[len(str(key)) + 1 :]
                break
        else:
            break
    whole = "_modules" in getattr(content, "__dict__", {})  # a pickled network, with code in it
    if not rest and not whole:
        return text
    start_of = f"{rest}."
    if whole or (content is not None and not any(str(k).startswith(start_of) for k in content)):
        start_of = f"{prefix}."
        text = "pyedge.cloud.weights.files.read_weights(path).tensors"
    return (
        f"{{k.removeprefix({start_of!r}): v for k, v in {text}.items() "
        f"if k.startswith({start_of!r})}}"
    )


def _files_in(path: str | os.PathLike[str]) -> str:
    names = sorted(os.listdir(path))
    if "data.pkl" in names:
        return " (this one is a file of torch.save that was unpacked; download it again)"
    likely = [n for n in names if n.endswith((".safetensors", ".bin", ".pt", ".pth", ".ckpt"))]
    return f", such as {os.path.join(path, likely[0])}" if likely else ""


def _is_safetensors(head: bytes) -> bool:
    """Tell whether a file begins with an 8-byte length and JSON, even if it is truncated."""
    return len(head) > 8 and head[8:10] in (b'{"', b"{}", b"{ ", b"{\n") and head[7] == 0


def _safetensors(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, ValueError, KeyError) as error:
        raise FormatError(
            f"{path}: a damaged or truncated safetensors file ({error}); download it again"
        ) from error


def _other_kind(path: str | os.PathLike[str], head: bytes) -> str | None:
    """Say what a file is, by its first bytes, if it certainly does not hold torch weights."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    again = "the download went wrong"
    if not head:
        return "an empty file"
    if text.startswith(b"version https://git-lfs"):
        return "a pointer of git-lfs and not the weights; `git lfs pull` fetches them"
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<script")):
        return f"a web page and not weights; {again}"
    if text.startswith((b"{", b"[")):
        index = " (the index of weights in several files)" if b"weight_map" in text else ""
        return f"text (JSON){index} and not weights" + ("" if index else f"; {again}")
    for start, what in (
        (b"\x89HDF", "an HDF5 file, as Keras writes; pyedge reads weights of torch"),
        (b"\x93NUMPY", "one array of numpy, without names"),
        (b"\x1f\x8b", "packed with gzip; unpack it first"),
        (b"\xfd7zXZ", "packed with xz; unpack it first"),
        (b"BZh", "packed with bzip2; unpack it first"),
        (b"7z\xbc\xaf", "a 7z archive; unpack it first"),
        (b"Rar!", "a rar archive; unpack it first"),
        (b"\x28\xb5\x2f\xfd", "packed with zstd; unpack it first"),
    ):
        if head.startswith(start):
            return what
    if head[4:8] == b"TFL3":
        return "a network of TensorFlow Lite; pyedge reads weights of torch"
    if head[257:262] == b"ustar" and not zipfile.is_zipfile(path):
        return "a tar archive; unpack it first"
    if head[:1] == b"\x08" and re.search(rb"pytorch|onnx|tf2onnx|keras2onnx", text):
        return "an ONNX network; pyedge reads weights of torch"
    if head.startswith(b"PK\x03\x04"):
        return _other_zip(path)
    return None


def _other_zip(path: str | os.PathLike[str]) -> str | None:
    """Say what a zip archive is if torch.save did not write it, else None."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            packed = any(m.compress_type != zipfile.ZIP_STORED for m in archive.infolist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError):
        return f"truncated or damaged (wanted what {_SAVE} writes); copy or download it again"
    leaves = {name.rpartition("/")[2] for name in names}
    if "constants.pkl" in leaves:
        return (
            "a TorchScript program, which would have to be run; where you trust it: "
            "torch.save(torch.jit.load(path).state_dict(), another)"
        )
    if any("serialized_exported_program" in n or "/models/" in f"/{n}" for n in names):
        return f"a program of torch.export; make weights of it with {_SAVE}"
    if "graph.json" in names:
        return "a student file for devices (.pyedge), whose teacher's weights are not in it"
    if "model.weights.h5" in names:
        return "a network of Keras; pyedge reads weights of torch"
    if names and all(name.endswith(".npy") for name in names):
        return (
            "an archive of numpy arrays (.npz); make tensors of it: "
            "torch.save({k: torch.from_numpy(v) for k, v in numpy.load(path).items()}, another)"
        )
    if "data.pkl" not in leaves:
        inside = [name for name in names if name.endswith((".pt", ".pth", ".safetensors", ".bin"))]
        return f"a zip archive{f' that holds {inside[0]}' if inside else ''}; unpack it first"
    if packed:
        return "packed again by another program; wanted torch.save's own archive"
    return _damage(path)


def _damage(path: str | os.PathLike[str]) -> str | None:
    """Name a damaged member, since torch itself does not check the archive's checksums."""
    damaged, whole = [], 0
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if says_folder(member):
                damaged.append(member.filename)
                continue
            try:
                with archive.open(member) as file:
                    while file.read(_READ_BYTES):
                        pass
                whole += 1
            except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError):
                damaged.append(member.filename)
            except OSError as error:
                if error.errno != errno.EINVAL:  # a place in the file before its start
                    raise
                damaged.append(member.filename)
    if damaged and whole:  # torch can leave the checksums out, of all members
        return f"damaged at {damaged[0]}; copy or download it again"
    return None


class _Aside:
    """A stand-in, without code to run, for the class of any object besides the weights.

    Its "instances" are dicts, with the object's attributes in their __dict__; torch's reader fills
    them.
    """

    def __new__(cls, *arguments: Any) -> OrderedDict[Any, Any]:  # type: ignore[misc]
        return OrderedDict()


class _Number:
    """A stand-in for numpy's arrays and numbers, whose content does not matter here."""

    def __init__(self, *arguments: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def _unpickled(path: str | os.PathLike[str]) -> Any:
    """Read a torch pickle with torch's restricted reader, which runs no code from the file.

    Names of code in it (a script's arguments, numpy numbers, a whole network) all become `_Aside`
    or `_Number`, so that other objects do not keep the weights from being read.
    """
    asides: set[str] = set()
    while True:
        try:
            stands: list[Any] = [(_Number if n.startswith("numpy.") else _Aside, n) for n in asides]
            with warnings.catch_warnings(), torch.serialization.safe_globals(stands):
                warnings.simplefilter("ignore")  # of kinds of tensors that torch means to give up
                return torch.load(path, map_location="cpu", weights_only=True)
        except OSError:
            raise
        except Exception as error:  # pickle and zip have many ways to fail
            found = re.search(r"Unsupported global: GLOBAL ([\w.]+)", str(error))
            names = {found[1], f"builtins.{found[1]}"} if found else set()
            if names <= asides:
                raise FormatError(f"{path}: {_refused(str(error), asides)}") from error
            with contextlib.suppress(ValueError):  # files of before torch 1.6: one by one
                names |= set(torch.serialization.get_unsafe_globals_in_checkpoint(path))
            asides |= names


def _refused(error: str, asides: set[str]) -> str:
    blocked = re.search(r"GLOBAL (\S+) whose module \S+ is blocked", error)
    if blocked:
        return f"would run {blocked[1]} when it is opened, and is not read: no weights need that"
    named = sorted(name for name in asides if not name.startswith("builtins."))
    if named:
        return (
            f"holds objects ({', '.join(named[:3])}) that cannot be read without running "
            "code. Where you trust the file: x = torch.load(path, weights_only=False), then "
            "torch.save(x.state_dict(), another), or of x['model'] or the like where x is a dict"
        )
    return f"not weights, or damaged ones; wanted what {_SAVE} writes, or safetensors"


def _flat(content: Any, name: str = "", depth: int = 0) -> Iterator[tuple[str, Tensor]]:
    """Yield every tensor with the keys that lead to it, except an optimizer's."""

    def inside(pairs: Iterable[tuple[Any, Any]]) -> Iterator[tuple[str, Tensor]]:
        for key, value in pairs:
            yield from _flat(value, f"{name}.{key}" if name else str(key), depth + 1)

    if isinstance(content, Tensor):
        yield name, content
    elif depth > _DEEPEST:
        return
    elif isinstance(content, dict):
        attributes = getattr(content, "__dict__", {})  # of an object that became an _Aside
        if {"_parameters", "_modules"} <= attributes.keys():
            yield from _module(attributes, name)
        elif not {"param_groups", "state"} <= content.keys() | attributes.keys():
            yield from inside((*content.items(), *attributes.items()))
    # [weights, optimizer], and averages as a list at any depth
    elif isinstance(content, (list, tuple)) and (depth < 2 or averaged(name)):
        yield from inside(enumerate(content))


def _module(state: dict[str, Any], name: str) -> Iterator[tuple[str, Tensor]]:
    """Yield what the state_dict of a pickled nn.Module would hold."""
    start = f"{name}." if name else ""
    silent = state.get("_non_persistent_buffers_set") or ()
    for part in ("_parameters", "_buffers"):
        for key, value in (state.get(part) or {}).items():
            if isinstance(value, Tensor) and key not in silent:
                yield f"{start}{key}", value
    for key, value in state["_modules"].items():
        if value is not None:
            yield from _module({"_modules": {}, **vars(value)}, f"{start}{key}")


def _what(content: Any) -> str:
    """Describe what a file holds instead of weights."""
    if isinstance(content, Tensor):
        size = count(content.numel())
        return f"holds one tensor without a name ({size} values of shape {list(content.shape)})"
    if isinstance(content, dict):
        if {"param_groups", "state"} <= content.keys():
            return "holds the state of an optimizer alone"
        keys = ", ".join(map(str, list(content)[:8]))
        return f"holds no tensors, but {keys}" if content else "holds an empty dict"
    return f"holds an object of type {type(content).__name__}"
