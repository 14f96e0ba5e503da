"""What weights alone say costs nothing, counted by hand."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from studio.evaluation.feasibility import feasibility
from studio.evaluation.harmless import fewest_bits, find_harmless, most_zeros
from studio.models.open import open_model
from studio.progress import Cancelled, Progress, silent
from studio.recipe.settings import ChannelSettings, LayerSettings, RankSettings


def test_the_fewest_bits_are_those_whose_rounding_keeps_the_noise_below_a_thousandth_of_the_signal():
    on_the_grid = torch.tensor([[7.0, -3.0, 1.0], [0.7, 0.2, -0.1]])  # multiples of a seventh of the largest: exact
    assert fewest_bits(on_the_grid) == 4
    between = torch.tensor([[7.0, 3.5, 3.5, 3.5]])  # 4 bits: 3 · 0.5² / 85.75; 8 bits: below 3 · 0.028² / 85.75
    assert fewest_bits(between) == 8
    drowned = torch.tensor([[1.0, *[0.0039] * 100_000]])  # every weight but one is rounded to 0: half of the signal is
    assert fewest_bits(drowned) is None


def test_the_smallest_weights_become_zero_up_to_a_thousandth_of_the_squares():
    weights = torch.ones(10, 10)
    weights[0] = 0.05  # 10 · 0.0025 = 0.025 of 90.025: harmless; one more would be 1.025
    assert most_zeros(weights) == 0.10
    assert most_zeros(torch.ones(10, 10)) == 0


def rewritten(path: Path, **weights: np.ndarray) -> Path:
    """A model with other weights."""
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if tensor.name in weights:
            tensor.CopyFrom(numpy_helper.from_array(weights[tensor.name].astype(np.float32), tensor.name))
    path.write_bytes(model.SerializeToString())
    return path


def test_a_model_is_looked_at_layer_by_layer_and_group_by_group(two_layers: Path):
    random = np.random.default_rng(1)
    first = random.normal(size=(16, 8))
    first[12:] *= 1e-3  # a quarter of the channels is next to nothing
    second = random.normal(size=(4, 2)) @ random.normal(size=(2, 16))
    model = open_model(str(rewritten(two_layers, **{"first.weight": first, "second.weight": second})))
    found = find_harmless(model, silent)
    assert found.settings["channels"] == {
        "first": LayerSettings(channels=ChannelSettings(ratio=0.25, importance="magnitude"))
    }
    assert found.settings["rank"] == {"second": LayerSettings(rank=RankSettings(rank=2))}
    told = {one.method: one for one in feasibility(model.info, found=found)}
    assert told["rank"].harmless == {}  # so small a layer that the factors' names take more than they save
    assert told["channels"].macs_saved == 4 * 8 + 4 * 4  # four rows of the first, four columns of the second
    assert told["prune"].zeros is not None
    assert told["prune"].zeros >= 4 * 8


def test_looking_can_be_cancelled(two_layers: Path):
    def stop(_progress: Progress) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        find_harmless(open_model(str(two_layers)), stop)
