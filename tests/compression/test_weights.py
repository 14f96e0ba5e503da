import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from studio.compression.compress import CompressedModel, compress
from studio.compression.trainable import freeze, trainable
from studio.compression.weights import save_weights
from studio.errors import CompressionError
from studio.models.model import Model
from studio.recipe.recipe import Recipe
from studio.recipe.settings import LayerSettings, PruneSettings


@pytest.fixture
def trained(model: Model, mixed: Recipe) -> CompressedModel:
    """Every parameter moved, as training would."""
    compressed = compress(model, mixed)
    graph = trainable(compressed)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in graph.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return freeze(compressed, graph)


def test_the_same_recipe_gives_exactly_what_was_saved(
    model: Model, mixed: Recipe, trained: CompressedModel, samples: torch.Tensor, tmp_path: Path
) -> None:
    path = save_weights(trained, tmp_path)
    loaded = compress(model, mixed, weights=path)
    assert torch.equal(loaded.graph(samples), trained.graph(samples))
    assert loaded.factors == trained.factors
    assert list(tmp_path.iterdir()) == [path]


def test_the_same_content_has_the_same_name(trained: CompressedModel, tmp_path: Path) -> None:
    assert save_weights(trained, tmp_path) == save_weights(trained, tmp_path)


def test_other_settings_start_from_the_trained_values(
    model: Model, mixed: Recipe, trained: CompressedModel, tmp_path: Path
) -> None:
    path = save_weights(trained, tmp_path)
    loaded = compress(model, mixed.with_layer("stem", LayerSettings(prune=PruneSettings(ratio=0.25))), weights=path)
    weight, wanted = loaded.effective_weight("stem"), trained.effective_weight("stem")
    kept = weight != 0
    assert int((~kept).sum()) == 54
    assert torch.equal(weight[kept], wanted[kept])
    assert torch.equal(loaded.graph.get_parameter("stem.bias"), trained.graph.get_parameter("stem.bias"))
    assert torch.equal(loaded.effective_weight("down"), trained.effective_weight("down"))


def test_an_empty_recipe_gives_the_trained_dense_model(
    model: Model, trained: CompressedModel, samples: torch.Tensor, tmp_path: Path
) -> None:
    loaded = compress(model, Recipe(), weights=save_weights(trained, tmp_path))
    torch.testing.assert_close(loaded.graph(samples), trained.graph(samples), atol=1e-5, rtol=1e-4)


def test_weights_of_another_model_are_refused(model: Model, trained: CompressedModel, tmp_path: Path) -> None:
    path = save_weights(trained, tmp_path)
    other = Model(model.graph, replace(model.info, fingerprint="0" * 64))
    with pytest.raises(CompressionError, match="another model"):
        compress(other, Recipe(), weights=path)


def test_a_truncated_file_is_named_in_one_line(model: Model, trained: CompressedModel, tmp_path: Path) -> None:
    path = save_weights(trained, tmp_path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(CompressionError, match=f"{path.name}.*damaged") as caught:
        compress(model, Recipe(), weights=path)
    assert "\n" not in str(caught.value)


def test_a_folder_that_cannot_be_written_to_is_named(trained: CompressedModel, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CompressionError, match=r"file: the trained weights cannot be written: Not a directory"):
        save_weights(trained, tmp_path / "file")


def test_a_missing_file_is_named(model: Model, tmp_path: Path) -> None:
    with pytest.raises(CompressionError, match=r"none\.safetensors"):
        compress(model, Recipe(), weights=tmp_path / "none.safetensors")


def test_other_safetensors_are_no_weights_file(model: Model, tmp_path: Path) -> None:
    save_file({"x": torch.zeros(2)}, tmp_path / "x.safetensors")
    with pytest.raises(CompressionError, match="not a weights file"):
        compress(model, Recipe(), weights=tmp_path / "x.safetensors")


def test_tensors_that_do_not_fit_are_refused(model: Model, tmp_path: Path) -> None:
    header = json.dumps({"version": 1, "model": model.info.fingerprint, "layers": {}})
    save_file({"stem.weight": torch.zeros(2)}, tmp_path / "x.safetensors", {"studio": header})
    with pytest.raises(CompressionError, match="do not fit"):
        compress(model, Recipe(), weights=tmp_path / "x.safetensors")
