"""The command line's values and mistakes: what is understood, and what is said otherwise."""

from __future__ import annotations

import argparse
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyedge.cli import COMMANDS, main, parsing


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("500000", 500_000),
        ("500k", 500_000),
        ("1.5M", 1_500_000),
        ("2G", 2_000_000_000),
        ("500_000", 500_000),
        ("500,000", 500_000),
        (".5m", 500_000),
    ],
)
def test_cli_amount_reads_sizes_as_people_write_them(text: str, value: int) -> None:
    assert parsing.amount(text) == value


@pytest.mark.parametrize("text", ["", "k", "0", "-5", "1.2.3M", "5T", "nan", "0.1"])
def test_cli_amount_refuses_what_is_no_size(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="500k"):
        parsing.amount(text)


@given(st.text())
def test_cli_amount_never_fails_otherwise(text: str) -> None:
    try:
        assert parsing.amount(text) >= 1
    except argparse.ArgumentTypeError:
        return


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (parsing.widths, "14, 120,138", [14, 120, 138]),
        (parsing.widths, "stem=14,groups.0.0.conv1=120", {"stem": 14, "groups.0.0.conv1": 120}),
        (parsing.lambdas, "1,10,0.5", (1.0, 10.0, 0.5)),
        (parsing.blocks, "a.0,a.1; b.0", [["a.0", "a.1"], ["b.0"]]),
        (parsing.listed(str), "cat, golden retriever", ["cat", "golden retriever"]),
        (parsing.setting, "dropout=0.3", ("dropout", 0.3)),
        (parsing.setting, "batch_norm=no", ("batch_norm", False)),
        (parsing.setting, "hidden=none", ("hidden", None)),
        (parsing.setting, "widths=4,6", ("widths", [4, 6])),
        (parsing.setting, "shortcut=pad", ("shortcut", "pad")),
        (parsing.number(0, 1), "0.8", 0.8),
    ],
)
def test_cli_values_are_read(parse: Any, text: str, value: Any) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (parsing.widths, "14,many"),
        (parsing.widths, "14,stem=3"),
        (parsing.widths, ""),
        (parsing.lambdas, "1,10"),
        (parsing.lambdas, "1,10,-1"),
        (parsing.blocks, "a;;b"),
        (parsing.listed(str), " , "),
        (parsing.setting, "dropout"),
        (parsing.setting, "my-option=3"),
        (parsing.number(0, 1), "80"),
        (parsing.number(0), "nan"),
        (parsing.number(0), "inf"),
        (parsing.number(0, above=True), "0"),
        (parsing.whole(1), "1.5"),
        (parsing.whole(1), "0"),
    ],
)
def test_cli_bad_values_say_what_was_wanted_and_what_came(parse: Any, text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"wanted .*got"):
        parse(text)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("trian", "pyedge: error: no command is named 'trian' (did you mean train?)"),
        ("xyz", "no command is named 'xyz'; there are train, plan"),
        ("train", "pyedge train: error: missing: DATA, --out (pyedge train --help tells more)"),
        ("train digits --out t --epoch 3", "no option is named --epoch (did you mean --epochs?)"),
        ("train digits --out t --epochs x", "--epochs: wanted a whole number from 0, got 'x'"),
        ("train digits --out t --optimizer sdg", "--optimizer: invalid choice: 'sdg'"),
        ("train digits more --out t", "'more' is one argument too many"),
        ("train digits --out t --augment crop,flop", "got 'flop' (did you mean flip?)"),
        ("plan t.pt digits --P 80", "--P: wanted a number from 0 to 1, got '80'"),
        ("compress t.pt digits --out s.pt", "say how much to cut"),
        ("transfer s.pt digits --out t.pt", "missing: --teacher"),
        ("transfer s.pt digits --method labels --no-labels --out t.pt", "nothing to learn"),
    ],
)
def test_cli_wrong_usage_is_one_line_and_exit_code_2(
    line: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(line.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert message in err


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "demo"])
def test_cli_help_of_each_command_teaches(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert main([command, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: pyedge {command} ")
    assert f"  pyedge {command} " in text.split("examples:")[1]
    assert all(option in text for option in ("--json", "--quiet"))
    assert ("--threads" in text) == (command not in ("category", "export", "inspect", "serve"))
    on_devices = ("category", "export", "inspect", "learn", "predict")
    assert ("--device" in text) == (command not in on_devices)
    assert max(map(len, text.splitlines())) <= 100
    assert main(["help", command]) == 0
    assert capsys.readouterr().out == text


def test_cli_options_mean_the_same_in_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    helps = {}
    for command in ("train", "transfer"):
        main([command, "--help"])
        helps[command] = capsys.readouterr().out
    for option in ("--epochs", "--steps", "--batch-size", "--resume", "--augment", "--seed"):
        assert all(option in text for text in helps.values())
