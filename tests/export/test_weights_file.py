"""Weights alone, compressed and written to safetensors."""

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from safetensors.torch import safe_open, save_file

from studio.compression.compress import compress
from studio.errors import ExportError
from studio.evaluation.weight_error import WeightNorms, weight_error
from studio.export.weights_file import export_weights, measure_weights_size
from studio.models.open import open_model
from studio.recipe.recipe import Recipe

RECIPES = {
    "int8": {"quantize": {"weight_bits": 8}},
    "int8 tensor": {"quantize": {"weight_bits": 8, "granularity": "tensor"}},
    "int4 groups": {"quantize": {"weight_bits": 4, "granularity": "group", "group_size": 10}},
    "3 bits": {"quantize": {"weight_bits": 3}},
    "zero points": {"quantize": {"weight_bits": 4, "granularity": "group", "group_size": 10, "symmetric": False}},
    "half precision": {"quantize": {"weight_bits": 16}},
    "sparse": {"prune": {"kind": "unstructured", "ratio": 0.5}},
    "rank": {"rank": {"rank": 3}},
    "all": {
        "rank": {"rank": 5},
        "prune": {"kind": "unstructured", "ratio": 0.3},
        "quantize": {"weight_bits": 4, "granularity": "channel"},
    },
}


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    generator = torch.Generator().manual_seed(0)
    shapes = {"conv.weight": (24, 5, 3, 3), "conv.bias": (24,), "norm.weight": (24,), "fc.weight": (48, 33)}
    state = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    state |= {"fc.weight": state["fc.weight"].half(), "steps": torch.tensor([3])}
    path = tmp_path_factory.mktemp("alone") / "m.safetensors"
    save_file(state, path)
    return open_model(path)


@pytest.mark.parametrize("name", RECIPES)
def test_what_is_written_is_read_again_as_the_preview_showed_it(alone, tmp_path, name):
    recipe = Recipe.model_validate({"studio": 1, "default": RECIPES[name]})
    compressed, norms, out = compress(alone, recipe), WeightNorms(alone), tmp_path / "out.safetensors"
    report = export_weights(compressed, out, norms)
    assert report.after == out.stat().st_size
    assert report.predicted == pytest.approx(report.after, abs=40)
    assert report.exported.value == pytest.approx(report.preview.value, rel=1e-3)
    again = open_model(out)
    assert torch.equal(again.weights.tensors["conv.bias"], alone.weights.tensors["conv.bias"])
    assert again.weights.tensors["steps"].tolist() == [3]
    if "rank" not in RECIPES[name]:
        for layer in ("conv", "fc"):
            wanted = compressed.effective_weight(layer)
            torch.testing.assert_close(again.module(layer).weight.float(), wanted, atol=2e-3, rtol=0)


def test_integers_stand_for_weights_as_the_form_says(alone, tmp_path):
    settings = {"quantize": {"weight_bits": 4, "granularity": "group", "group_size": 10}}
    compressed = compress(alone, Recipe.model_validate({"studio": 1, "layers": {"fc": settings}}))
    export_weights(compressed, tmp_path / "o.safetensors", WeightNorms(alone))
    stored = load_file(tmp_path / "o.safetensors")
    packed, scale = stored["fc.weight_quantized"], stored["fc.weight_scale"]
    assert (packed.shape, packed.dtype, scale.shape) == ((48, 17), np.uint8, (48, 4))
    halves = np.stack([packed & 15, packed >> 4], -1).reshape(48, -1)[:, :33].astype(int)
    weight = np.where(halves > 7, halves - 16, halves) * scale.repeat(10, 1)[:, :33]
    np.testing.assert_allclose(weight, compressed.effective_weight("fc").numpy(), rtol=1e-6)
    with safe_open(str(tmp_path / "o.safetensors"), "np") as file:
        forms = json.loads(file.metadata()["studio_packed"])
    assert forms == {"fc.weight": {"bits": 4, "group_size": 10, "shape": [48, 33]}}


def test_the_weight_error_is_that_of_numpy(alone):
    recipe = Recipe.model_validate({"studio": 1, "layers": {"conv": {"prune": {"kind": "unstructured", "ratio": 0.5}}}})
    compressed = compress(alone, recipe)
    before = [alone.module(name).weight.double().numpy() for name in ("conv", "fc")]
    lost = before[0] - compressed.effective_weight("conv").double().numpy()
    share = np.linalg.norm(lost) / np.sqrt(sum((weight**2).sum() for weight in before))
    result = weight_error(compressed, WeightNorms(alone))
    assert result.metric.value == pytest.approx(100 * share)
    assert result.sqnr_db == pytest.approx(-20 * np.log10(share))
    assert result.finished


def test_an_unchanged_file_keeps_its_size_and_has_no_error(alone, tmp_path):
    report = export_weights(compress(alone, Recipe()), tmp_path / "o.safetensors", WeightNorms(alone))
    assert report.after == report.before == measure_weights_size(alone)
    assert report.exported.value == 0
    assert report.after == pytest.approx(alone.info.bytes, abs=16)


def test_a_file_that_holds_other_weights_is_not_kept(alone, tmp_path, monkeypatch):
    monkeypatch.setattr("studio.export.weights_file.pack", lambda q: torch.zeros(len(q), (q.shape[1] + 1) // 2).byte())
    recipe = Recipe.model_validate({"studio": 1, "default": {"quantize": {"weight_bits": 4}}})
    with pytest.raises(ExportError, match="differ from the preview's"):
        export_weights(compress(alone, recipe), tmp_path / "o.safetensors", WeightNorms(alone))
    assert list(tmp_path.iterdir()) == []
