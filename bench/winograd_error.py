"""How far a 3x3 convolution in 16 and 8 bits is off, direct and by Winograd's forms: numpy alone.

    python -m bench.winograd_error [--channels 128] [--filters 64]

Random tiles behind a ReLU, weights as He et al.'s, all in float64 but for the factors of products:
inputs and weights, or their transforms, are rounded to bfloat16, float16 or 8 bits. Errors are in
norm, from float64. In 8 bits the direct form has a scale for all inputs and one for each filter,
Winograd's one for each patch and position, and for each position and filter; `static` is
Winograd's with a scale for each position alone, of all patches. `saves`: multiplications of the
direct form over those that are left, times two for two products an instruction (four in 8 bits),
which is what a form could gain on float32's direct one.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from bench.shared.arguments import positive

Array = NDArray[np.float64]
Rounding = Callable[[Array], Array]
_TILES = 200
# tile of outputs a side, and its points beside infinity; the engine's are the fourth
FORMS: tuple[tuple[int, tuple[float, ...]], ...] = (
    (2, (0, 1, -1)),
    (3, (0, 1, -1, 0.5)),
    (3, (0, 0.75, -0.75, 1.5)),
    (4, (0, 0.75, -0.75, 1.5, -1.5)),
    (4, (0, 0.625, -0.625, 1.25, -1.25)),
    (4, (0, 1, -1, 2, -0.5)),
    (4, (0, 1, -1, 2, -2)),
)


def main() -> None:
    """Print a line for each form."""
    parser = argparse.ArgumentParser(prog="python -m bench.winograd_error", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--channels", type=positive, default=128, help="of the input (128)")
    parser.add_argument("--filters", type=positive, default=64, help="64")
    options = parser.parse_args()
    print(
        f"{'':32} saves  bfloat16  float16  bfloat16 of inputs, of weights   8 bits   static  "
        "8 bits of inputs, of weights"
    )
    for m, points in ((1, ()), *FORMS):
        name = f"F({m}x{m}) {', '.join(f'{p:g}' for p in points)}" if points else "direct"
        case = _case(m, points, options.channels, options.filters)
        assert case.off(_exact, _exact) < 1e-12
        saves = 2 * 9 * m * m / (m + 2) ** 2 if points else 2
        both, other = case.off(bfloat16, bfloat16), case.off(_float16, _float16)
        parts = case.off(bfloat16, _exact), case.off(_exact, bfloat16)
        inputs, filters = (in_8_bits(axes) for axes in ((3,), (2,)))
        if not points:
            inputs, filters = in_8_bits((0, 1, 2, 3), signed=False), in_8_bits((0, 1, 2))
        static = in_8_bits((0, 3)) if points else inputs
        low = [
            case.off(*each)
            for each in (
                (inputs, filters), (static, filters), (inputs, _exact), (_exact, filters)
            )
        ]  # fmt: skip
        print(
            f"{name:32} {saves:5.2f} {both:9.4f} {other:8.5f} {parts[0]:9.4f} {parts[1]:9.4f}"
            f"{'':13}" + " ".join(f"{each:8.4f}" for each in low)
        )


@dataclass(frozen=True)
class Case:
    """Tiles, weights, what comes of them, and the form's points, none of the direct one."""

    inputs: Array
    weights: Array
    wanted: Array
    points: Sequence[float]

    def off(self, of_inputs: Rounding, of_weights: Rounding) -> float:
        """Return the error in norm with factors rounded so."""
        if self.points:
            found = _winograd(self.inputs, self.weights, self.points, of_inputs, of_weights)
        else:
            found = _direct(of_inputs(self.inputs), of_weights(self.weights))
        return float(np.linalg.norm(found - self.wanted) / np.linalg.norm(self.wanted))


def _case(m: int, points: Sequence[float], channels: int, filters: int) -> Case:
    random = np.random.default_rng(0)
    inputs = np.maximum(random.standard_normal((_TILES, m + 2, m + 2, channels)), 0)
    weights = random.standard_normal((3, 3, channels, filters)) * np.sqrt(2 / (9 * channels))
    return Case(inputs, weights, _direct(inputs, weights), points)


def bfloat16(x: Array) -> Array:
    """Round to the nearest bfloat16, halves to even; finite numbers."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32).astype(np.uint64)
    bits = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16 << 16
    return bits.astype(np.uint32).view(np.float32).astype(np.float64)


def in_8_bits(axes: tuple[int, ...], *, signed: bool = True) -> Rounding:
    """Return what rounds to whole numbers of a scale, of which the largest of `axes` is 127.

    Or 255, of numbers that have no sign.
    """
    steps = 127 if signed else 255

    def rounding(x: Array) -> Array:
        scale = np.abs(x).max(axis=axes, keepdims=True) / steps
        return np.rint(x / np.where(scale > 0, scale, 1)) * scale

    return rounding


def _float16(x: Array) -> Array:
    return x.astype(np.float16).astype(np.float64)


def _exact(x: Array) -> Array:
    return x


def _direct(inputs: Array, weights: Array) -> Array:
    """[tiles, m + 2, m + 2, c], [3, 3, c, o] -> [tiles, m, m, o]."""
    m = inputs.shape[1] - 2
    return sum(
        np.einsum("tijc,co->tijo", inputs[:, y : y + m, x : x + m], weights[y, x])
        for y in range(3)
        for x in range(3)
    )


def _winograd(
    inputs: Array,
    weights: Array,
    points: Sequence[float],
    of_inputs: Rounding,
    of_weights: Rounding,
) -> Array:
    a, b, g = transforms(points)
    patches = np.einsum("ia,jb,tabc->tijc", b, b, inputs, optimize=True)
    matrices = np.einsum("ia,jb,abco->ijco", g, g, weights, optimize=True)
    products = np.einsum("tijc,ijco->tijo", of_inputs(patches), of_weights(matrices), optimize=True)
    return np.einsum("ia,jb,tijo->tabo", a, a, products, optimize=True)


def transforms(points: Sequence[float]) -> tuple[Array, Array, Array]:
    """Toom and Cook's matrices of F(m, 3) for m + 1 points and infinity.

    Returns a [m + 2, m], b [m + 2, m + 2], g [m + 2, 3]: y = a' ((g w) * (b x)).
    """
    at = [Fraction(p) for p in points]
    size = len(at) + 1
    a, b, g = np.zeros((size, size - 2)), np.zeros((size, size)), np.zeros((size, 3))
    for i, point in enumerate(at):
        others = at[:i] + at[i + 1 :]
        distance = np.prod([point - other for other in others])
        a[i] = [float(point**j) for j in range(size - 2)]
        g[i] = [float(point**j / distance) for j in range(3)]
        b[i, : size - 1] = _polynomial(others)
    a[-1, -1] = g[-1, -1] = 1
    b[-1] = _polynomial(at)
    return a, b, g


def _polynomial(roots: Sequence[Fraction]) -> list[float]:
    """Coefficients of the product of (x - root), the lowest first."""
    found = [Fraction(1)]
    for root in roots:
        lower, higher = [*(-root * c for c in found), Fraction(0)], [Fraction(0), *found]
        found = [x + y for x, y in zip(lower, higher, strict=True)]
    return [float(c) for c in found]


if __name__ == "__main__":
    main()
