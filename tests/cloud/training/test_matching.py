"""Matching against the paper's literal formulas: float64, zero padding made, autograd."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from pyedge import kernels
from pyedge.cloud.training.matching import match, match_groups
from pyedge.cloud.zeros import zero_count, zero_count_affine

# Statistics run in float64 in both paths, so values agree to float32's last digit; a gradient is
# rounded to the student's type, relative to its largest entry.
VALUE_TOLERANCE = 1e-6
GRADIENT_TOLERANCE = 1e-6


def literal(
    student: Tensor, teachers: list[Tensor], kept: Tensor | None, norms: str
) -> tuple[Tensor, int, Tensor]:
    """Eq. 3 and 4 as printed, the student padded with zeros to the teacher's channels."""
    n, c, h, w = student.shape
    positions = torch.arange(c) if kept is None else kept
    padded = student.new_zeros(n, teachers[0].shape[1], h, w).index_copy(1, positions, student)
    shape = (1, -1) if norms == "batch" else (n, -1)
    q_s = torch.nn.functional.normalize(padded.reshape(shape), dim=1)
    cosines, distances = [], []
    for teacher in teachers:
        q_t = torch.nn.functional.normalize(teacher.reshape(shape), dim=1)
        cosines.append((q_t * q_s).sum(1).mean())
        distances.append((q_t - q_s).square().sum(1).sqrt().mean())
    best = int(torch.stack(cosines).argmax())
    return distances[best], best, torch.stack(cosines)


def maps(
    seed: int = 0, n: int = 3, c: int = 5, channels: int = 9, size: int = 7, k: int = 3
) -> tuple[Tensor, list[Tensor], Tensor]:
    generator = torch.Generator().manual_seed(seed)
    student = torch.randn(n, c, size, size, generator=generator, dtype=torch.float64)
    teachers = [
        torch.randn(n, channels, size, size, generator=generator, dtype=torch.float64)
        for _ in range(k)
    ]
    kept = torch.randperm(channels, generator=generator)[:c].sort().values
    # the second block is the nearest, by far
    teachers[1][:, kept] += 2 * student
    return student, teachers, kept


