"""Two processes on the CPU take the steps that one takes.

Spawned processes import this file's neighbours by name, so everything that travels is defined at
the top of a module.
"""

from __future__ import annotations

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from pyedge.cloud.shown import shown_to
from pyedge.cloud.training.fitnet import Hinted
from pyedge.cloud.training.loop import DivergedError, Job, Trainer
from pyedge.cloud.training.objectives import (
    HintObjective,
    LabelObjective,
    SoftTargetObjective,
    TransferObjective,
)
from pyedge.cloud.training.train_options import TrainOptions
from pyedge.cloud.training.transfer import transfer
from tests.support.tiny_pair import batches, pair, state_of, taught_pair

# The sum over a batch is split in two and added in another order: float32 rounding, over 6 steps.
TOLERANCE = 2e-5
QUICK = TrainOptions(epochs=2, lr=0.05, batch_norm="frozen", progress=False)
TWO = QUICK.replace(accelerator="cpu", devices=2, strategy="ddp_spawn")


class Sharded:
    """A loader as pyedge.data.BatchLoader shares itself out; the last batch has an odd length."""

    def __init__(self, rank: int = 0, world: int = 1, poisoned: bool = False) -> None:
        self.rank, self.world, self.poisoned = rank, world, poisoned

    def shard(self, rank: int, world: int) -> Sharded:
        return Sharded(rank, world, self.poisoned)

    def __len__(self) -> int:
        return len(batches(images=45))

    def __iter__(self):
        for i, (x, y) in enumerate(batches(images=45)):
            if self.poisoned and i == 1 and self.rank == 0:
                x = x * float("nan")
            yield x[self.rank :: self.world], y[self.rank :: self.world]


def furthest(one: dict[str, Tensor], two: dict[str, Tensor]) -> float:
    return max(
        float((a.double() - b.double()).abs().max())
        for a, b in zip(one.values(), two.values(), strict=True)
    )


def close(one: dict, two: dict) -> None:
    assert one.keys() == two.keys()
    for name, value in one.items():
        if name == "pairs":
            assert two[name] == value
        elif name != "seconds":
            assert two[name] == pytest.approx(value, rel=1e-3, abs=1e-5)


def test_ddp_transfer_takes_the_steps_of_one_process():
    keywords = {"val": Sharded(), "test": batches(seed=2)}
    one, teacher = taught_pair()
    before = state_of(one)
    wanted = transfer(one, teacher, Sharded(), options=QUICK, **keywords)
    two, teacher = taught_pair()
    result = transfer(two, teacher, Sharded(), options=TWO, **keywords)

    assert furthest(state_of(one), state_of(two)) < TOLERANCE
    assert any(not torch.equal(v, before[k]) for k, v in two.state_dict().items())
    assert shown_to(two).uneven == 8  # its process's part of the first batch of 16
    assert result.test.count == wanted.test.count == 48
    assert result.test_accuracy == wanted.test_accuracy
    for row, wanted_row in zip(result.history, wanted.history, strict=True):
        close(wanted_row, row)


def jobs() -> list[Job]:
    """Make runs to do in one pair of processes, each of which takes seconds to start."""
    student, teacher = taught_pair()
    images = TransferObjective(
        teacher, [student.kept(0), student.kept(1)], labels=False, lambdas=(0.0, 1.0, 0.0),
        norms="image", teacher_batch_norm="frozen",
    )  # fmt: skip
    convs = QUICK.replace(trainable=student.last_convs)
    hinted, hinted_teacher = pair(), taught_pair()[1]
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        model = Hinted(hinted[0], 0, 4, 6)
    hint = QUICK.replace(trainable=("regressor", "student.groups.0"))
    soft, soft_teacher = taught_pair()
    distilled = SoftTargetObjective(
        soft_teacher, labels=True, temperature=4.0, soft_weight=1.0, teacher_batch_norm="frozen"
    )
    bad, _ = taught_pair()
    rest = (None, None, None)
    return [
        Job("images", student, images, Sharded(), *rest, convs),
        Job("hint", model, HintObjective(hinted_teacher, 0, "frozen"), Sharded(), *rest, hint),
        Job("soft", soft, distilled, Sharded(), *rest, QUICK),
        Job("nan", bad, LabelObjective(), Sharded(poisoned=True), *rest, QUICK),
    ]


def run_all(fabric: Fabric, folder: str) -> None:
    """Run every job, the last of which must diverge, and leave the weights in a file."""
    todo = jobs()
    for job in todo[:-1]:
        Trainer(fabric, job).fit()
    with pytest.raises(DivergedError, match=r"nan: J_3 .*not finite .*step 2 of 6"):
        Trainer(fabric, todo[-1]).fit()
    if fabric.global_rank == 0:
        torch.save([job.model.state_dict() for job in todo], f"{folder}/states")


@pytest.mark.exhaustive  # another pair of processes, for the objectives that transfer has not
def test_ddp_objectives_take_the_steps_of_one_process(tmp_path):
    run_all(Fabric(accelerator="cpu", devices=1), str(tmp_path))
    wanted = torch.load(tmp_path / "states")
    fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp_spawn")
    fabric.launch(run_all, str(tmp_path))
    found = torch.load(tmp_path / "states")
    for one, two, job in zip(wanted, found, jobs(), strict=True):
        assert furthest(one, two) < TOLERANCE, job.title
        moved = furthest(two, job.model.state_dict())
        assert (moved == 0) if job.title == "nan" else (moved > 100 * TOLERANCE), job.title


def test_ddp_refuses_a_loader_that_cannot_be_shared():
    student, teacher = pair()
    with pytest.raises(TypeError, match="to be shared between processes, got a list"):
        transfer(student, teacher, batches(), options=TWO)
    x, y = (torch.cat(part) for part in zip(*batches(), strict=True))
    loader = DataLoader(TensorDataset(x, y), 8)
    with pytest.raises(ValueError, match=r"resume .*several devices .*pyedge\.data\."):
        transfer(student, teacher, loader, options=TWO, resume=True, checkpoint="x")


def test_ddp_names_what_cannot_travel():
    student, teacher = pair()
    with pytest.raises(TypeError, match="can be pickled"):
        transfer(student, teacher, Sharded(), val=Sharded(), score=lambda e: e.loss, options=TWO)
