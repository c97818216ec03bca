"""How large knowledge packs are, for the paper's students: `python -m bench.knowledge_sizes`.

Counted from the shapes, as `pyedge.knowledge_bytes` does; numpy alone is needed.
"""

from __future__ import annotations

import argparse

from bench.shared.students import WIDTHS, make_student
from pyedge.knowledge.format import DTYPES, GroupSpec, Manifest

_IMAGES = 1000


def pack_bytes(name: str, dtype: str, side: int, classes: int = 10) -> float:
    """Return the bytes of one view of one image, headers left out, for images of `side` pixels."""
    student = make_student(name, classes)
    scale = side // student.input_shape[1]
    groups = []
    for tap, blocks in zip(student.taps, student.candidates, strict=True):
        c, h, w = student.shapes[tap]
        groups.append(GroupSpec(blocks, (h * scale, w * scale, c)))
    manifest = Manifest(
        images=_IMAGES,
        views=1,
        classes=tuple(map(str, range(classes))),
        dtype=dtype,
        input_shape=(3, side, side),
        groups=tuple(groups),
        student="",
        teacher="",
        image_set="",
    )
    return sum(spec.nbytes for spec in manifest.arrays().values()) / _IMAGES


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=32, help="pixels, a multiple of 32")
    side = parser.parse_args().side
    if side < 32 or side % 32:
        parser.error(f"--side must be a multiple of 32, got {side}")
    print(f"images of {side} x {side}; one view of an image, and of 5,000 images")
    print(f"{'student':10}" + "".join(f"{dtype:>12}{'5,000':>10}" for dtype in DTYPES))
    for name in WIDTHS:
        cells = []
        for dtype in DTYPES:
            size = pack_bytes(name, dtype, side)
            cells.append(f"{size / 1e3:>9,.0f} kB{5000 * size / 1e9:>7.2f} GB")
        print(f"{name:10}" + "".join(cells))


if __name__ == "__main__":
    main()
