"""The one training loop: `train`, `transfer` and `fitnet` differ only in their objective."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from pyedge.cloud.feed.batch import Source, not_finite
from pyedge.cloud.feed.failures import fail_in_network, is_batch_norm_of_one
from pyedge.cloud.feed.loaders import Feed, nothing
from pyedge.cloud.shown import Watch
from pyedge.cloud.training.checkpoint import load_checkpoint, save_checkpoint
from pyedge.cloud.training.evaluate import (
    Evaluation,
    check_first_batch,
    evaluate_from,
)
from pyedge.cloud.training.history import Diary, TrainResult
from pyedge.cloud.training.intake import Intake
from pyedge.cloud.training.objectives import Objective
from pyedge.cloud.training.progress import TrainingBar
from pyedge.cloud.training.setting import (
    moved,
    own_random_numbers,
    random_state,
    set_random_state,
)
from pyedge.cloud.training.train_options import TrainOptions, learning_rate
from pyedge.cloud.training.trainable import only_trainable, training_mode
from pyedge.errors import DivergedError, FormatError
from pyedge.files.atomic import find_target
from pyedge.runs.evaluation import check_score, scored
from pyedge.runs.state import RunState
from pyedge.warning import warn


@dataclass
class Job:
    """Everything a run needs, in one value that can travel to another process."""

    title: str
    model: nn.Module
    objective: Objective
    loader: Any
    val: Any
    test: Any
    score: Callable[[Evaluation], float] | None
    options: TrainOptions

    @property
    def function(self) -> str:
        """The function that was called, whichever of its stages this is."""
        return self.title.partition(" ")[0]


class _Step(nn.Module):
    """One forward pass to the loss, as the module that Fabric wraps (autocast, data parallel)."""

    def __init__(self, model: nn.Module, objective: Objective, distributed: bool) -> None:
        super().__init__()
        self.model = model
        self._objective = objective
        self._distributed = distributed

    def forward(
        self, x: Tensor, y: Tensor | None
    ) -> tuple[Tensor, dict[str, Tensor], tuple[int, ...]]:
        found = self._objective.step(self.model, x, y, self._distributed)
        return found.loss, found.parts, found.pairs


class Trainer:
    """One run on one process: the loop, its evaluations and its checkpoints."""

    def __init__(self, fabric: Fabric, job: Job) -> None:
        check_score(job.score, job.function)
        self._fabric = fabric
        self._job = job
        self._options = job.options
        self._model = job.model
        self._distributed = fabric.world_size > 1
        self._state = RunState()
        self._kept: dict[str, Tensor] = {}
        self._layout = torch.channels_last if job.options.channels_last else torch.preserve_format
        self._source = Source(job.function)
        self._loader = _shared(job.loader, fabric)
        self._watch = Watch(job.model, job.title, learns=True)
        self._batches = _length(job.loader if not self._distributed else self._loader)
        self._total = self._total_steps()
        on_cpu = fabric.device.type == "cpu"
        self._diary = Diary(read_every=1 if on_cpu else 20)
        self._resume_rng: dict[str, Tensor] | None = None
        self._intake = Intake(
            fabric, job.model, self._source, labels=job.objective.labels, layout=self._layout
        )
        self._left_out = False

    def _total_steps(self) -> int:
        if self._options.steps is not None:
            return self._options.steps
        if self._batches is None:
            raise ValueError(
                f"{self._source} has no length, so epochs cannot be planned; pass steps"
            )
        if not self._batches:
            raise ValueError(nothing(self._loader, self._source))
        return self._options.epochs * self._batches

    def fit(self) -> TrainResult:
        """Train, evaluate the kept weights on the test set, restore what was set for the run."""
        with ExitStack() as stack:
            stack.enter_context(own_random_numbers(self._fabric.device))
            stack.enter_context(only_trainable(self._model, self._options.trainable))
            stack.enter_context(moved(self._model, self._fabric.device, self._layout))
            self._job.objective.prepare(self._fabric.device, self._layout)
            stack.enter_context(self._job.objective.running())
            self._set_up()
            try:
                self._train()
            except DivergedError:
                self._model.load_state_dict(self._kept)
                raise
            if self._options.keep_best and self._job.val is not None:
                self._model.load_state_dict(self._kept)
            test = self._evaluate("test")
        s = self._state
        return TrainResult(
            s.history,
            s.best_epoch,
            s.best_step,
            s.best_score,
            test,
            s.step,
            s.seconds,
            s.stopped_early,
        )

    def _set_up(self) -> None:
        training_mode(self._model, self._options.batch_norm)
        step = _Step(self._model, self._job.objective, self._distributed)
        optimizer = _optimizer(self._model, self._options)
        self._module, self._optimizer = self._fabric.setup(step, optimizer)
        self._kept = _snapshot(self._model)
        with self._fabric.autocast():  # now, not after an epoch
            self._job.val = self._looked_at("val")
            self._job.test = self._looked_at("test")
        path = self._options.checkpoint
        if self._options.resume and path is not None and Path(path).exists():
            self._restore(load_checkpoint(path))
        if path is not None and self._state.step < self._total:
            find_target(path)  # raises now what writing would raise after hours

    def _looked_at(self, name: str) -> Any:
        loader = getattr(self._job, name)
        if loader is None:
            return None
        source = Source(self._job.function, name)
        return check_first_batch(self._model, loader, source, self._fabric.device)

    def _train(self) -> None:
        shown = self._options.progress and self._fabric.global_rank == 0
        with TrainingBar(self._job.title, self._total, shown) as self._bar:
            while self._state.step < self._total and not self._state.stopped_early:
                self._epoch()

    def _epoch(self) -> None:
        state, every = self._state, self._options.eval_every
        for batch in self._epoch_batches():
            began = time.perf_counter()
            self._batch(batch)
            state.batch += 1
            state.seconds += time.perf_counter() - began
            last = state.step == self._total
            if every and (state.step % every == 0 or last):
                self._validate(state.epoch + 1)
            if last or state.stopped_early:
                break
        if not state.batch:
            self._refuse_nothing()
        state.epoch, state.batch = state.epoch + 1, 0
        if not every:
            self._validate(state.epoch)

    def _refuse_nothing(self) -> None:
        if not self._state.epoch:
            raise ValueError(nothing(self._loader, self._source))
        raise ValueError(
            f"{self._source} ended after {self._state.step} of {self._total} steps, and yields no "
            "batches when read again, as an iterator does; pass a DataLoader, or a list of batches"
        )

    def _epoch_batches(self) -> Iterator[Any]:
        """Yield the batches of this epoch that are not done yet.

        Order and augmentation follow from seed and epoch, so that a resumed epoch sees the batches
        that the interrupted one would have seen.
        """
        state = self._state
        mixed = (self._options.seed * 1_000_003 + state.epoch) * 1_009 + self._fabric.global_rank
        torch.manual_seed(mixed % (1 << 63))
        if hasattr(self._loader, "set_epoch"):
            self._loader.set_epoch(state.epoch)
        batches = iter(Feed(self._loader, self._source))
        if state.batch:
            next(islice(batches, state.batch - 1, state.batch), None)
            if self._resume_rng is not None:
                set_random_state(self._resume_rng, self._fabric.device)
        self._resume_rng = None
        return batches

    def _batch(self, batch: Any) -> None:
        options, state = self._options, self._state
        epochs = math.ceil(self._total / self._batches) if self._batches else 1
        lr = learning_rate(options, state.step, state.epoch, self._total, epochs)
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        x, y = self._intake.take(batch)
        self._watch.look(x)
        found = self._loss(x, y)
        if found is None:
            self._count_step()
            return
        loss, parts, pairs = found
        names, values = [*parts, "loss"], [*parts.values(), loss.detach()]
        if options.clip is not None:
            norm = self._fabric.clip_gradients(
                self._module, self._optimizer, max_norm=options.clip, error_if_nonfinite=False
            )
            if options.precision != "16-mixed":  # there the scaler skips such a step by itself
                names.append("gradient")
                values.append(norm)
        losses = torch.stack([v.float() for v in values])
        self._check(self._diary.add(state.step + 1, tuple(names), losses, pairs), x)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self._count_step()

    def _count_step(self) -> None:
        self._state.step += 1
        self._bar.update(self._state.step, self._diary.latest, self._diary.latest_pairs)

    def _loss(self, x: Tensor, y: Tensor | None) -> Any:
        """Run a batch forward and backward; None for one image, which batch norm cannot take.

        A loader's last batch is often a single image. Nothing is learned from it then, but the step
        counts, so that the learning rate and the evaluations stay where they were planned.
        """
        before = [b.clone() for b in self._model.buffers()] if len(x) == 1 else []
        try:
            found = self._module(x, y)
            self._fabric.backward(found[0])
        except Exception as error:
            if not before or self._distributed or not is_batch_norm_of_one(error):
                fail_in_network(error, self._source, tuple(x.shape))
            self._leave_out(error)
            for buffer, value in zip(self._model.buffers(), before, strict=True):
                buffer.copy_(value)  # layers before the one that refused have counted the image
            return None
        return found

    def _leave_out(self, error: Exception) -> None:
        if not self._state.batch:
            raise ValueError(
                f"{self._source} yields batches of one image, of which batch norm has no "
                'statistics; wanted a batch_size of 2 or more, or batch_norm="frozen"'
            ) from error
        if not self._left_out:
            warn(
                f"{self._source} ends with a batch of one image, of which batch norm has no "
                "statistics; it is left out. drop_last=True or another batch_size avoids that"
            )
        self._left_out = True

    def _check(self, found: tuple[int, str] | None, x: Tensor | None = None) -> None:
        """Stop at a value that is not finite; `x` are the images that may have brought it."""
        if found is None:
            return
        step, name = found
        bad = "" if x is None else not_finite(x)
        advice = "Try a smaller lr, some warmup_steps or a smaller clip"
        raise DivergedError(
            f"{self._job.title}: {name} was not finite at step {step} of {self._total}; the "
            f"weights are those of step {self._state.best_step}. "
            f"{f'Images that {self._source.argument} yields {bad}' if bad else advice}"
        )

    def _validate(self, epoch: int) -> None:
        """Close a row of the history, keep the weights if they are the best, write a checkpoint."""
        state = self._state
        self._check(self._diary.read())
        row = {
            "step": state.step,
            "epoch": epoch,
            "lr": self._optimizer.param_groups[0]["lr"],
            "seconds": state.seconds,
            **self._diary.close_window().row(),
        }
        evaluation = self._evaluate("val")
        score = None
        if evaluation is not None:
            score = scored(self._job.score, evaluation, self._job.function)
            row.update(val_accuracy=evaluation.accuracy, val_loss=evaluation.loss, val_score=score)
            self._bar.validated(evaluation.accuracy, score)
        state.history.append(row)
        if state.judge(score, epoch, self._options):
            self._kept = _snapshot(self._model)
        self._save()

    def _evaluate(self, name: str) -> Evaluation | None:
        loader = getattr(self._job, name)
        if loader is None:
            return None
        sharded = self._distributed and hasattr(loader, "shard")
        if sharded:
            loader = _shared(loader, self._fabric)
        if self._distributed:  # batch statistics differ between processes until the next step
            for buffer in self._model.buffers():
                torch.distributed.broadcast(buffer, 0)
        with own_random_numbers(self._fabric.device), self._fabric.autocast():
            return evaluate_from(
                self._model,
                loader,
                Source(self._job.function, name),
                device=self._fabric.device,
                distributed=sharded,
            )

    def _identity(self) -> dict[str, str]:
        return {
            **self._options.fingerprint(),
            **self._job.objective.settings,
            "run": self._job.title,
            "batches an epoch": repr(self._batches),
        }

    def _save(self) -> None:
        if self._options.checkpoint is None:
            return
        if self._fabric.global_rank == 0:
            save_checkpoint(
                self._options.checkpoint,
                {
                    "identity": self._identity(),
                    "state": dict(vars(self._state)),
                    "model": self._model.state_dict(),
                    "kept": self._kept,
                    "optimizer": self._optimizer.state_dict(),
                    "precision": self._fabric.strategy.precision.state_dict(),
                    "random": random_state(self._fabric.device),
                },
            )
        self._fabric.barrier()

    def _restore(self, saved: dict[str, Any]) -> None:
        path = self._options.checkpoint
        try:
            there, here = saved["identity"], self._identity()
            for name in sorted(there.keys() | here.keys()):
                if there.get(name) != here.get(name):
                    raise FormatError(
                        f"{path}: the checkpoint is of another run: {name} is {there.get(name)} "
                        f"there and {here.get(name)} here"
                    )
            self._model.load_state_dict(saved["model"])
            self._optimizer.load_state_dict(saved["optimizer"])
            self._fabric.strategy.precision.load_state_dict(saved["precision"])
            self._kept = saved["kept"]
            self._state = RunState(**saved["state"])
            self._resume_rng = saved["random"]
        except (KeyError, TypeError, AttributeError, RuntimeError) as error:
            raise FormatError(f"{path}: the checkpoint does not fit this network") from error


def _optimizer(model: nn.Module, options: TrainOptions) -> torch.optim.Optimizer:
    parameters = [p for p in model.parameters() if p.requires_grad]
    if options.optimizer == "adam":
        return torch.optim.Adam(parameters, lr=options.lr, weight_decay=options.weight_decay)
    return torch.optim.SGD(
        parameters,
        lr=options.lr,
        momentum=options.momentum,
        nesterov=options.momentum > 0,
        weight_decay=options.weight_decay,
    )


def _shared(loader: Any, fabric: Fabric) -> Any:
    """Return this process's part of a loader."""
    if fabric.world_size == 1:
        return loader
    if hasattr(loader, "shard"):
        return loader.shard(fabric.global_rank, fabric.world_size)
    return fabric.setup_dataloaders(loader, move_to_device=False)


def _length(loader: Any) -> int | None:
    try:
        return len(loader)
    except (TypeError, NotImplementedError):
        return None


def _snapshot(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}
