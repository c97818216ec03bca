"""The losses against their formulas in float64."""

from __future__ import annotations

import pytest
import torch

from pyedge.cloud.training.losses import cross_entropy, hint_loss, logits_distance, soft_target_loss


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_logits_distance_is_the_root_of_the_mean_square(dtype):
    student = torch.randn(4, 5).to(dtype).requires_grad_()
    teacher = torch.randn(4, 5).to(dtype)
    exact = student.detach().double().requires_grad_()
    wanted = (exact - teacher.double()).square().mean().sqrt()
    wanted.backward()

    found = logits_distance(student, teacher)
    found.backward()

    assert found.item() == pytest.approx(wanted.item(), rel=1e-6)
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-7}.get(dtype, 1e-3)
    torch.testing.assert_close(student.grad.double(), exact.grad, atol=tolerance, rtol=1e-2)


def test_logits_distance_gradient_passes_a_numerical_check():
    teacher = torch.randn(3, 4, dtype=torch.float64)
    student = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: logits_distance(s, teacher), student)


def test_logits_distance_gradient_is_zero_where_they_agree():
    student = torch.randn(3, 4, requires_grad=True)
    found = logits_distance(student, student.detach().clone())
    found.backward()
    assert found.item() == 0
    assert torch.equal(student.grad, torch.zeros(3, 4))


def test_logits_distance_keeps_its_digits_near_zero():
    student = torch.full((2, 3), 1e-25, requires_grad=True)
    found = logits_distance(student, torch.zeros(2, 3))
    found.backward()
    assert found.item() == pytest.approx(1e-25, rel=1e-6)
    torch.testing.assert_close(student.grad, torch.full((2, 3), 1 / 6))


def test_cross_entropy_has_the_minus_sign_that_the_paper_lacks():
    logits = torch.randn(4, 3, dtype=torch.float64)
    labels = torch.tensor([0, 2, 1, 1])
    wanted = -logits.softmax(1)[range(4), labels].log().mean()
    torch.testing.assert_close(cross_entropy(logits, labels), wanted)
    assert wanted > 0


def test_soft_target_loss_is_zero_where_they_agree_and_the_divergence_elsewhere():
    student, teacher = torch.randn(2, 4, 3, dtype=torch.float64)
    assert soft_target_loss(teacher, teacher, 4.0).item() == pytest.approx(0, abs=1e-15)
    p, q = (teacher / 4).softmax(1), (student / 4).softmax(1)
    wanted = 16 * (p * (p / q).log()).sum(1).mean()
    torch.testing.assert_close(soft_target_loss(student, teacher, 4.0), wanted)


def test_hint_loss_is_half_the_mean_square():
    a, b = torch.randn(2, 3, 4, 5, 5)
    torch.testing.assert_close(hint_loss(a, b), 0.5 * (a - b).square().mean())


def test_losses_name_what_does_not_fit():
    with pytest.raises(ValueError, match=r"teacher: .*\[n, classes\]"):
        logits_distance(torch.ones(2, 3), torch.ones(2, 4))
    with pytest.raises(TypeError, match=r"labels: .*int64, got torch\.float32"):
        cross_entropy(torch.ones(2, 3), torch.ones(2))
    with pytest.raises(ValueError, match=r"labels: .*\[n\] .*logits"):
        cross_entropy(torch.ones(2, 3), torch.ones(3, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"hint: .*\[1, 2, 3, 3\]"):
        hint_loss(torch.ones(1, 2, 3, 3), torch.ones(1, 2, 3, 4))
