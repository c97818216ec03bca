"""What a file is: an image that is read, something else that has a name, or junk.

The extension decides if it says something, else the first bytes: a JPEG without an extension is an
image, and a web page saved as .jpg is not.
"""

from __future__ import annotations

import re
from contextlib import suppress
from functools import cache
from importlib import import_module

# Enough to look past an XML declaration and a comment for the <svg> or <html> below.
HEAD_BYTES = 512

SUFFIXES = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".jfi", ".mpo", ".png", ".apng"),
        *(".bmp", ".dib", ".gif", ".ppm", ".pgm", ".pbm", ".pnm", ".tif", ".tiff", ".webp"),
    )
)

_RAW = "a camera's raw file: convert it to JPEG"
_PARTIAL = "an unfinished download or a file in the middle of being written"
_BACKUP = "a backup copy"
_ARCHIVE = "an archive inside: unpack it"
_VIDEO = "a video"
_OTHER = "a format that is not read: convert it to PNG or JPEG"
NO_IMAGE = "no image"

# Formats whose decoder is there or not, as Pillow calls them.
_OPTIONAL = {
    "HEIF": "HEIC: Pillow does not decode it; pip install pillow-heif, or convert it to JPEG",
    "AVIF": "AVIF: this Pillow does not decode it; version 11.3 or newer does",
    "JPEG2000": "JPEG 2000: this Pillow does not decode it; convert it to PNG",
}
_OPTIONAL_SUFFIXES = {
    **dict.fromkeys((".heic", ".heif", ".hif"), "HEIF"),
    **dict.fromkeys((".avif", ".avifs"), "AVIF"),
    **dict.fromkeys((".jp2", ".j2k", ".jpf", ".jpx", ".j2c", ".jpeg2000"), "JPEG2000"),
}

