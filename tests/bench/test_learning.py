"""bench/learning: its protocols, its figures, and each strategy's formula in a case by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from bench.learning import protocols, teachers, torch_formulas  # noqa: E402
from bench.learning.images import Parts, at_most  # noqa: E402
from bench.learning.joint_features import fit  # noqa: E402
from bench.learning.recipes import RECIPES  # noqa: E402
from bench.learning.recorded import Recorded  # noqa: E402
from bench.learning.run import FIGURES, summary  # noqa: E402
from pyedge.data import ImageSet  # noqa: E402


def image_set(labels: list[int], classes: int) -> ImageSet:
    images = torch.arange(len(labels), dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 2, 2)
    return ImageSet(images.contiguous(), torch.tensor(labels), [f"c{i}" for i in range(classes)])


def test_nine_and_one_has_another_new_class_for_each_seed():
    new = [protocols.make("9+1", 10, seed).experiences[1] for seed in range(3)]
    assert new == [(9,), (8,), (7,)]
    assert protocols.make("9+1", 10, 1).base == 9


def test_five_times_two_has_every_class_once_in_an_order_of_the_seed():
    orders = [protocols.make("5x2", 10, seed).order for seed in range(3)]
    assert all(sorted(order) == list(range(10)) for order in orders)
    assert len(set(orders)) == 3
    assert protocols.make("5x2", 10, 0).order == orders[0]


@pytest.mark.parametrize(("name", "classes"), [("8+2", 10), ("5x2", 9)])
def test_a_protocol_that_is_none_is_refused(name: str, classes: int):
    with pytest.raises(ValueError, match=r"^bench\.learning: (protocol|5x2)"):
        protocols.make(name, classes, 0)


def test_reordered_images_keep_their_names():
    parts = Parts(*[image_set([0, 1, 2, 3], 4)] * 3)
    protocol = protocols.Protocol("by hand", 0, ((2, 0), (3, 1)))
    train = protocol.reordered(parts).train
    assert train.classes == ("c2", "c0", "c3", "c1")
    assert [train.classes[i] for i in train.labels.tolist()] == ["c0", "c1", "c2", "c3"]
    assert [list(each) for each in protocol.places()] == [[0, 1], [2, 3]]


def test_at_most_takes_so_many_of_each_class():
    images = image_set([0, 0, 0, 1, 1, 0], 2)
    assert at_most(images, 2, 0).counts == (2, 2)
    assert len(at_most(images, None, 0)) == 6


def test_figures_of_three_experiences_by_hand():
    # two images a class, a class an experience
    labels = np.array([0, 0, 1, 1, 2, 2])
    protocol = protocols.Protocol("by hand", 0, ((0,), (1,), (2,)))
    record = protocols.Record(protocol, labels)
    record.add(np.array([0, 0]))  # 100
    record.add(np.array([0, 1, 1, 1]))  # 50, 100
    record.add(np.array([0, 0, 2, 1, 2, 2]))  # 100, 50, 100
    found = record.figures()
    assert found["old"] == pytest.approx(75)
    assert found["old_before"] == pytest.approx(75)
    assert found["new"] == pytest.approx(100)
    assert found["mean"] == pytest.approx(87.5)
    assert found["weighted"] == pytest.approx(100 * 5 / 6)
    assert found["average_incremental"] == pytest.approx((100 + 75 + 100 * 5 / 6) / 3)
    assert found["forgetting"] == pytest.approx((0 + 50) / 2)


def test_figures_want_every_experience_and_every_answer():
    record = protocols.Record(protocols.Protocol("by hand", 0, ((0,), (1,))), np.array([0, 1]))
    with pytest.raises(ValueError, match="wanted 1 answers"):
        record.add(np.array([0, 1]))
    record.add(np.array([0]))
    with pytest.raises(ValueError, match="1 of 2 experiences"):
        record.figures()


def test_summary_has_deviations_for_several_seeds_alone():
    rows = [dict.fromkeys(FIGURES, value) for value in (1.0, 3.0)]
    assert summary(rows)["old"] == 2
    assert summary(rows)["old_deviation"] == pytest.approx(2**0.5, abs=0.01)
    assert "old_deviation" not in summary(rows[:1])


def test_padding_behind_computes_what_padding_on_both_sides_computes():
    model = teachers.build(RECIPES["cifar10"], 10).eval()
    generator = torch.Generator().manual_seed(0)
    names = _their_names(list(model.state_dict()))
    state = {
        name: torch.rand(value.shape, generator=generator) / 8
        if value.is_floating_point()
        else value
        for name, value in zip(names, model.state_dict().values(), strict=True)
    }
    own = teachers.with_padding_behind(state)
    model.load_state_dict(dict(zip(model.state_dict(), own.values(), strict=True)))
    x = torch.randn(2, 3, 8, 8, generator=generator)
    with torch.no_grad():
        torch.testing.assert_close(model(x), _padded_on_both_sides(state, x), rtol=1e-4, atol=0)


def _their_names(names: list[str]) -> list[str]:
    found = []
    for name in names:
        head, _, rest = name.partition(".")
        if head == "groups":
            group, _, rest = rest.partition(".")
            found.append(f"layer{int(group) + 1}.{rest}")
        else:
            plain = {"stem": "conv1", "bn": "bn1", "classifier": "linear"}
            found.append(f"{plain[head]}.{rest}")
    return found


def _padded_on_both_sides(state: dict, x: torch.Tensor) -> torch.Tensor:
    """The file's network, as its authors compute it."""
    F = torch.nn.functional

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        keys = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(state[f"{name}.{key}"] for key in keys))

    x = F.relu(norm(F.conv2d(x, state["conv1.weight"], padding=1), "bn1"))
    for group in range(1, 4):
        for block in range(9):
            name, stride = f"layer{group}.{block}", 2 if group > 1 and block == 0 else 1
            y = F.conv2d(x, state[f"{name}.conv1.weight"], stride=stride, padding=1)
            y = F.conv2d(F.relu(norm(y, f"{name}.bn1")), state[f"{name}.conv2.weight"], padding=1)
            if stride > 1:
                side = (y.shape[1] - x.shape[1]) // 2
                x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, side, side))
            x = F.relu(x + norm(y, f"{name}.bn2"))
    return F.linear(x.mean((2, 3)), state["linear.weight"], state["linear.bias"])


