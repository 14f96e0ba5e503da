import torch
import torch.nn.functional as F

from studio.compression.compress import CompressedModel, compress
from studio.compression.trainable import freeze, trainable
from studio.models.model import Model
from studio.recipe.recipe import Recipe
from studio.recipe.settings import LayerSettings


def trained(compressed: CompressedModel, samples: torch.Tensor) -> torch.fx.GraphModule:
    """A few steps of Adam towards random outputs, which pull every weight about."""
    graph = trainable(compressed).train()
    optimiser = torch.optim.Adam([p for p in graph.parameters() if p.requires_grad], lr=0.01)
    targets = torch.randn(len(samples), 5, generator=torch.Generator().manual_seed(0))
    for _ in range(5):
        optimiser.zero_grad()
        F.mse_loss(graph(samples), targets).backward()
        optimiser.step()
    return graph


def test_what_trains_starts_as_what_was_compressed(model: Model, mixed: Recipe, samples: torch.Tensor) -> None:
    compressed = compress(model, mixed)
    torch.testing.assert_close(trainable(compressed)(samples), compressed.graph(samples), rtol=0, atol=0)


def test_training_moves_every_layer_but_those_to_be_kept(model: Model, mixed: Recipe, samples: torch.Tensor) -> None:
    kept = mixed.with_layer("head", LayerSettings(keep=True))
    compressed = compress(model, kept)
    frozen = freeze(compressed, trained(compressed, samples))
    moved = {
        layer.name
        for layer in model.info.layers
        if not torch.equal(frozen.effective_weight(layer.name), compressed.effective_weight(layer.name))
    }
    assert moved == {"stem", "depthwise", "down", "hidden"}
    assert frozen.settings == compressed.settings
    assert frozen.factors == compressed.factors


def test_masks_factors_and_grids_are_intact_after_training(model: Model, mixed: Recipe, samples: torch.Tensor) -> None:
    compressed = compress(model, mixed)
    frozen = freeze(compressed, trained(compressed, samples))
    before, after = compressed.graph.state_dict(), frozen.graph.state_dict()
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert after[name].shape == tensor.shape
        if name.rpartition(".")[2] in ("scale", "zero_point", "mask"):
            assert torch.equal(after[name], tensor), name
    masks = [name for name in before if name.endswith("mask")]
    assert len(masks) == 4
    for name in masks:
        layer = frozen.graph.get_submodule(name.removesuffix(".mask"))
        assert not layer()[~before[name]].any()


def test_freezing_computes_what_training_computed(model: Model, mixed: Recipe, samples: torch.Tensor) -> None:
    compressed = compress(model, mixed)
    graph = trained(compressed, samples)
    torch.testing.assert_close(freeze(compressed, graph).graph(samples), graph(samples), rtol=0, atol=0)


def test_training_leaves_the_original_and_the_compressed_model_alone(
    model: Model, mixed: Recipe, samples: torch.Tensor
) -> None:
    compressed = compress(model, mixed)
    before = [t.clone() for graph in (model.graph, compressed.graph) for t in graph.state_dict().values()]
    trained(compressed, samples)
    after = [t for graph in (model.graph, compressed.graph) for t in graph.state_dict().values()]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(parameter.grad is None for parameter in model.graph.parameters())
