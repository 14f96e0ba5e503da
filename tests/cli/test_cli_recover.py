"""`studio recover` measures the recovery ladder of a recipe."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from studio.cli import main

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def recover(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs ``studio recover``: exit status, standard output, standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["studio", "recover", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            main()
        captured = capsys.readouterr()
        return int(exit_.value.code or 0), captured.out, captured.err

    return run


def recipe(folder: Path, text: str) -> Path:
    path = folder / "r.recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Labelled samples for `two_layers`."""
    random = np.random.default_rng(1)
    np.savez(tmp_path / "d.npz", x=random.normal(size=(64, 8)).astype(np.float32), y=random.integers(0, 4, 64))
    path = tmp_path / "d.data.yaml"
    path.write_text("source: d.npz\ninput: x\nlabel: y\nkind: tensor\nmetric: top1\n", encoding="utf-8")
    return path


def test_each_rung_is_measured_and_the_suggested_one_written(
    recover: Run, two_layers: Path, data: Path, tmp_path: Path
):
    text = "studio: 1\nlayers: {first: {prune: {kind: unstructured, ratio: 0.9}}}\noptions: {calibration_samples: 16}\n"
    out = tmp_path / "next.recipe.yaml"
    chosen = ("--recipe", recipe(tmp_path, text), "--data", data, "--calibration", data)
    status, told, said = recover(two_layers, *chosen, "--samples", 48, "--out", out, "--json")
    assert status == 0, said
    plain = json.loads(told)
    assert [rung["rung"] for rung in plain["rungs"]] == ["leave", "norms", "biases", "refit", "distil"]
    assert [rung["holds"] for rung in plain["rungs"]] == [False, False, False, True, False]
    assert [rung["metric"]["samples"] for rung in plain["rungs"][:-1]] == [48] * 4
    assert plain["rungs"][-1]["metric"] is None
    assert plain["next"]["why"]
    written = yaml.safe_load(out.read_text())
    assert (written["options"]["calibration_samples"], written["layers"]["first"]["prune"]["ratio"]) == (16, 0.9)

    status, table, _ = recover(two_layers, *chosen)
    assert status == 0
    assert "refit (now)" in table
    assert "next: " in table


def test_a_recipe_that_does_nothing_has_nothing_to_recover(recover: Run, two_layers: Path, data: Path, tmp_path: Path):
    empty = recipe(tmp_path, "studio: 1\n")
    status, _, said = recover(two_layers, "--recipe", empty, "--data", data, "--calibration", data)
    assert status == 2
    assert "compress at least one layer first" in said