def test_distillation_by_hand():
    # softened by 2: now (1/4, 3/4) of logits 0 and 2 ln 3, then (1/2, 1/2)
    now = torch.tensor([[0.0, 2 * np.log(3), 5.0]])
    then = torch.tensor([[1.0, 1.0]])
    wanted = 0.5 * np.log(0.5 / 0.25) + 0.5 * np.log(0.5 / 0.75)
    assert float(torch_formulas.distillation(now, then)) == pytest.approx(wanted, rel=1e-6)


def test_importances_are_mean_squared_gradients_and_new_rows_are_free():
    p = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    found = torch_formulas.importances({"p": p}, [(p * 2).sum(), (p[0] * 4)])
    assert found["p"].tolist() == [(4 + 16) / 2, 4 / 2]
    grown = torch.tensor([2.0, 5.0, 100.0])
    penalty = torch_formulas.ewc_penalty({"p": grown}, {"p": p.detach()}, found)
    assert float(penalty) == pytest.approx(10 * 1 + 2 * 9)


def test_icarl_loss_by_hand():
    # the label of the new class counts for it alone; the old one's target is what it said before
    logits = torch.tensor([[0.0, np.log(3.0)]], dtype=torch.float64)
    loss = torch_formulas.icarl_loss(logits, torch.tensor([1]), torch.tensor([[np.log(3.0)]]))
    wanted = -(0.75 * np.log(0.5) + 0.25 * np.log(0.5) + np.log(0.75)) / 2
    assert float(loss) == pytest.approx(wanted, rel=1e-6)


def test_herding_takes_what_keeps_the_mean_nearest():
    angles = np.deg2rad([0, 40, 52, 90, 44])
    unit = np.stack([np.cos(angles), np.sin(angles)], 1)
    # the mean points to 45.3 degrees; 44 is nearest, and with it 52's mean comes nearer than 40's
    assert torch_formulas.herding(3 * unit, 2) == [4, 2]
    everything = torch_formulas.herding(unit, 9)
    assert sorted(everything) == list(range(5))


