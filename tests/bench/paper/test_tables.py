"""Every table at the smoke scale, from the command to the report; stages that resume."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")

from bench.paper.__main__ import TABLES, UNFINISHED, main  # noqa: E402
from bench.paper.cutting import Cutting, plan_student  # noqa: E402
from bench.paper.report.columns import COLUMNS  # noqa: E402
from bench.paper.slices import Slice, SliceEndError  # noqa: E402
from bench.paper.systems import INDEPENDENT, TRANSFER  # noqa: E402
from bench.paper.workshop import Workshop  # noqa: E402
from bench.paper.worlds import SCALES, WORLDS, World  # noqa: E402
from pyedge.cloud.compression.widths import mean_zero_fraction  # noqa: E402
from pyedge.data import BatchLoader  # noqa: E402

_SMALL = replace(
    WORLDS["smoke"]["cifar"],
    data="generated",
    channels=3,
    options={"depth": 10, "widths": (6, 8, 10), "stem": 6},
    teacher={"steps": 4, "lr": 0.05, "eval_every": 2},
    student={"steps": 6, "lr": 0.05, "eval_every": 2},
    profile_images=32,
)

# a table of students, and one of learning on the engine
ESSENTIAL = ("table2", "table6")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What all tables share: the teachers, and students of other tables."""
    return tmp_path_factory.mktemp("cache")


def run(table: str, cache: Path, *more: str) -> int:
    return main([table, "--seeds", "0", "--cache", str(cache), "--into", str(cache), *more])


def recorded(table: str, cache: Path) -> dict[str, dict[str, object]]:
    found = json.loads((cache / f"{table}_smoke.json").read_text())
    return {f"{row['group']}, {row['name']}": row["seeds"]["0"] for row in found["rows"]}


@pytest.mark.parametrize(
    "table",
    [
        table if table in ESSENTIAL else pytest.param(table, marks=pytest.mark.exhaustive)
        for table in TABLES
    ],
)
def test_table_runs_at_smoke_and_is_not_run_again(table: str, cache: Path, capsys):
    assert run(table, cache) == 0
    rows = recorded(table, cache)
    for column in COLUMNS.get(table, ()):
        assert any(row.get(column.key) is not None for row in rows.values()), column.key
    assert len(capsys.readouterr().out.splitlines()) == len(rows)
    before = (cache / f"{table}_smoke.json").read_bytes()
    assert run(table, cache) == 0
    assert capsys.readouterr().out == ""
    assert (cache / f"{table}_smoke.json").read_bytes() == before


def test_report_has_every_recorded_row(cache: Path, tmp_path: Path):
    pages = tmp_path / "paper.md", tmp_path / "paper.html"
    # a row alone, so that something waits
    run("table2", cache)
    path = cache / "table2_smoke.json"
    whole = path.read_text()
    content = json.loads(whole)
    content["rows"] = content["rows"][:1]
    path.write_text(json.dumps(content))
    outs = ["--markdown", str(pages[0]), "--html", str(pages[1])]
    assert main(["report", "--into", str(cache), "--scales", "smoke", *outs]) == 0
    path.write_text(whole)
    text, page = (each.read_text() for each in pages)
    assert "Not run yet: ResNet 1; ResNet 4; L1 norm, 10% of the filters" in text
    assert "97.3" in text
    assert "<svg" in page
    assert "http://" not in page.replace('xmlns="http://www.w3.org/2000/svg"', "")
    for table in set(TABLES) & {p.name.partition("_")[0] for p in cache.glob("table*.json")}:
        for name in recorded(table, cache) if table != "table2" else ():
            assert name.partition(", ")[2] in text


def test_report_of_nothing_names_what_is_missing(tmp_path: Path):
    outs = ["--markdown", str(tmp_path / "p.md"), "--html", str(tmp_path / "p.html")]
    assert main(["report", "--into", str(tmp_path), *outs]) == 0
    assert "## Not run yet\n\nTable 1" in (tmp_path / "p.md").read_text()


def test_a_slice_without_time_ends_with_a_status_of_its_own(tmp_path: Path):
    assert run("table3", tmp_path, "--stop-after", "0") == UNFINISHED
    assert not list(tmp_path.glob("*.json"))


def workshop(cache: Path, slice_: Slice, world: World = _SMALL) -> Workshop:
    return Workshop(world, cache, cache, cache, slice_, lambda line: None)


