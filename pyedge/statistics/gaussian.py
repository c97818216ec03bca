"""What statistics say of the features: a mean for each class, and the spread around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pyedge.classes.matching import listing, places
from pyedge.statistics.grid import square
from pyedge.statistics.sums import Statistics

Matrix = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Gaussian:
    """Classes as clouds of one shape.

    counts float64 [c], means [c, f]: of each class. within [f, f]: the covariance around them,
    pooled over the classes. freedom: the number of images in it, less one for each class.
    """

    counts: Matrix
    means: Matrix
    within: Matrix
    freedom: float

    @classmethod
    def of(cls, statistics: Statistics, classes: Sequence[str]) -> Gaussian:
        """Describe `classes`, in this order.

        Raises ValueError if nothing is known of a class, and for too few images.
        """
        rows = np.array(places(classes, statistics.classes), dtype=np.int64)
        missing = [name for name, row in zip(classes, rows, strict=True) if row < 0]
        if missing:
            raise ValueError(
                f"nothing is known of {listing(missing)}: wanted images of each class, or a "
                "category file"
            )
        counts = statistics.counts[rows].astype(np.float64)
        means = statistics.sums[rows] * statistics.step / counts[:, None]
        described = statistics.described > 0
        number = statistics.described[described].astype(np.float64)
        freedom = float(number.sum() - len(number))
        if freedom < 1:
            raise ValueError(
                f"the spread of the features is not known from {int(number.sum())} images of "
                f"{len(number)} classes: wanted at least two images of a class, and better many"
            )
        scatter = scatter_of(statistics, described)
        return cls(counts, means, scatter * (statistics.step**2 / freedom), freedom)

    def projected(self, rows: Matrix | None) -> Gaussian:
        """Describe rows @ features instead of the features, rows [p, f]; None: the features."""
        if rows is None:
            return self
        return replace(self, means=self.means @ rows.T, within=rows @ self.within @ rows.T)

    def total(self) -> Matrix:
        """Return the covariance of all classes as one cloud, each class counting alike, [f, f]."""
        away = self.means - self.means.mean(axis=0)
        return self.within + away.T @ away / len(away)


def scatter_of(statistics: Statistics, members: NDArray[np.bool_]) -> Matrix:
    """Return the sum of squares around the means of some classes, which must fill their groups.

    float64 [f, f], in squares of the grid's step.
    """
    number = statistics.described[members].astype(np.float64)
    sums = statistics.described_sums[members].astype(np.float64)
    groups = np.unique(statistics.groups[members])
    total = square(statistics.moments[groups[groups >= 0]].sum(axis=0), statistics.features)
    return total - (sums.T / number) @ sums
