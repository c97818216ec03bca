"""Checkpoints: resumed runs end in the same bits, and a bad file is a FormatError."""

from __future__ import annotations

import os
import pickle

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from pyedge.cloud.training.checkpoint import load_checkpoint, save_checkpoint
from pyedge.cloud.training.fitnet import fitnet
from pyedge.cloud.training.train import train
from pyedge.cloud.training.train_options import TrainOptions
from pyedge.cloud.training.transfer import transfer
from pyedge.errors import FormatError
from tests.support.tiny_pair import batches, changed, pair, state_of

QUICK = TrainOptions(epochs=4, lr=0.05, progress=False)


class KilledError(Exception):
    """Stands for the power cut."""


class Killed:
    """A loader that fails at batch number `at`, counted over the epochs."""

    def __init__(self, at: int | None) -> None:
        self.at, self.count = at, 0

    def __len__(self) -> int:
        return 3

    def __iter__(self):
        # a shuffled order from torch's random numbers, as a DataLoader's
        order = torch.randperm(3).tolist()
        for i in order:
            if self.count == self.at:
                raise KilledError
            self.count += 1
            yield batches()[i]


@pytest.mark.parametrize("every", [None, 2, pytest.param(3, marks=pytest.mark.exhaustive)])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize(
    "at", [0, 4, *(pytest.param(n, marks=pytest.mark.exhaustive) for n in (8, 11))]
)
def test_checkpoint_resumed_run_ends_in_the_same_bits(tmp_path, at, optimizer, every):
    options = QUICK.replace(optimizer=optimizer, lr=0.01, eval_every=every)
    straight, teacher = pair(dropout=0.5)
    wanted = transfer(straight, teacher, Killed(None), val=batches(), options=options)

    options = options.replace(checkpoint=tmp_path / "run.ckpt", resume=True)
    interrupted, _ = pair(dropout=0.5)
    # transfer looks at one batch before the run
    with pytest.raises(KilledError):
        transfer(interrupted, teacher, Killed(at + 1), val=batches(), options=options)
    resumed, _ = pair(dropout=0.5)
    result = transfer(resumed, teacher, Killed(None), val=batches(), options=options)

    assert not changed(state_of(straight), resumed)
    assert result.best_step == wanted.best_step
    timeless = [[{**r, "seconds": 0} for r in x.history] for x in (wanted, result)]
    assert timeless[0] == timeless[1]


def test_checkpoint_of_a_finished_run_gives_its_result_again(tmp_path):
    options = QUICK.replace(checkpoint=tmp_path / "run.ckpt", resume=True)
    first, _ = pair()
    wanted = train(first, batches(), options=options)
    again, _ = pair(seed=5)
    result = train(again, batches(), options=options)
    assert result.to_dict() == wanted.to_dict()
    assert not changed(state_of(first), again)


def test_checkpoint_is_not_read_unless_asked(tmp_path):
    options = QUICK.replace(checkpoint=tmp_path / "run.ckpt")
    first, _ = pair()
    train(first, batches(), options=options)
    again, _ = pair()
    assert len(train(again, batches(), options=options).history) == 4


def test_checkpoint_of_fitnet_has_a_file_for_each_stage(tmp_path):
    options = QUICK.replace(checkpoint=str(tmp_path / "run.ckpt"), resume=True)
    first, teacher = pair()
    fitnet(first, teacher, batches(), options=options)
    again, _ = pair()
    result = fitnet(again, teacher, batches(), options=options)
    assert not changed(state_of(first), again)
    assert result.stages[0].steps == 6
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run.ckpt", "run.ckpt.hint"]


@pytest.mark.parametrize(
    ("change", "message"),
    [({"lr": 0.2}, r"another run: lr is 0\.05 .*0\.2 here"),
     ({"seed": 9}, "another run: seed is 0 .*9 here")],
)  # fmt: skip
def test_checkpoint_of_another_run_is_refused(tmp_path, change, message):
    options = QUICK.replace(checkpoint=tmp_path / "run.ckpt")
    model, teacher = pair()
    train(model, batches(), options=options)
    before = state_of(model)
    with pytest.raises(FormatError, match=message):
        train(model, batches(), options=options, resume=True, **change)
    assert not changed(before, model)
    with pytest.raises(FormatError, match="another run: labels is None"):
        transfer(model, teacher, batches(), options=options, resume=True)


def test_checkpoint_of_another_network_is_refused(tmp_path):
    options = QUICK.replace(checkpoint=tmp_path / "run.ckpt")
    train(pair()[0], batches(), options=options)
    other = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    with pytest.raises(FormatError, match="does not fit this network"):
        train(other, batches(), options=options, resume=True)


def test_checkpoint_round_trip(tmp_path):
    state = {"a": torch.arange(3), "b": [1, {"c": 2.5}], "d": None}
    save_checkpoint(tmp_path / "x", state)
    found = load_checkpoint(tmp_path / "x")
    assert torch.equal(found.pop("a"), state.pop("a"))
    assert {k: found[k] for k in state} == state


def test_checkpoint_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "x"
    save_checkpoint(path, {"a": 1})
    old = path.read_bytes()
    with pytest.raises((AttributeError, pickle.PicklingError, TypeError)):
        save_checkpoint(path, {"a": lambda: None})
    assert path.read_bytes() == old
    assert os.listdir(tmp_path) == ["x"]


@pytest.fixture(scope="module")
def checkpoint_bytes(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "x"
    save_checkpoint(path, {"weights": torch.randn(40), "history": [{"loss": 1.5}]})
    return path.read_bytes()


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_checkpoint_truncated_is_a_format_error(tmp_path, checkpoint_bytes, data):
    length = data.draw(st.integers(0, len(checkpoint_bytes) - 1))
    path = tmp_path / "short"
    path.write_bytes(checkpoint_bytes[:length])
    with pytest.raises(FormatError, match="short"):
        load_checkpoint(path)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_checkpoint_altered_is_a_format_error_or_the_same_state(tmp_path, checkpoint_bytes, data):
    """Bytes of the archive that carry nothing (time stamps, padding) may change unseen."""
    at = data.draw(st.integers(0, len(checkpoint_bytes) - 1))
    flip = data.draw(st.integers(1, 255))
    altered = bytearray(checkpoint_bytes)
    altered[at] ^= flip
    path, whole = tmp_path / "altered", tmp_path / "whole"
    path.write_bytes(altered)
    whole.write_bytes(checkpoint_bytes)
    try:
        found = load_checkpoint(path)
    except FormatError:
        return
    wanted = load_checkpoint(whole)
    assert torch.equal(found["weights"], wanted["weights"])
    assert found["history"] == wanted["history"]


def test_checkpoint_of_others_is_a_format_error(tmp_path):
    class Nothing:
        def __reduce__(self):
            return (os.system, ("exit 1",))

    torch.save({"weights": torch.ones(2)}, tmp_path / "foreign")
    (tmp_path / "pickle").write_bytes(pickle.dumps(Nothing()))
    torch.save({"format": "pyedge-checkpoint", "x": Nothing()}, tmp_path / "hostile")
    torch.save({"format": "pyedge-checkpoint", "version": 99}, tmp_path / "newer")
    for name in ("foreign", "pickle", "hostile"):
        with pytest.raises(FormatError, match="not a checkpoint of pyedge"):
            load_checkpoint(tmp_path / name)
    with pytest.raises(FormatError, match=r"version 99; .* 1"):
        load_checkpoint(tmp_path / "newer")
    with pytest.raises(FileNotFoundError):
        load_checkpoint(tmp_path / "missing")