@pytest.mark.parametrize("norms", ["batch", "image"])
@pytest.mark.parametrize("padding", ["kept", "end"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_match_follows_the_literal_formulas(norms, padding, layout, dtype):
    student, teachers, kept = maps()
    kept = kept if padding == "kept" else None
    exact = student.float().double().requires_grad_()
    wanted, best, cosines = literal(exact, [t.float().double() for t in teachers], kept, norms)
    (wanted_gradient,) = torch.autograd.grad(3 * wanted, exact)

    own = student.float().to(dtype).contiguous(memory_format=layout).requires_grad_()
    blocks = [t.float().to(dtype).contiguous(memory_format=layout) for t in teachers]
    found = match(own, blocks, kept, norms)
    (gradient,) = torch.autograd.grad(3 * found.distance, own)

    assert found.best == best
    assert found.distance.dtype == dtype
    torch.testing.assert_close(found.cosine, cosines.detach(), atol=1e-12, rtol=0)
    assert found.distance.item() == pytest.approx(wanted.item(), rel=VALUE_TOLERANCE)
    assert gradient.is_contiguous(memory_format=layout)
    error = (gradient.double() - wanted_gradient).abs().max() / wanted_gradient.abs().max()
    assert error < GRADIENT_TOLERANCE


@pytest.mark.parametrize("norms", ["batch", "image"])
def test_match_gradient_by_finite_differences(norms):
    student, teachers, kept = maps(n=2, c=2, channels=3, size=2, k=2)
    assert torch.autograd.gradcheck(
        lambda s: match(s, teachers, kept, norms).distance, student.requires_grad_()
    )


@pytest.mark.parametrize("norms", ["batch", "image"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("apart", [1e-2, 1e-4, 1e-6])
def test_match_keeps_its_digits_near_distance_zero(norms, dtype, apart):
    """In float32 `2 - 2 cos` would be zero below 1e-4."""
    generator = torch.Generator().manual_seed(0)
    teacher = torch.rand(2, 6, 5, 5, generator=generator, dtype=torch.float64) + 0.5
    teacher[:, 4:] = 0  # the student's four channels hold all of its energy
    student = teacher[:, :4] + apart * torch.randn(2, 4, 5, 5, generator=generator).double()
    teacher, student = teacher.float().to(dtype), student.float().to(dtype).requires_grad_()
    exact = student.detach().double().requires_grad_()
    wanted, _, _ = literal(exact, [teacher.double()], None, norms)
    (wanted_gradient,) = torch.autograd.grad(wanted, exact)

    found = match(student, [teacher], None, norms)
    (gradient,) = torch.autograd.grad(found.distance, student)

    # the cosine is right to 1e-16, and its error in the distance grows as 1 / distance
    tolerance = max(1e-6, 4e-15 / wanted.item() ** 2)
    assert found.distance.item() == pytest.approx(wanted.item(), rel=tolerance)
    error = (gradient.double() - wanted_gradient).norm() / wanted_gradient.norm()
    assert error < max(1e-6, 2e-15 / wanted.item() ** 2)


@pytest.mark.parametrize("norms", ["batch", "image"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_match_gradient_is_zero_at_distance_zero(norms, dtype):
    teacher = torch.zeros(2, 4, 3, 3, dtype=dtype)
    teacher[:, :2] = 1.0
    student = torch.ones(2, 2, 3, 3, dtype=dtype, requires_grad=True)
    found = match(student, [teacher], None, norms)
    found.distance.backward()
    assert found.distance.item() == 0
    assert torch.equal(student.grad, torch.zeros_like(student))


@pytest.mark.parametrize("norms", ["batch", "image"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_match_of_a_zero_map_is_defined(norms, dtype):
    student = torch.zeros(2, 2, 3, 3, dtype=dtype, requires_grad=True)
    found = match(student, [torch.ones(2, 4, 3, 3, dtype=dtype)], None, norms)
    found.distance.backward()
    assert found.distance.item() == pytest.approx(math.sqrt(2))
    assert found.cosine.tolist() == [0.0]
    assert torch.equal(student.grad, torch.zeros_like(student))


@pytest.mark.parametrize("planted", [0, 1, 2, 3])
def test_match_chooses_the_planted_block(planted):
    generator = torch.Generator().manual_seed(planted)
    teachers = [torch.randn(4, 8, 6, 6, generator=generator) for _ in range(4)]
    kept = torch.tensor([1, 3, 6])
    student = teachers[planted][:, kept] + 0.1 * torch.randn(4, 3, 6, 6, generator=generator)
    assert match(student, teachers, kept).best == planted


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_match_gives_the_kernels_the_tensors_own_memory(monkeypatch, layout):
    seen = []
    real = kernels.cosine_match

    def spy(student, teachers, *rest):
        seen.extend([student, *teachers])
        return real(student, teachers, *rest)

    monkeypatch.setattr(kernels, "cosine_match", spy)
    tensors = [torch.randn(2, c, 4, 4).contiguous(memory_format=layout) for c in (3, 5, 5)]
    match(tensors[0], tensors[1:])
    for array, tensor in zip(seen, tensors, strict=True):
        assert np.shares_memory(array, tensor.numpy())


def test_match_takes_mixed_and_strided_layouts():
    student, teachers, kept = (maps()[0].float(), [t.float() for t in maps()[1]], maps()[2])
    wanted = match(student, teachers, kept)
    mixed = [teachers[0].contiguous(memory_format=torch.channels_last), *teachers[1:]]
    strided = torch.stack([student, student], -1)[..., 0]
    for own, blocks in ((student, mixed), (strided, teachers)):
        own.requires_grad_()
        found = match(own, blocks, kept)
        found.distance.backward()
        assert found.best == wanted.best
        assert found.distance.item() == pytest.approx(wanted.distance.item(), rel=1e-6)
        assert own.grad.shape == student.shape


def test_match_under_bfloat16_stays_finite_near_zero():
    teacher = torch.rand(2, 4, 5, 5).bfloat16()
    student = teacher[:, :4].clone().requires_grad_()
    found = match(student, [teacher])
    found.distance.backward()
    assert found.distance.dtype == torch.float32
    assert student.grad.dtype == torch.bfloat16
    assert torch.isfinite(student.grad).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_match_carries_nan_through(dtype, value):
    student = torch.ones(2, 2, 3, 3, dtype=dtype)
    student[0, 0, 0, 0] = value
    student.requires_grad_()
    found = match(student, [torch.ones(2, 4, 3, 3, dtype=dtype)])
    assert math.isnan(found.distance.item())
    found.distance.backward()
    assert torch.isnan(student.grad).any()


def test_match_groups_equals_each_group_alone():
    first, second = maps(1), maps(2, c=4, channels=6, size=3, k=2)
    both = match_groups(*(list(pair) for pair in zip(first, second, strict=True)))
    for found, group in zip(both, (first, second), strict=True):
        alone = match(*group)
        assert (found.best, found.distance) == (alone.best, alone.distance)


def test_match_says_that_second_derivatives_are_not_supported():
    student = torch.randn(2, 2, 3, 3, requires_grad=True)
    distance = match(student, [torch.randn(2, 3, 3, 3)]).distance
    (gradient,) = torch.autograd.grad(distance, student, create_graph=True)
    with pytest.raises(NotImplementedError, match=r"match: .*second derivative"):
        gradient.sum().backward()


@pytest.mark.parametrize(
    ("student", "teachers", "kept", "message"),
    [
        ((2, 2, 3), [(2, 4, 3, 3)], None, r"student_map: .*\[n, c, h, w\], got \(2, 2, 3\)"),
        ((2, 2, 3, 3), [], None, "teacher_maps: wanted at least one block"),
        ((2, 2, 3, 3), [(2, 4, 3, 4)], None, r"teacher_maps\[0\]: .*\[2, 4, 3, 3\]"),
        ((2, 2, 3, 3), [(2, 4, 3, 3), (2, 5, 3, 3)], None, r"teacher_maps\[1\]: wanted"),
        ((2, 5, 3, 3), [(2, 4, 3, 3)], None, "5 channels, more than .* 4"),
        ((2, 2, 3, 3), [(2, 4, 3, 3)], [0], "int64 position .*student's 2"),
        ((2, 2, 3, 3), [(2, 4, 3, 3)], [1, 1], r"rise strictly within 0\.\.3"),
        ((2, 2, 3, 3), [(2, 4, 3, 3)], [1, 4], r"rise strictly within 0\.\.3"),
    ],
)
def test_match_names_what_does_not_fit(student, teachers, kept, message):
    positions = None if kept is None else torch.tensor(kept)
    with pytest.raises(ValueError, match=message):
        match(torch.ones(student), [torch.ones(t) for t in teachers], positions)


def test_match_refuses_other_norms_groups_and_types():
    ones = torch.ones(1, 1, 2, 2)
    with pytest.raises(ValueError, match="norms: wanted one of"):
        match(ones, [ones], norms="channel")
    with pytest.raises(ValueError, match="groups, got 1, 2 and 1"):
        match_groups([ones], [[ones], [ones]], [None])
    with pytest.raises(TypeError, match="student_map: wanted a floating"):
        match(ones.int(), [ones])


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_zero_count_counts_each_map(layout, dtype):
    x = torch.randn(3, 5, 7, 6).relu().to(dtype).contiguous(memory_format=layout)
    x[0, 0, 0, 0] = math.nan
    counts = zero_count(x)
    assert counts.dtype == torch.int32
    assert torch.equal(counts, (x == 0).sum((2, 3), dtype=torch.int32))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_zero_count_affine_counts_what_relu_would_zero(dtype):
    x = torch.randn(2, 4, 5, 5, dtype=dtype)
    scale, shift = torch.randn(4, dtype=dtype), torch.randn(4, dtype=dtype)
    activation = (x * scale[:, None, None] + shift[:, None, None]).relu()
    assert torch.equal(zero_count_affine(x, scale, shift), zero_count(activation))


def test_zero_count_names_what_does_not_fit():
    with pytest.raises(ValueError, match=r"zero_count: x: .*\[n, c, h, w\], got \(3, 4\)"):
        zero_count(torch.ones(3, 4))
    with pytest.raises(ValueError, match=r"zero_count_affine: shift: wanted \[2\]"):
        zero_count_affine(torch.ones(1, 2, 3, 3), torch.ones(2), torch.ones(3))
