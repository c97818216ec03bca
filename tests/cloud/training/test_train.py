"""The training loop: options, learning rates, seeds, evaluation, stopping, failure."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from pyedge.cloud.training.loop import DivergedError
from pyedge.cloud.training.train import finetune, train
from pyedge.cloud.training.train_options import TrainOptions, learning_rate
from tests.support.tiny_pair import TinyStudent, batches, changed, pair, state_of

QUICK = TrainOptions(epochs=2, lr=0.05, progress=False)


def dataset(images: int = 48) -> TensorDataset:
    x, y = zip(*batches(images), strict=True)
    return TensorDataset(torch.cat(x), torch.cat(y))


class Poisoned:
    """A loader whose batch number `at`, counted over epochs, is not a number."""

    def __init__(self, at: int) -> None:
        self.at, self.count = at, 0

    def __len__(self) -> int:
        return 3

    def __iter__(self):
        for x, y in batches():
            self.count += 1
            yield (x * math.nan if self.count == self.at else x), y


def test_train_lowers_the_loss_and_learns():
    model, _ = pair()
    result = train(model, batches(), test=batches(seed=2), options=QUICK, epochs=20)
    losses = [row["loss"] for row in result.history]
    assert losses[-1] < 0.5 * losses[0]
    assert result.test_accuracy > 0.8
    assert (result.steps, result.best_step, result.best_epoch) == (60, 60, 20)
    assert [row["epoch"] for row in result.history] == list(range(1, 21))
    assert result.to_dict()["test_accuracy"] == result.test_accuracy


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_train_gives_the_same_bits_for_the_same_seed(optimizer, channels_last):
    states = []
    for seed in (3, 3, 4):
        model, _ = pair(dropout=0.5)
        torch.rand(seed)  # the caller's random numbers do not matter
        options = QUICK.replace(
            seed=seed, optimizer=optimizer, lr=0.01, channels_last=channels_last
        )
        train(model, DataLoader(dataset(), 16, shuffle=True), options=options)
        states.append(model)
    assert not changed(state_of(states[0]), states[1])
    assert changed(state_of(states[0]), states[2])
    assert all(p.is_contiguous() for p in states[0].parameters())


def test_train_leaves_flags_modes_and_random_numbers_alone():
    model, _ = pair()
    model.eval()
    model.head.bias.requires_grad_(False)
    before, random = state_of(model), torch.get_rng_state()
    train(model, batches(), val=batches(seed=2), options=QUICK)
    assert torch.equal(torch.get_rng_state(), random)
    assert not model.training
    assert not model.head.bias.requires_grad
    assert all(p.grad is None for p in model.parameters())
    assert "head.bias" not in changed(before, model)
    assert "head.weight" in changed(before, model)


def test_finetune_moves_the_last_convolutions_and_the_classifier_alone():
    model, _ = pair()
    before = state_of(model)
    finetune(model, batches(), options=QUICK, batch_norm="frozen")
    assert changed(before, model) == {
        "groups.0.1.0.weight", "groups.1.1.0.weight", "head.weight", "head.bias"
    }  # fmt: skip


def test_train_moves_named_modules_alone():
    model, _ = pair()
    before = state_of(model)
    train(model, batches(), options=QUICK, trainable=("head",), batch_norm="frozen")
    assert changed(before, model) == {"head.weight", "head.bias"}


def test_train_with_batch_statistics_moves_the_running_ones():
    model, _ = pair()
    before = state_of(model)
    finetune(model, batches(), options=QUICK)
    moved = changed(before, model)
    assert "groups.0.0.1.running_mean" in moved
    assert "groups.0.0.1.weight" not in moved


def test_train_keeps_the_best_weights_and_tests_those():
    model, _ = pair()
    scores = iter([0.1, 0.9, 0.3, 0.2])
    seen = []

    def score(evaluation):
        seen.append(state_of(model))
        return next(scores)

    result = train(
        model, batches(), val=batches(seed=2), test=batches(seed=3), score=score,
        options=QUICK, epochs=4,
    )  # fmt: skip
    assert (result.best_epoch, result.best_step, result.best_score) == (2, 6, 0.9)
    assert not changed(seen[1], model)
    assert result.test.count == 48


def test_train_keeps_the_last_weights_when_asked():
    model, _ = pair()
    scores = iter([0.9, 0.1])
    result = train(
        model, batches(), val=batches(), score=lambda _: next(scores), keep_best=False,
        options=QUICK,
    )  # fmt: skip
    assert result.best_step == 6
    assert result.best_score == 0.9


def test_train_stops_early():
    model, _ = pair()
    scores = itertools.chain([0.5, 0.6], itertools.repeat(0.6))
    result = train(
        model, batches(), val=batches(), score=lambda _: next(scores), patience=2,
        options=QUICK, epochs=50,
    )  # fmt: skip
    assert result.stopped_early
    assert (len(result.history), result.best_epoch) == (4, 2)


def test_train_evaluates_every_so_many_steps_and_at_the_end():
    model, _ = pair()
    result = train(model, batches(), val=batches(), options=QUICK, steps=7, eval_every=3)
    assert [row["step"] for row in result.history] == [3, 6, 7]
    assert [row["epoch"] for row in result.history] == [1, 2, 3]


def test_train_stops_at_a_step_within_an_epoch():
    model, _ = pair()
    result = train(model, iter_without_length(), options=QUICK, steps=4)
    assert result.steps == 4
    assert [row["step"] for row in result.history] == [3, 4]


def iter_without_length():
    class Stream:
        def __iter__(self):
            return iter(batches())

    return Stream()


@pytest.mark.parametrize(("at", "good"), [(2, 0), (5, 3)])
def test_train_names_the_step_that_diverged_and_goes_back(at, good):
    model, _ = pair()
    before = state_of(model)
    with pytest.raises(DivergedError, match=rf"train: J_3 .*not finite .*step {at} of 9; .*{good}"):
        train(model, Poisoned(at), options=QUICK, epochs=3)
    if good == 0:
        assert not changed(before, model)
    else:
        straight, _ = pair()
        train(straight, batches(), options=QUICK, epochs=3, steps=3, schedule="constant")
        again, _ = pair()
        with pytest.raises(DivergedError):
            train(again, Poisoned(at), options=QUICK, epochs=3, schedule="constant")
        assert not changed(state_of(straight), again)
    assert all(p.requires_grad for p in model.parameters())


def test_train_names_a_gradient_that_diverged():
    class Cliff(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.zeros(1))

        def forward(self, x):
            return self.w.sqrt() + torch.zeros(len(x), 3)  # finite at 0, its slope is not

    with pytest.raises(DivergedError, match=r"gradient .*not finite .*step 1"):
        train(Cliff(), batches(), options=QUICK)


def test_train_runs_in_mixed_precision():
    model, _ = pair()
    result = train(model, batches(), options=QUICK, precision="bf16-mixed")
    assert math.isfinite(result.history[-1]["loss"])
    assert model.head.weight.dtype == torch.float32


def test_train_clips_the_gradient():
    moves = []
    for clip in (1e-3, None):
        model, _ = pair()
        before = model.head.weight.clone()
        train(
            model, batches(), options=QUICK, steps=1, schedule="constant", momentum=0.0,
            weight_decay=0.0, lr=1.0, clip=clip,
        )  # fmt: skip
        moves.append((model.head.weight - before).norm().item())
    assert moves[0] <= 1e-3 < moves[1]


def test_train_refuses_loaders_and_networks_that_do_not_fit():
    model, _ = pair()
    with pytest.raises(ValueError, match="train: loader yields no batches"):
        train(model, iter_of([]), options=QUICK, steps=2)
    with pytest.raises(ValueError, match="loader has no length"):
        train(model, iter_without_length(), options=QUICK)
    with pytest.raises(TypeError, match=r"loader: .*\(images, labels\) or images, got str"):
        train(model, ["batch"], options=QUICK)
    with pytest.raises(ValueError, match="yields images without labels, wanted"):
        train(model, [batches()[0][0]], options=QUICK)
    with pytest.raises(ValueError, match=r"val: wanted .*patience"):
        train(model, batches(), options=QUICK, patience=1)
    with pytest.raises(ValueError, match=r"val: wanted .*score"):
        train(model, batches(), options=QUICK, score=lambda e: e.accuracy)
    with pytest.raises(ValueError, match='trainable="last_conv" needs a student'):
        train(nn.Linear(2, 2), batches(), options=QUICK, trainable="last_conv")
    with pytest.raises(ValueError, match=r"TinyStudent .*no module .*'tail'"):
        train(model, batches(), options=QUICK, trainable=("tail",))
    with pytest.raises(ValueError, match="leaves no parameter to train"):
        train(TinyStudent().requires_grad_(False), batches(), options=QUICK)


def iter_of(values):
    class Stream:
        def __iter__(self):
            return iter(values)

    return Stream()


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("epochs", 0, ValueError), ("epochs", 1.5, TypeError), ("epochs", None, TypeError),
        ("steps", 0, ValueError), ("lr", 0.0, ValueError), ("lr", math.nan, ValueError),
        ("lr", "fast", TypeError), ("momentum", 1.0, ValueError), ("weight_decay", -1, ValueError),
        ("clip", 0, ValueError), ("gamma", -0.1, ValueError), ("optimizer", "lion", ValueError),
        ("schedule", "linear", ValueError), ("precision", "bf16-true", ValueError),
        ("batch_norm", "eval", ValueError), ("trainable", "none", ValueError),
        ("trainable", (), ValueError), ("patience", 0, ValueError), ("seed", -1, ValueError),
        ("milestones", (0,), ValueError), ("milestones", (3,), ValueError),
        ("resume", True, ValueError), ("eval_every", 0, ValueError),
    ],
)  # fmt: skip
def test_train_options_name_the_field(field, value, error):
    with pytest.raises(error, match=rf"TrainOptions: .*{field}"):
        TrainOptions(**{field: value})


def test_train_options_refuse_unknown_names():
    with pytest.raises(
        TypeError, match=r"train: wanted arguments among .*, lr, .* got 'learning_rate'"
    ):
        train(pair()[0], batches(), learning_rate=0.1)
    with pytest.raises(TypeError, match="options: wanted TrainOptions, got a dict"):
        train(pair()[0], batches(), options={"lr": 0.1})


def rates(total=8, epochs=4, **fields):
    options = TrainOptions(lr=1.0, **fields)
    per_epoch = total // epochs
    return [learning_rate(options, s, s // per_epoch, total, epochs) for s in range(total)]


def test_learning_rate_schedules():
    def cosine(x):
        return 0.5 * (1 + math.cos(math.pi * x))

    assert rates() == [cosine(s / 8) for s in range(8)]
    assert rates(schedule="cosine_epoch") == [cosine((s // 2) / 4) for s in range(8)]
    assert rates(schedule="exponential") == [0.98 ** (s // 2) for s in range(8)]
    assert rates(schedule="steps", milestones=(1, 3)) == pytest.approx(
        [1, 1, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01]
    )
    assert rates(schedule="constant") == [1.0] * 8
    assert rates(warmup_steps=3)[:4] == [0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize(
    ("score", "error", "words"),
    [
        ("accuracy", TypeError, "train: score: wanted a function .* got 'accuracy'"),
        (lambda e: math.nan, ValueError, "train: score returned NaN"),
        (lambda e: "x", TypeError, "train: score: .*a number, got 'x'"),
        (lambda e: None, TypeError, "train: score: .*a number, got None"),
    ],
)
def test_train_names_a_score_that_ranks_nothing(score, error, words):
    model, _ = pair()
    with pytest.raises(error, match=words):
        train(model, batches(), val=batches(), score=score, options=QUICK)


def test_train_of_one_class_is_right_about_it():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 1))
    data = [(torch.rand(4, 1, 2, 2), torch.zeros(4, dtype=torch.int64))]
    found = train(model, data, val=data, options=QUICK)
    assert found.history[-1]["val_accuracy"] == 1.0
