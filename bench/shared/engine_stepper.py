"""Our own contestants: the edge engine on the students of the benchmark."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from bench.shared.contest import CLIP, LOSSES, LR, OPTIMIZER, Answer
from bench.shared.inputs import StepInputs
from bench.shared.students import BenchStudent
from pyedge.kernels import Engine
from pyedge.runs.run_options import DEFAULT_LAMBDAS


class EngineStepper:
    """An engine and one batch of uint8 images, which it standardises itself at every step."""

    def __init__(
        self, student: BenchStudent, inputs: StepInputs, trainable: Collection[str]
    ) -> None:
        self.learned = student.parameters(list(trainable))
        self.inputs = inputs
        self.engine = Engine(
            student.nodes,
            student.arrays,
            list(student.input_shape),
            student.output,
            student.taps,
        )
        self.engine.set_trainable(list(trainable))
        self.engine.set_batch_norm("frozen")
        self.engine.set_optimizer(kind="sgd", **OPTIMIZER, clip=CLIP)
        self.engine.set_preprocessing(kind="image", mean=[], deviation=[])

    def losses(self) -> Mapping[str, Any]:
        """Forward and backward; the gradients stay in the engine."""
        inputs = self.inputs
        rows = np.arange(inputs.batch, dtype=np.int64)
        return self.engine.step(
            inputs.images,
            rows,
            labels=inputs.labels,
            logits=inputs.logits,
            maps=[[(m, None) for m in candidates] for candidates in inputs.maps],
            map_rows=rows,
            norms=[np.ascontiguousarray(squares) for squares in inputs.norms],
            lambdas=DEFAULT_LAMBDAS,
        )

    def answer(self) -> Answer:
        found = self.losses()
        gradients = {name: np.asarray(self.engine.gradient(name)) for name in self.learned}
        return Answer({name: float(found[name]) for name in LOSSES}, gradients)

    def step(self) -> float:
        loss = float(self.losses()["loss"])
        self.engine.update(LR)
        return loss

    def predict(self) -> np.ndarray:
        return self.engine.predict(self.inputs.images)