def test_unit_mean_is_a_unit_vector_between_the_views():
    views = [torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 5.0]])]
    half = 0.5**0.5
    assert torch_formulas.unit_mean(views).tolist() == pytest.approx([half, half])


def test_streaming_discriminant_adds_row_by_row():
    model = torch_formulas.StreamingDiscriminant(2, shrinkage=0.5)
    model.grow(2)
    model.add(np.array([1.0, 0.0]), 0)  # nothing seen: no delta
    model.add(np.array([3.0, 0.0]), 0)  # away (2, 0): delta 4 / 2, covariance (0 + 2) / 2
    model.add(np.array([0.0, 3.0]), 1)  # away (0, 3): delta 9 * 2 / 3, (2 * 1, 6) / 3
    assert model.means.tolist() == [[2, 0], [0, 3]]
    np.testing.assert_allclose(model.covariance, [[2 / 3, 0], [0, 2]])
    precision = 1 / np.array([0.5 * 2 / 3 + 0.5, 0.5 * 2 + 0.5])
    x = np.array([[1.0, 1.0]])
    wanted = [2 * precision[0] - 0.5 * 4 * precision[0], 3 * precision[1] - 4.5 * precision[1]]
    np.testing.assert_allclose(model.scores(x)[0], wanted)
    assert model.nbytes == 4 * (4 + 2 + 4)


def test_streaming_discriminant_begins_with_shrunken_covariance():
    pytest.importorskip("sklearn")
    random = np.random.default_rng(0)
    x, labels = random.standard_normal((200, 3)), np.arange(200) % 2
    model = torch_formulas.StreamingDiscriminant(3)
    model.fit_base(x, labels, 2)
    np.testing.assert_allclose(model.means[1], x[labels == 1].mean(0))
    np.testing.assert_allclose(model.covariance, np.eye(3), atol=0.2)
    assert model.counts.tolist() == [100, 100]


def test_logistic_regression_has_no_gradient_left():
    random = np.random.default_rng(0)
    x = torch.from_numpy(random.standard_normal((60, 4)))
    y = torch.from_numpy(np.arange(60) % 3)
    weights = fit(x, y, 3, 0.1, torch.zeros(5, 3, dtype=torch.float64)).requires_grad_()
    loss = torch.nn.functional.cross_entropy(x @ weights[:-1] + weights[-1], y)
    (loss + 0.05 * weights[:-1].square().sum()).backward()
    assert float(weights.grad.abs().max()) < 1e-5


def _row(method: str, seeds: int = 3, data: str = "digits") -> dict:
    return {"data": data, "protocol": "9+1", "method": method, "seeds": seeds}


def test_recorded_rows_stay_in_the_methods_order_over_runs(tmp_path: Path):
    path, facts = tmp_path / "new" / "rows.json", {"cpu": "a", "torch": "2"}
    Recorded(path, facts).add(_row("statistics"))
    again = Recorded(path, facts)
    assert again.has("digits", "9+1", "statistics", 3)
    assert not again.has("digits", "9+1", "statistics", 1)
    assert not again.has("cifar10", "9+1", "statistics", 3)
    again.add(_row("before"))
    again.add(_row("statistics", seeds=5))
    rows = Recorded(path, facts).rows
    assert [(row["method"], row["seeds"]) for row in rows] == [("before", 3), ("statistics", 5)]
    assert not any("machine" in row for row in rows)


def test_a_row_of_another_machine_says_so(tmp_path: Path):
    path = tmp_path / "rows.json"
    Recorded(path, {"cpu": "a"}).add(_row("before"))
    Recorded(path, {"cpu": "b"}).add(_row("labels"))
    found = Recorded(path, {"cpu": "c"})
    assert found.machine == {"cpu": "a"}
    assert [row.get("machine") for row in found.rows] == [None, {"cpu": "b"}]


@pytest.mark.parametrize("text", ["[]", "{", '{"machine": {}, "rows": [{"method": "x"}]}'])
def test_a_file_that_is_no_table_is_refused_and_stays(tmp_path: Path, text: str):
    path = tmp_path / "rows.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"rows\.json is no table"):
        Recorded(path, {})
    assert path.read_text() == text
