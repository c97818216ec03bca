"""Figure 1: the activation maps of the first convolution's filters, for one image.

The picture is `pyedge.cloud.compression.report`'s, without the distorted input that the paper shows
besides; the figures are each filter's zero fraction for that image, and over the profiled ones.
"""

from __future__ import annotations

import base64
import io

from bench.paper.cutting import Cutting, plan_student
from bench.paper.rows import Figures, Row, Workshops
from bench.paper.workshop import Workshop
from pyedge.cloud.compression.report import figure_activation_maps
from pyedge.data import BatchLoader, standardise

_DOTS_PER_INCH = 70


def rows(shops: Workshops) -> list[Row]:
    """Return one row: the teacher of CIFAR-10."""
    shop = shops.of("cifar")
    return [Row("cifar", "first convolution", lambda seed: _maps(shop, seed), once=True)]


def _maps(shop: Workshop, seed: int) -> Figures:
    world = shop.world
    loader = BatchLoader(shop.parts.train, world.batch_size, seed=seed)
    plan = plan_student(
        shop.teacher.network, loader, Cutting(world.smallest), seed, world.profile_images
    )
    image = standardise(shop.parts.test.images[seed : seed + 1])[0]
    buffer = io.BytesIO()
    figure_activation_maps(plan, image).savefig(buffer, format="png", dpi=_DOTS_PER_INCH)
    first = next(layer for layer in plan.layers if layer.source in plan.profile.convs)
    fractions = plan.profile.convs[first.source].zero_fraction
    return {
        "convolution": first.source,
        "filters": first.filters,
        "kept": first.width,
        "zero_fractions": [round(each, 4) for each in fractions.tolist()],
        "png": base64.b64encode(buffer.getvalue()).decode(),
    }
