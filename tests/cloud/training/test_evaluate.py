"""Evaluation: confusion, accuracy of subsets, loss."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import nn

from pyedge.cloud.training.evaluate import Evaluation, evaluate
from tests.support.tiny_pair import batches, pair


class Table(nn.Module):
    """Answers with the one-hot of what stands in the image."""

    def forward(self, x):
        return 5.0 * nn.functional.one_hot(x[:, 0, 0, 0].long(), 4).float()


def answers(predicted: list[int], true: list[int]):
    x = torch.tensor(predicted, dtype=torch.float32).reshape(-1, 1, 1, 1)
    return list(zip(x.split(2), torch.tensor(true).split(2), strict=True))


def test_evaluate_counts_the_confusion():
    found = evaluate(Table(), answers([0, 1, 1, 2, 2], [0, 1, 2, 2, 0]))
    assert found.confusion.tolist() == [[1, 0, 1, 0], [0, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    assert found.count == 5
    assert found.accuracy == pytest.approx(0.6)
    assert found.per_class[:3] == (0.5, 1.0, 0.5)
    assert math.isnan(found.per_class[3])


def test_evaluate_scores_subsets_over_all_classes():
    found = evaluate(Table(), answers([0, 1, 1, 2, 2], [0, 1, 2, 2, 0]))
    assert found.accuracy_on([0]) == 0.5
    assert found.accuracy_on([1, 2]) == pytest.approx(2 / 3)
    assert math.isnan(found.accuracy_on([3]))
    with pytest.raises(ValueError, match=r"classes .*0\.\.3, got 4"):
        found.accuracy_on([4])


def test_evaluation_gives_both_means_of_old_and_new():
    confusion = torch.diag(torch.tensor([9, 9, 1]))
    confusion[0, 2] = 9  # half of class 0 is taken for the new one
    found = Evaluation(confusion, 0.0).old_and_new(new=[2])
    assert found["old"] == pytest.approx(18 / 27)
    assert found["new"] == 1.0
    assert found["mean"] == pytest.approx((18 / 27 + 1) / 2)
    assert found["weighted"] == pytest.approx(19 / 28)


def test_evaluate_loss_is_the_mean_cross_entropy():
    student, _ = pair()
    student.eval()
    loader = batches(images=40)
    x, y = (torch.cat(part) for part in zip(*loader, strict=True))
    wanted = nn.functional.cross_entropy(student(x), y)
    assert evaluate(student, loader).loss == pytest.approx(wanted.item(), rel=1e-6)


def test_evaluate_leaves_the_network_as_it_was():
    student, _ = pair()
    student.train()
    student.head.eval()
    before = {k: v.clone() for k, v in student.state_dict().items()}
    evaluate(student, batches())
    assert student.training
    assert not student.head.training
    assert all(torch.equal(v, student.state_dict()[k]) for k, v in before.items())


def test_evaluation_is_ready_for_json():
    found = evaluate(Table(), answers([0, 1], [0, 2])).to_dict()
    assert json.loads(json.dumps(found))["per_class"] == [1.0, None, 0.0, None]


def test_evaluate_names_what_does_not_fit():
    with pytest.raises(ValueError, match="evaluate: loader yields no images"):
        evaluate(Table(), [])
    with pytest.raises(ValueError, match=r"labels .*0\.\.3, .*got 1\.\.7"):
        evaluate(Table(), answers([0, 1], [1, 7]))


def test_evaluate_of_one_class_is_right_about_it():
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 1))
    found = evaluate(net, [(torch.rand(5, 1, 2, 2), torch.zeros(5, dtype=torch.int64))])
    assert found.accuracy == 1.0
    assert found.per_class == (1.0,)
    assert found.confusion.tolist() == [[5]]