class _Over(Slice):
    """A slice that lets stages begin, and is over for their loaders."""

    def __init__(self) -> None:
        super().__init__(0)

    def check(self) -> None:
        """Let a stage begin."""


def test_a_training_in_slices_ends_in_the_same_bits(tmp_path: Path):
    whole = workshop(tmp_path / "whole", Slice(None)).taught(Cutting(0.7), TRANSFER, 0)
    slices = 0
    while True:
        try:
            found = workshop(tmp_path / "slices", _Over()).taught(Cutting(0.7), TRANSFER, 0)
            break
        except SliceEndError:
            slices += 1
    assert slices > 2
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, found.network.state_dict()[name]), name
    own = {name: value for name, value in found.figures.items() if name != "seconds"}
    assert own == {name: value for name, value in whole.figures.items() if name != "seconds"}
    assert not list((tmp_path / "slices").glob("*.training*"))


def test_a_finished_stage_is_read_and_not_made_again(tmp_path: Path):
    first = workshop(tmp_path, Slice(None)).taught(Cutting(0.7), INDEPENDENT, 0)
    again = workshop(tmp_path, Slice(0)).taught(Cutting(0.7), INDEPENDENT, 0)
    assert again.figures == first.figures
    with pytest.raises(SliceEndError):
        workshop(tmp_path, Slice(0)).taught(Cutting(0.7), INDEPENDENT, 1)


def test_accuracies_are_of_the_best_and_of_the_last_evaluation(tmp_path: Path):
    shop = workshop(tmp_path, Slice(None))
    found = shop.taught(Cutting(0.7), TRANSFER, 0)
    assert found.figures["accuracy"] == shop.accuracy(found.network, "test")
    assert found.figures["val"] == shop.accuracy(found.network, "val")
    assert found.figures["val"] == max(row["val_accuracy"] for row in found.figures["history"])
    assert found.figures["history"][-1]["step"] == 6


# dynamo looks at the gradients of everything that it is given
@pytest.mark.exhaustive
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_the_paper_scales_path_compiles_the_networks(tmp_path: Path):
    plain = workshop(tmp_path / "plain", Slice(None)).taught(Cutting(0.7), TRANSFER, 0)
    world = replace(_SMALL, compiled="eager")
    torch._dynamo.reset()
    shop = workshop(tmp_path / "compiled", Slice(None), world)
    compiled = shop.taught(Cutting(0.7), TRANSFER, 0)
    assert torch._dynamo.utils.counters["frames"]["ok"] > 0
    torch.testing.assert_close(
        compiled.network.state_dict(), plain.network.state_dict(), rtol=1e-3, atol=1e-4
    )


def test_one_order_of_filters_gives_no_larger_a_student(tmp_path: Path):
    shop = workshop(tmp_path, Slice(None))
    loader = BatchLoader(shop.parts.train, 32)
    teacher = shop.teacher.network
    plain, shared = (
        plan_student(teacher, loader, Cutting(0.5, shared=each), 0, 64) for each in (False, True)
    )
    assert shared.params <= plain.params
    kept, gone = [], []
    for each, width in zip(shared.sets, shared.set_widths, strict=True):
        found = mean_zero_fraction(each, shared.profile, shared.shallow.source)
        assert found is not None
        kept += sorted(found.tolist())[:width]
        gone += sorted(found.tolist())[width:]
    assert max(kept) < min(gone)


def test_every_scale_has_the_worlds_that_tables_ask_for():
    for scale in SCALES:
        assert {"cifar", "imagenet", "caltech"} <= WORLDS[scale].keys()
    assert WORLDS["paper"]["cifar"].student_name(0.8) == "ResNet 3"
    assert WORLDS["cpu"]["imagenet"].student_name(0.7) == "ResNet 8"


def test_rows_are_chosen_by_parts_of_their_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    into = ["--scale", "smoke", "--cache", str(tmp_path), "--into", str(tmp_path)]
    assert main(["table4", *into, "--rows", "nothing of this name"]) == 2
    told = capsys.readouterr().err
    assert "no such row" in told
    assert "ResNet 1, our student: statistics" in told
    assert main(["table2", *into, "--seeds", "0", "--rows", "post mortem,L1"]) == 0
    recorded = json.loads((tmp_path / "table2_smoke.json").read_text())["rows"]
    assert [row["name"].split()[0] for row in recorded] == ["L1", "L1", "teacher,", "teacher,"]
