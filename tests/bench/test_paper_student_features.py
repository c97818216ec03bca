"""Engine.features of a student of the paper's size, which bench makes: not there on a device."""

from __future__ import annotations

import numpy as np

from bench.shared.students import make_student
from pyedge.kernels import Engine


def test_features_of_a_whole_student_have_the_same_bits_in_any_batch() -> None:
    made = make_student("resnet4")  # Winograd's transforms and all
    shape, images = list(made.input_shape), np.zeros((5, *made.input_shape), np.uint8)
    images[:] = np.random.default_rng(0).integers(0, 256, images.shape)
    engine = Engine(made.nodes, made.arrays, shape, made.output, made.taps)
    engine.set_preprocessing("image")
    features, logits = engine.features(images, node=made.classifier)
    assert features.shape == (5, made.arrays[f"{made.classifier}.weight"].shape[1])
    assert logits.tobytes() == engine.predict(images).tobytes()
    for threads, n in ((1, 1), (2, 2), (3, 4)):
        engine.set_threads(threads)
        parts = [engine.features(images[i : i + n]) for i in range(0, 5, n)]
        joined = np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])
        assert joined[0].tobytes() == features.tobytes()
        assert joined[1].tobytes() == logits.tobytes()
