"""Every form that a weight may be stored in: trained, frozen, written to a file and read again."""

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import torch
from numpy.typing import DTypeLike

from studio.compression.compress import compress
from studio.compression.half import HalfWeight
from studio.compression.trainable import freeze, trainable
from studio.compression.weights import save_weights
from studio.models.model import Model
from studio.recipe.recipe import Recipe

FORMS = {
    "half precision": {"weight_bits": 16},
    "bfloat16": {"weight_bits": 16, "float_format": "bf16"},
    "8 bits with zero points": {"symmetric": False},
    "4-bit groups with zero points": {"weight_bits": 4, "granularity": "group", "group_size": 8, "symmetric": False},
    "2 bits with one zero point": {"weight_bits": 2, "granularity": "tensor", "symmetric": False},
}


def recipe_of(form: dict[str, object], ratio: float = 0.4) -> Recipe:
    return Recipe.model_validate({"default": {"quantize": form, "prune": {"ratio": ratio}}})


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_form_trains_as_what_it_stores_and_comes_back_from_its_file(
    form: dict[str, object], model: Model, samples: torch.Tensor, tmp_path: Path
) -> None:
    recipe = recipe_of(form)
    compressed = compress(model, recipe)
    graph = trainable(compressed)
    torch.testing.assert_close(graph(samples), compressed.graph(samples), rtol=0, atol=0)
    optimizer = torch.optim.Adam(graph.parameters(), lr=0.1)
    graph(samples).square().sum().backward()
    optimizer.step()
    frozen = freeze(compressed, graph)
    torch.testing.assert_close(frozen.graph(samples), graph(samples), rtol=1e-5, atol=1e-5)
    assert not torch.equal(frozen.effective_weight("stem"), compressed.effective_weight("stem"))
    assert int((frozen.effective_weight("stem") == 0).sum()) >= round(0.4 * 8 * 27)
    loaded = compress(model, recipe, weights=save_weights(frozen, tmp_path))
    assert torch.equal(loaded.graph(samples), frozen.graph(samples))


@pytest.mark.parametrize(("dtype", "reference"), [(torch.float16, np.float16), (torch.bfloat16, ml_dtypes.bfloat16)])
def test_floats_of_16_bits_are_the_nearest_ones(dtype: torch.dtype, reference: DTypeLike) -> None:
    weight = torch.randn(4, 30, generator=torch.Generator().manual_seed(3)) * torch.logspace(-9, 4, 30)
    expected = weight.numpy().astype(reference).astype(np.float32)
    np.testing.assert_array_equal(HalfWeight(weight, dtype)().numpy(), expected)


def test_what_half_precision_cannot_reach_becomes_its_largest_value() -> None:
    assert HalfWeight(torch.tensor([[1e6, -7e4, 2.0]]), torch.float16)().tolist() == [[65504.0, -65504.0, 2.0]]


def test_channels_are_scaled_and_rounded_anew() -> None:
    scaled = HalfWeight(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.bfloat16).scaled(torch.tensor([0.5, 1.003]))
    assert scaled is not None
    assert scaled().tolist() == [[0.5, 1.0], [3.015625, 4.0]]
