"""Classifiers solved from sums: beside their textbook forms on all images, and each left out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pyedge.statistics.calibration import (
    DEFAULT_FORM,
    calibration_error,
    chosen_form,
    log_loss,
    temperature_of,
)
from pyedge.statistics.gaussian import Gaussian
from pyedge.statistics.grid import rounded, step_for
from pyedge.statistics.heads import HEADS, Form, solved
from pyedge.statistics.leave_one_out import Held, left_out_logits
from pyedge.statistics.sums import of_values
from pyedge.statistics.unknown import Distances, threshold_of
from tests.support.statistics_case import DIGEST, NAMES, clouds, sums_of


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def test_heads_ridge_is_least_squares_on_all_images() -> None:
    features, labels = clouds()
    head = solved(Gaussian.of(sums_of(features, labels), NAMES), Form("ridge", 0.0))
    x = np.c_[features.astype(np.float64), np.ones(len(labels))]
    expected, *_ = np.linalg.lstsq(x, np.eye(4)[labels], rcond=None)
    # the pooled covariance is divided by n - c, and least squares by n: alike but for 1.6 per cent
    got = np.c_[head.weight, head.bias].T
    both = (x @ expected).argmax(axis=1), (x @ got).argmax(axis=1)
    assert (both[0] == both[1]).mean() > 0.99
    assert np.abs(got - expected).max() < 0.03 * np.abs(expected).max()


def test_heads_discriminant_is_fishers() -> None:
    features, labels = clouds()
    x = features.astype(np.float64)
    means = np.stack([x[labels == k].mean(axis=0) for k in range(4)])
    within = (x - means[labels]).T @ (x - means[labels]) / (len(x) - 4)
    inverse = np.linalg.inv(within)
    away = x[:, None] - means[None]
    expected = -0.5 * np.einsum("nkf,fg,nkg->nk", away, inverse, away)
    assert len(set(np.bincount(labels))) == 1  # so no mean is less certain than another
    head = solved(Gaussian.of(sums_of(features, labels), NAMES), Form("discriminant", 0.0))
    got = x @ head.weight.T + head.bias
    assert np.allclose(
        got - got.mean(axis=1, keepdims=True),
        expected - expected.mean(axis=1, keepdims=True),
        atol=1e-3,
    )


def test_heads_mean_is_the_nearest_mean() -> None:
    features, labels = clouds()
    means = np.stack([features[labels == k].mean(axis=0) for k in range(4)])
    expected = ((features[:, None] - means[None]) ** 2).sum(axis=2).argmin(axis=1)
    head = solved(Gaussian.of(sums_of(features, labels), NAMES), Form("mean", 0.0))
    assert ((features @ head.weight.T + head.bias).argmax(axis=1) == expected).all()


@pytest.mark.parametrize("kind", HEADS)
def test_heads_classes_of_few_images_count_alike(kind: str) -> None:
    features, labels = clouds(count=200)
    few = (labels < 3) | (np.arange(len(labels)) % 10 == 0)
    test, truth = clouds(count=200)
    head = solved(Gaussian.of(sums_of(features[few], labels[few]), NAMES), Form(kind, 0.01))
    found = (test @ head.weight.T + head.bias).argmax(axis=1)
    whole = solved(Gaussian.of(sums_of(features, labels), NAMES), Form(kind, 0.01))
    best = (test @ whole.weight.T + whole.bias).argmax(axis=1)
    dog = truth == 3
    assert (found == truth)[dog].mean() > (best == truth)[dog].mean() - 0.1


@pytest.mark.parametrize("form", [Form("discriminant", 0.1), Form("mean", 0.0)])
def test_heads_do_not_hold_it_against_a_class_that_it_has_few_images(form: Form) -> None:
    random = np.random.default_rng(0)
    test = random.normal(size=(2000, 20))
    shares = []
    for _ in range(200):  # two classes of the same cloud: what tells them apart is chance
        features = random.normal(size=(303, 20)).astype(np.float32)
        labels = np.repeat([0, 1], [300, 3])
        gaussian = Gaussian.of(sums_of(features, labels), NAMES[:2])
        head = solved(gaussian, form)
        shares.append(((test @ head.weight.T + head.bias).argmax(axis=1) == 1).mean())
        without = solved(replace(gaussian, counts=np.full(2, 1e12)), form)
        plain = (test @ without.weight.T + without.bias).argmax(axis=1) == 1
        assert plain.mean() < shares[-1]
    assert 0.3 < np.mean(shares) < 0.5


@pytest.mark.parametrize("form", [Form("discriminant", 0.0), Form("mean", 0.0)])
def test_left_out_logits_are_those_of_the_sums_without_the_image(form: Form) -> None:
    features, labels = clouds(count=9)
    step = step_for(features)
    whole = sums_of(features, labels, step=step)
    gaussian = Gaussian.of(whole, NAMES)
    held = Held.of(whole, gaussian, NAMES)
    assert len(held.labels) == 36
    got = left_out_logits(gaussian, held, form)
    for row in range(0, 36, 5):
        x, label = held.features[row], held.labels[row]
        at = int(np.flatnonzero(np.abs(features - x).max(axis=1) < step)[0])
        stays = np.arange(len(labels)) != at
        others = Gaussian.of(sums_of(features[stays], labels[stays], step=step), NAMES)
        if form.kind == "discriminant":
            # the closed form leaves the number of images that the covariance is divided by
            within = others.within * others.freedom / gaussian.freedom
            others = Gaussian(others.counts, others.means, within, others.freedom)
            away = x - others.means
            far = (away @ np.linalg.inv(others.within) * away).sum(axis=1)
            too_far = len(x) / (others.counts + 1)
        else:
            far = ((x - others.means) ** 2).sum(axis=1)
            too_far = np.trace(gaussian.within) / (others.counts + 1)
        expected = -0.5 * (far - too_far)
        assert np.allclose(got[row], expected, rtol=1e-3), (row, label)


def test_left_out_ridge_is_close_to_the_sums_without_the_image() -> None:
    features, labels = clouds(count=9)
    step = step_for(features)
    whole = sums_of(features, labels, step=step)
    gaussian = Gaussian.of(whole, NAMES)
    held = Held.of(whole, gaussian, NAMES)
    form = Form("ridge", 0.1)
    got = left_out_logits(gaussian, held, form)
    inside = held.features @ solved(gaussian, form).weight.T + solved(gaussian, form).bias
    errors, naive = [], []
    for row in range(36):
        x = held.features[row]
        at = int(np.flatnonzero(np.abs(features - x).max(axis=1) < step)[0])
        stays = np.arange(len(labels)) != at
        others = solved(
            Gaussian.of(sums_of(features[stays], labels[stays], step=step), NAMES), form
        )
        expected = x @ others.weight.T + others.bias
        errors.append(np.abs(got[row] - expected).max())
        naive.append(np.abs(inside[row] - expected).max())
    assert np.mean(errors) < 0.35 * np.mean(naive)


def test_temperature_makes_overconfident_logits_honest() -> None:
    random = np.random.default_rng(0)
    logits = random.standard_normal((4000, 5))
    labels = np.array([random.choice(5, p=p) for p in softmax(logits)])
    assert temperature_of(logits, labels) == pytest.approx(1, abs=0.1)
    assert temperature_of(10 * logits, labels) == pytest.approx(10, rel=0.1)
    assert calibration_error(softmax(logits), labels) < 0.03
    assert calibration_error(softmax(10 * logits), labels) > 0.2
    assert log_loss(10 * logits, labels, 10.0) == pytest.approx(log_loss(logits, labels))


def test_temperature_of_a_few_right_answers_is_not_certainty() -> None:
    logits, labels = np.eye(3)[[0, 1, 2, 0]] * 5.0, np.array([0, 1, 2, 0])
    sure = softmax(logits / temperature_of(logits, labels)).max()
    assert 0.7 < sure < 0.99


def test_calibration_error_of_a_hand_made_case() -> None:
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4]])
    # sure 0.9 and right once of twice: 0.4 off; sure 0.6 and right twice: 0.4 off
    assert calibration_error(probabilities, np.array([0, 1, 0, 0])) == pytest.approx(0.4)


def test_form_is_chosen_by_held_images() -> None:
    names = (*NAMES, "eel", "fox")
    features, labels = clouds(count=30, classes=6)
    # means lie far from each other along a feature that varies most within each class
    wide = features * np.array([50, 1, 1, 1, 1, 1, 1], np.float32)
    step = step_for(wide)
    values = rounded(wide, step).values
    statistics = of_values(values, labels, names, digest=DIGEST, step=step, pooled=True)
    gaussian = Gaussian.of(statistics, names)
    held = Held.of(statistics, gaussian, names)
    form = chosen_form(gaussian, held)
    losses = {}
    for each in (form, Form("mean", 0.0)):
        logits = left_out_logits(gaussian, held, each)
        losses[each.kind] = log_loss(logits, held.labels, temperature_of(logits, held.labels))
    assert losses[form.kind] < losses["mean"]


def test_form_of_a_few_classes_is_the_default() -> None:
    features, labels = clouds(count=30)
    statistics = sums_of(features, labels)
    gaussian = Gaussian.of(statistics, NAMES)
    assert chosen_form(gaussian, Held.of(statistics, gaussian, NAMES)) == DEFAULT_FORM


def test_unknown_threshold_passes_known_images_and_stops_a_stranger() -> None:
    features, labels = clouds(count=300, apart=4.0)
    known = labels < 3
    statistics = sums_of(features[known], labels[known])
    gaussian = Gaussian.of(statistics, NAMES[:3])
    threshold = threshold_of(gaussian, Held.of(statistics, gaussian, NAMES[:3]))
    measure = Distances(gaussian, threshold)
    test, truth = clouds(count=300, apart=4.0)
    far = measure.of(test) > measure.threshold
    assert far[truth < 3].mean() < 0.15
    assert far[truth == 3].mean() > 0.8


@pytest.mark.parametrize("form", [Form("discriminant", 0.0), Form("ridge", 0.1)])
def test_heads_have_one_sentence_for_what_has_no_solution(form: Form) -> None:
    same = np.ones((40, 3), np.float32)
    labels = np.repeat(np.arange(4), 10)
    with pytest.raises(ValueError, match="the statistics have no solution"):
        solved(Gaussian.of(sums_of(same, labels), NAMES), form)
    with pytest.raises(ValueError, match="nothing is known of eel"):
        Gaussian.of(sums_of(same, labels), (*NAMES, "eel"))
    features, few = clouds(count=1)
    with pytest.raises(ValueError, match=r"spread .*not known from 4 images"):
        Gaussian.of(sums_of(features, few), NAMES)
