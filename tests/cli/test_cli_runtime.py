"""Models that ONNX Runtime alone runs, on the command line: beside the same network that the studio can build."""

from pathlib import Path
from typing import Any

import pytest

from studio.resources import Sample


def recipe(folder: Path, settings: str) -> Path:
    path = folder / "r.recipe.yaml"
    path.write_text(f"studio: 1\ndefault: {settings}\noptions: {{data_aware: false}}\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("bits", [8, 4])
def test_it_is_measured_as_the_same_network_in_torch(
    answer: Any, digits: Sample, gated: Path, tmp_path: Path, bits: int
) -> None:
    chosen = recipe(tmp_path, f"{{quantize: {{weight_bits: {bits}}}}}")
    given = ["--data", digits.test, "--samples", "256", "--recipe", chosen]
    built, run = answer("evaluate", digits.model, *given), answer("evaluate", gated, *given)
    assert run["metric"] == built["metric"]
    assert run["original"]["metric"] == built["original"]["metric"]
    report = answer("compress", gated, *given, "--out", tmp_path / "o.onnx")
    assert report["metric"]["preview"] == report["metric"]["exported"] == run["metric"]["value"]
    assert report["bytes"]["predicted"] == report["bytes"]["after"] == run["bytes"]
    assert report["macs"] is None
    assert report["verified"]


def test_without_data_it_is_held_against_the_original_on_the_same_random_input(
    answer: Any, digits: Sample, gated: Path, tmp_path: Path
) -> None:
    given = ["--recipe", recipe(tmp_path, "{prune: {kind: unstructured, ratio: 0.7}}"), "--samples", "64"]
    built, run = answer("evaluate", digits.model, *given), answer("evaluate", gated, *given)
    assert run["metric"] == built["metric"]
    assert run["sqnr_db"] == pytest.approx(built["sqnr_db"], abs=1e-3)


def test_what_it_lacks_is_said_in_one_line(studio: Any, answer: Any, digits: Sample, gated: Path) -> None:
    found = answer("inspect", gated)
    assert (found["model"]["macs"], set(found["lacks"])) == (None, {"fit", "scan", "train", "time"})
    status, _, said = studio("scan", gated, "--data", digits.test)
    assert status == 2
    assert "gated.onnx: it runs in ONNX Runtime alone: the ONNX operator If (node 'gate') is not supported." in said


def test_it_can_also_be_written_as_weights(answer: Any, gated: Path, tmp_path: Path) -> None:
    chosen, out = recipe(tmp_path, "{quantize: {weight_bits: 8}}"), tmp_path / "o.safetensors"
    found = answer("export", gated, "--recipe", chosen, "--format", "safetensors", "--out", out)
    assert found["bytes"] == out.stat().st_size