# The extension alone decides: a raw file begins like a TIFF, and Pillow would take its thumbnail;
# an unfinished download begins like the whole.
_BY_NAME = {
    **dict.fromkeys((".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".sr2"), _RAW),
    **dict.fromkeys((".orf", ".rw2", ".raf", ".pef", ".srw", ".raw", ".3fr", ".iiq"), _RAW),
    **dict.fromkeys((".tmp", ".temp", ".part", ".partial", ".crdownload"), _PARTIAL),
    **dict.fromkeys((".download", ".opdownload", ".filepart", ".!ut", ".aria2"), _PARTIAL),
    **dict.fromkeys((".bak", ".old", ".orig", ".swp"), _BACKUP),
    ".thm": "a camera's thumbnail",
    ".ico": "an icon",
    ".cur": "an icon",
    ".lnk": "a Windows shortcut: copy the file itself",
    ".url": "a Windows shortcut: copy the file itself",
}

# Words for what is no image by its bytes either.
_WORDS = {
    **dict.fromkeys((".zip", ".tar", ".gz", ".tgz", ".xz", ".bz2", ".7z", ".rar"), _ARCHIVE),
    **dict.fromkeys((".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg"), _VIDEO),
    **dict.fromkeys((".tga", ".pcx", ".dds", ".icns", ".xbm", ".xpm", ".sgi", ".ras"), _OTHER),
    **dict.fromkeys((".exr", ".hdr", ".fits", ".dcm", ".jxr", ".eps", ".xcf", ".ai"), _OTHER),
    ".svg": "SVG: a drawing, not pixels",
    ".psd": "PSD: export it to PNG or JPEG",
    ".jxl": "JPEG XL: Pillow does not decode it",
    ".pdf": "PDF: a document, not an image",
}

# What file managers, operating systems and network drives leave behind; nobody means these.
_JUNK_FILES = frozenset(
    (
        *("ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r", "_ds_store"),
        *("picasa.ini", "zbthumbnail.info", "autorun.inf", "albumartsmall.jpg"),
    )
)
_JUNK_FOLDERS = frozenset(
    (
        *("__macosx", "@eadir", "@synoresource", "#recycle", "#snapshot", "@recycle"),
        *("@recently-snapshot", "$recycle.bin", "recycler", "system volume information"),
        *("lost+found", "network trash folder", "temporary items", "__pycache__"),
    )
)
_HIDDEN_JUNK = re.compile(
    r"\.(git.*|svn|hg|dvc.*|ipynb_checkpoints|thumbnails|thumb.*|@__thumb|trash.*|trashes"
    r"|cache|appledouble|appledb|fseventsd|spotlight-v100|temporaryitems|documentrevisions-v100"
    r"|idea|vscode|venv|sync|stfolder|stversions|dropbox.*|synology.*|snapshots?"
    r"|tmp\.drive.*)",
    re.IGNORECASE,
)

_CIFAR_BATCH = re.compile(r"(data_batch_[1-5]|test_batch)(\.bin)?")


def suffix_of(name: str) -> str:
    """Return the extension in lower case, with its dot, or "" without one."""
    base = name.rsplit("/", 1)[-1]
    stem, dot, end = base.rpartition(".")
    return f".{end.lower()}" if stem and dot else ""


def is_junk(part: str, folder: bool) -> bool:
    """Tell whether a file is junk by its name, so that nobody need be told of it.

    Known hidden folders count as junk, and hidden files that are not images.
    """
    lower = part.lower()
    if folder:
        return lower in _JUNK_FOLDERS or bool(is_hidden(part) and _HIDDEN_JUNK.fullmatch(part))
    if lower in _JUNK_FILES or lower.startswith(("._", "~$", "thumbs.db")):
        return True
    if lower.endswith("zone.identifier"):  # what Windows notes beside a download, seen from Linux
        return True
    suffix = suffix_of(part)
    return is_hidden(part) and suffix not in SUFFIXES and suffix not in _OPTIONAL_SUFFIXES


def is_hidden(part: str) -> bool:
    """Tell whether a name is hidden by a leading dot."""
    return part.startswith(".") and part not in (".", "..")


def is_image(name: str) -> bool:
    """Tell by its extension whether a file is an image."""
    suffix = suffix_of(name)
    optional = _OPTIONAL_SUFFIXES.get(suffix)
    return suffix in SUFFIXES or (optional is not None and decodes(optional))


def refused_by_name(name: str) -> str | None:
    """Say why a file is not an image whatever its bytes are, or None if the bytes decide."""
    suffix = suffix_of(name)
    if suffix in _OPTIONAL_SUFFIXES:
        return _OPTIONAL[_OPTIONAL_SUFFIXES[suffix]]
    if name.endswith("~"):
        return _BACKUP
    if _CIFAR_BATCH.fullmatch(name.rpartition("/")[2]):
        return "a batch of CIFAR-10: pyedge.data.load_cifar10 reads it, or load_dataset"
    return _BY_NAME.get(suffix)


def raw(name: str) -> str | None:
    """Say why a camera's raw file, which begins like a TIFF, is not read; None for others."""
    return _RAW if _BY_NAME.get(suffix_of(name)) is _RAW else None


def refused_by_content(name: str, head: bytes) -> str | None:
    """Say why a file without an image's extension is not an image, or None if its bytes are one.

    `head`: its first HEAD_BYTES bytes.
    """
    found = format_of(head)
    if found is not None:
        return None if decodes(found) else _OPTIONAL[found]
    return _WORDS.get(suffix_of(name)) or foreign(head) or NO_IMAGE


def foreign(head: bytes) -> str | None:
    """Name what a file is if it surely is not an image that can be read, else None.

    For files with an image's extension; all others of these are images, or broken ones.
    """
    found = format_of(head)
    if found is not None and not decodes(found):
        return _OPTIONAL[found]
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body", b"<script")):
        return "a web page, HTML, saved under this name"
    if text.startswith((b"<svg", b"<?xml", b"<!doctype svg", b"<!--")):
        return _WORDS[".svg"] if b"<svg" in text else "XML"
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer in place of the file: git lfs pull"
    for magic, words in (
        (b"%PDF", _WORDS[".pdf"]),
        (b"8BPS", _WORDS[".psd"]),
        (b"\x00\x00\x00\x0cJXL ", _WORDS[".jxl"]),
        (b"\xff\x0a", _WORDS[".jxl"]),
        (b"PK\x03\x04", _ARCHIVE),
        (b"\x1f\x8b", _ARCHIVE),
        (b"Rar!", _ARCHIVE),
        (b"7z\xbc\xaf", _ARCHIVE),
        (b"\x1aE\xdf\xa3", _VIDEO),
        (b"FUJIFILMCCD-RAW", _RAW),
    ):
        if head.startswith(magic):
            return words
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return _VIDEO
    if head[:4] in (b"II*\0", b"II\x1a\0") and head[8:11] in (b"CR\x02", b"HEA"):
        return _RAW
    if head[4:8] == b"ftyp" and found is None:
        return _RAW if head[8:12] == b"crx " else _VIDEO
    return None


_PNM = re.compile(rb"P[1-6]\s+(#[^\n]*\s+)*\d+\s")
_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)


def format_of(head: bytes) -> str | None:
    """Return Pillow's name of an image's format, by its first bytes; None for anything else."""
    for magic, name in (
        (b"\xff\xd8\xff", "JPEG"),
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"GIF87a", "GIF"),
        (b"GIF89a", "GIF"),
        (b"II*\0", "TIFF"),
        (b"MM\0*", "TIFF"),
        (b"II+\0", "TIFF"),
        (b"MM\0+", "TIFF"),
        (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG2000"),
        (b"\xff\x4f\xff\x51", "JPEG2000"),
    ):
        if head.startswith(magic):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] == b"ftyp":
        brands = {head[i : i + 4] for i in range(8, min(len(head), 64), 4)}
        if brands & {b"avif", b"avis"}:
            return "AVIF"
        heic = {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"}
        return "HEIF" if brands & heic else None
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    return "PPM" if _PNM.match(head) else None


# What the bytes may be, whatever the name says: Pillow would hand EPS to an installed Ghostscript.
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP")
_PLUGINS = (("JPEG2000", "Jpeg2KImagePlugin", "jpg_2000"), ("AVIF", "AvifImagePlugin", "avif"))


@cache
def formats() -> tuple[str, ...]:
    """Return the Pillow formats that are decoded here; HEIF if pillow-heif is installed.

    Raises ImportError without Pillow.
    """
    from PIL import features

    more = []
    for name, module, feature in _PLUGINS:
        with suppress(ImportError):  # older versions of Pillow lack the one or the other
            import_module(f"PIL.{module}")
            if features.check(feature):
                more.append(name)
    with suppress(ImportError):
        import_module("pillow_heif").register_heif_opener()
        more.append("HEIF")
    return (*_FORMATS, *more)


def decodes(name: str) -> bool:
    """Tell whether a format is decoded here; yes without Pillow: the first image asks for it."""
    if name in _FORMATS:
        return True
    try:
        return name in formats()
    except ImportError:
        return True
