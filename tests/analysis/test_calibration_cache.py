"""Calibrations on disk: found again by model and samples, never believed when damaged, bounded in size."""

import os
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import fx, nn

from studio.analysis import calibration_cache
from studio.analysis.calibration import Calibration, calibrate
from studio.analysis.calibration_cache import remembered_calibration
from studio.models.layer import ModelInfo, TensorSpec
from studio.models.layers import layer_table
from studio.models.model import Model
from studio.progress import Cancelled, Progress

SIZE = (2 * 2 + 2 + 3 * 3 + 3) * 4


@pytest.fixture
def model() -> Model:
    graph = fx.symbolic_trace(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))).eval()
    layers = layer_table(graph, (torch.zeros(2, 2),))
    return Model(graph, ModelInfo("m", "onnx", "ab", (TensorSpec("x", "float32", (None, 2)),), (), layers, 0, 0, 0))


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """One entry for every calibration that was really run."""
    runs: list[object] = []

    def counted(*arguments: object) -> Calibration:
        runs.append(arguments)
        return calibrate(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(calibration_cache, "calibrate", counted)
    return runs


def samples(seed: int = 0) -> list[tuple[torch.Tensor, ...]]:
    generator = torch.Generator().manual_seed(seed)
    return [(torch.randn(5, 2, generator=generator),), (torch.randn(3, 2, generator=generator),)]


def same(one: Calibration, other: Calibration) -> bool:
    return (
        one.samples == other.samples
        and one.fingerprint == other.fingerprint
        and list(one.moments) == list(other.moments)
        and all(torch.equal(one.moments[name], other.moments[name]) for name in one.moments)
        and all(torch.equal(one.means[name], other.means[name]) for name in one.means)
    )


def test_the_same_model_and_samples_are_run_once(model: Model, measured: list[object], tmp_path: Path) -> None:
    batches = samples()
    first, again = (remembered_calibration(model, batches, folder=tmp_path) for _ in range(2))
    assert len(measured) == 1
    assert same(first, again)
    assert again.samples == 8
    assert again.batches is batches
    remembered_calibration(model, samples(1), folder=tmp_path)
    assert len(measured) == 2


def test_samples_are_not_written(model: Model, tmp_path: Path) -> None:
    remembered_calibration(model, samples(), folder=tmp_path)
    (path,) = tmp_path.iterdir()
    assert {tuple(tensor.shape) for tensor in load_file(path).values()} == {(2, 2), (2,), (3, 3), (3,)}


def test_what_another_version_stored_is_not_read(
    model: Model, measured: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remembered_calibration(model, samples(), folder=tmp_path)
    monkeypatch.setattr(calibration_cache, "_VERSION", 0)
    remembered_calibration(model, samples(), folder=tmp_path)
    assert len(measured) == 2


def change_a_value(path: Path) -> None:
    with safe_open(path, "pt") as file:
        header = file.metadata()
    tensors = load_file(path)
    tensors["moments/0"] = tensors["moments/0"] + 1
    save_file(tensors, path, header)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-5]),
        lambda path: path.write_bytes(b"something else"),
        lambda path: save_file({"x": torch.zeros(1)}, path),
        lambda path: save_file({"x": torch.zeros(1)}, path, {"studio": "[]"}),
        change_a_value,
    ],
    ids=["empty", "cut", "text", "no header", "another header", "changed value"],
)
def test_a_damaged_file_is_measured_anew_and_mended(model, measured, tmp_path: Path, damage) -> None:
    expected = remembered_calibration(model, samples(), folder=tmp_path)
    (path,) = tmp_path.iterdir()
    damage(path)
    assert same(remembered_calibration(model, samples(), folder=tmp_path), expected)
    assert same(remembered_calibration(model, samples(), folder=tmp_path), expected)
    assert len(measured) == 2


def test_the_files_not_used_for_longest_make_room(model: Model, measured: list[object], tmp_path: Path) -> None:
    for seed in (0, 1):
        remembered_calibration(model, samples(seed), folder=tmp_path)
    for age, path in enumerate(sorted(tmp_path.iterdir(), key=lambda path: path.stat().st_mtime_ns)):
        os.utime(path, (1000 + age, 1000 + age))
    remembered_calibration(model, samples(0), folder=tmp_path)  # used again: now the newer one
    room = sum(path.stat().st_size for path in tmp_path.iterdir()) + SIZE - 1
    remembered_calibration(model, samples(2), folder=tmp_path, largest=room)
    assert len(measured) == 3
    remembered_calibration(model, samples(0), folder=tmp_path)
    assert len(measured) == 3
    remembered_calibration(model, samples(1), folder=tmp_path)
    assert len(measured) == 4


def test_what_would_fill_most_of_the_room_is_not_kept(model: Model, tmp_path: Path) -> None:
    remembered_calibration(model, samples(), folder=tmp_path, largest=2 * SIZE - 1)
    assert list(tmp_path.iterdir()) == []
    remembered_calibration(model, samples(), folder=tmp_path, largest=2 * SIZE)
    assert len(list(tmp_path.iterdir())) == 1


def test_without_a_place_to_keep_it_the_calibration_is_right_all_the_same(model: Model, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = remembered_calibration(model, samples(), folder=tmp_path / "file" / "below")
    assert same(found, calibrate(model, samples()))


def test_cancelling_leaves_nothing_behind(model: Model, tmp_path: Path) -> None:
    def stop(_progress: Progress) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        remembered_calibration(model, samples(), stop, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []
