"""Models that lose channels, on networks small enough to be checked by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from studio.analysis.calibration import Calibration, calibrate
from studio.analysis.gradients import gather_gradients
from studio.compression.compress import CompressedModel, compress
from studio.compression.importance import least_by_taylor
from studio.compression.trainable import freeze, trainable
from studio.compression.weights import load_weights, save_weights
from studio.errors import CompressionError
from studio.export.onnx_file import onnx_bytes
from studio.export.onnx_runtime import runtime_predict
from studio.models.channels import Channels
from studio.models.layer import ModelInfo, TensorSpec
from studio.models.layers import layer_table
from studio.models.model import Model
from studio.recipe.cost import model_cost
from studio.recipe.recipe import Recipe


class PaddedShortcut(nn.Module):
    """A shortcut that adds channels of zeros, a depthwise convolution, and a linear layer behind a flattening."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.wide = nn.Conv2d(8, 16, 3, padding=1)
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.hidden = nn.Linear(16 * 4, 12)
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        x = torch.relu(self.wide(x) + F.pad(x, (0, 0, 0, 0, 4, 4)))
        x = F.max_pool2d(torch.relu(self.depthwise(x)), 4).reshape(-1, 64)
        return self.head(torch.relu(self.hidden(x)))


def opened(net: nn.Module) -> Model:
    graph = fx.symbolic_trace(net).eval()
    layers = layer_table(graph, (torch.zeros(2, 3, 8, 8),))
    count = sum(parameter.numel() for parameter in graph.parameters())
    spec, out = TensorSpec("x", "float32", (None, 3, 8, 8)), TensorSpec("y", "float32", (None, 5))
    macs = sum(layer.macs for layer in layers)
    return Model(graph, ModelInfo("net.onnx", "onnx", "f" * 64, (spec,), (out,), layers, count, 4 * count, macs))


@pytest.fixture(scope="module")
def padded() -> Model:
    torch.manual_seed(0)
    return opened(PaddedShortcut())


@pytest.fixture(scope="module")
def seen(padded: Model, samples: Tensor) -> Calibration:
    return calibrate(padded, [(part,) for part in samples.split(40)])


def recipe(fit: str = "layer", ratio: float = 0.25, **methods: object) -> Recipe:
    return Recipe.model_validate(
        {"default": {"channels": {"ratio": ratio}, **methods}, "options": {"fit": fit, "data_aware": True}}
    )


def outputs(compressed: CompressedModel, x: Tensor) -> Tensor:
    with torch.inference_mode():
        return compressed.graph(x)


def error(compressed: CompressedModel, x: Tensor) -> float:
    return float((outputs(compressed, x) - compressed.model.graph(x)).detach().square().mean())


def test_every_layer_gets_the_shape_that_was_foretold(padded: Model) -> None:
    chosen = recipe()
    compressed = compress(padded, chosen)
    for name, rest in chosen.narrowed(padded.info.layers).items():
        layer = compressed.graph.get_submodule(name)
        weight = layer.effective_weight() if name in compressed.settings else layer.weight
        assert tuple(weight.shape) == rest.shape
    assert compressed.graph.get_submodule("wide").effective_weight().shape == (12, 6, 3, 3)
    assert compressed.graph.get_submodule("depthwise").groups == 12


@pytest.mark.parametrize("importance", ["output", "magnitude"])
@pytest.mark.parametrize("fit", ["layer", "sequential"])
def test_dead_channels_go_first_and_nothing_changes(samples: Tensor, importance: str, fit: str) -> None:
    """Channels 1 and 6 of the stem give nothing at all, whatever their consumer would do with them."""
    torch.manual_seed(1)
    net = PaddedShortcut()
    with torch.no_grad():
        for values in (net.stem.weight, net.stem.bias):
            values[[1, 6]] = 0
        for values in (net.wide.weight, net.wide.bias, net.depthwise.weight, net.depthwise.bias):
            values[[5, 10, 0, 15]] = 0
        net.hidden.weight.view(12, 16, 4)[:, [5, 10, 0, 15]] = 0
        net.hidden.bias.fill_(2)  # all others are at work
        net.hidden.weight[[2, 7, 8]] = 0
        net.hidden.bias[[2, 7, 8]] = 0
    model = opened(net)
    chosen = Recipe.model_validate(
        {"default": {"channels": {"ratio": 0.25, "importance": importance}}, "options": {"fit": fit}}
    )
    calibration = calibrate(model, [(part,) for part in samples.split(40)])
    compressed = compress(model, chosen, calibration=calibration)
    assert compressed.cuts["stem"].outputs == (0, 2, 3, 4, 5, 7)
    assert compressed.cuts["head"].inputs == (0, 1, 3, 4, 5, 6, 9, 10, 11)
    torch.testing.assert_close(outputs(compressed, samples), model.graph(samples), atol=1e-4, rtol=1e-3)


def test_the_consumer_is_solved_anew_as_numpy_does_it(padded: Model, seen: Calibration, samples: Tensor) -> None:
    """Least squares from the inputs that stay to what the whole layer gave, but for a damping of one percent."""
    chosen = Recipe.model_validate({"layers": {"hidden": {"channels": {"ratio": 0.25}}}, "options": {"fit": "layer"}})
    compressed = compress(padded, chosen, calibration=seen)
    kept = list(compressed.cuts["head"].inputs)
    given: dict[str, Tensor] = {}
    hook = padded.module("head").register_forward_pre_hook(lambda _m, x: given.update(x=x[0]))
    wanted = padded.graph(samples).detach().double().numpy()
    hook.remove()
    x = given["x"].detach().double().numpy()[:, kept]
    centred = x - x.mean(0)
    damping = np.sqrt(0.01 * (centred**2).sum(0).mean()) * np.eye(len(kept))
    before = padded.module("head").weight.detach().double().numpy()[:, kept]
    rows, targets = np.vstack([centred, damping]), np.vstack([wanted - wanted.mean(0), np.zeros((len(kept), 5))])
    targets -= rows @ before.T * np.vstack([np.ones((len(x), 1)), np.zeros((len(kept), 1))])  # towards its own
    expected = before.T + np.linalg.lstsq(rows, targets, rcond=None)[0]
    weight = compressed.graph.get_submodule("head").effective_weight().numpy()
    np.testing.assert_allclose(weight, expected.T, atol=1e-4)
    np.testing.assert_allclose(outputs(compressed, samples).mean(0), wanted.mean(0), atol=1e-4)


def test_a_fit_to_data_comes_nearer_than_cutting_alone(padded: Model, seen: Calibration, samples: Tensor) -> None:
    plain = error(compress(padded, recipe()), samples)
    alone = error(compress(padded, recipe("layer"), calibration=seen), samples)
    after = error(compress(padded, recipe("sequential"), calibration=seen), samples)
    assert after < alone < plain


PAIRS = {
    "alone": {},
    "sparse": {"prune": {"ratio": 0.5}},
    "rank": {"rank": {"energy": 0.7}},
    "four bits": {"quantize": {"weight_bits": 4}},
    "groups": {"quantize": {"weight_bits": 8, "granularity": "group", "group_size": 16}},
    "all": {"prune": {"ratio": 0.3}, "rank": {"parameters": 0.6}, "quantize": {"weight_bits": 8}},
}


@pytest.mark.parametrize("fit", ["layer", "sequential"])
@pytest.mark.parametrize("methods", PAIRS.values(), ids=PAIRS)
def test_every_combination_runs_in_onnx_runtime_as_previewed_and_takes_the_bytes_foretold(
    padded: Model, seen: Calibration, samples: Tensor, tmp_path: Path, methods: dict[str, object], fit: str
) -> None:
    chosen = recipe(fit, **methods)
    compressed = compress(padded, chosen, calibration=seen)
    file = tmp_path / "small.onnx"
    file.write_bytes(onnx_bytes(compressed.graph, padded.info))
    found = runtime_predict(file, ["x"])((samples,))
    torch.testing.assert_close(torch.as_tensor(found), outputs(compressed, samples), atol=1e-5, rtol=1e-4)
    before = len(onnx_bytes(padded.graph, padded.info))
    assert model_cost(padded.info, chosen, compressed.factors, before).bytes == file.stat().st_size


def test_weights_come_back_and_the_dense_graph_does_the_same(
    padded: Model, seen: Calibration, samples: Tensor, tmp_path: Path
) -> None:
    chosen = recipe("sequential", quantize={"weight_bits": 8})
    compressed = compress(padded, chosen, calibration=seen)
    path = save_weights(compressed, tmp_path)
    again = compress(padded, chosen, calibration=seen, weights=path)
    assert again.cuts == compressed.cuts
    assert torch.equal(outputs(again, samples), outputs(compressed, samples))
    dense = load_weights(path, padded).graph
    torch.testing.assert_close(dense(samples), outputs(compressed, samples), atol=1e-5, rtol=1e-4)


def test_training_keeps_the_channels_that_are_left(padded: Model, samples: Tensor) -> None:
    compressed = compress(padded, recipe())
    student = trainable(compressed)
    student(samples).square().mean().backward()
    frozen = freeze(compressed, student)
    assert frozen.cuts == compressed.cuts
    assert torch.equal(outputs(frozen, samples), outputs(compressed, samples))
    assert student.get_submodule("wide").stored.weight.grad.shape == (12, 6, 3, 3)


def test_what_an_edit_leaves_alone_is_taken_over(padded: Model) -> None:
    first = compress(padded, recipe())
    second = compress(padded, recipe().with_layer("head", first.recipe.settings_for(padded.info.layer("head"))))
    third = compress(padded, recipe(ratio=0.5), previous=second)
    same = compress(padded, recipe(), previous=first)
    assert same.graph.get_submodule("wide") is first.graph.get_submodule("wide")
    assert third.graph.get_submodule("wide") is not second.graph.get_submodule("wide")


def test_the_effective_weight_has_zeros_where_channels_went(padded: Model) -> None:
    compressed = compress(padded, recipe())
    weight = compressed.effective_weight("wide")
    gone = sorted(set(range(16)) - set(compressed.cuts["wide"].outputs))
    assert weight.shape == (16, 8, 3, 3)
    assert not weight[gone].any()


def test_channels_that_the_loss_does_not_lean_on_go_first() -> None:
    torch.manual_seed(2)
    net = PaddedShortcut()
    with torch.no_grad():
        net.hidden.bias[:] = 1  # none is dead
        net.head.weight[:, [1, 4, 7]] = 0  # large weights before, but nothing behind reads them
        net.hidden.weight[[1, 4, 7]] *= 5
    model = opened(net)
    images = torch.randn(24, 3, 8, 8)
    gradients = gather_gradients(model, [(images,)], [torch.arange(24) % 5])
    by = {
        kind: Recipe.model_validate({"layers": {"hidden": {"channels": {"ratio": 0.25, "importance": kind}}}})
        for kind in ("taylor", "magnitude")
    }
    calibration = calibrate(model, [(images,)])
    cut = compress(model, by["taylor"], calibration=calibration, gradients=gradients).cuts["hidden"]
    assert set(range(12)) - set(cut.outputs) == {1, 4, 7}
    large = compress(model, by["magnitude"], calibration=calibration).cuts["hidden"]
    assert not {1, 4, 7} & (set(range(12)) - set(large.outputs))


def test_layers_that_lose_channels_together_are_weighed_together() -> None:
    gates = {"stem": torch.tensor([[3.0, 1.0], [3.0, 1.0]]), "conv": torch.tensor([[-3.0, 1.0], [-3.0, 1.0]])}
    ids = np.array([10, 11])
    channels = Channels({"stem": ids, "conv": ids}, {}, {}, {}, {10: ("stem", 0), 11: ("stem", 0)}, {}, {})
    assert least_by_taylor(gates, channels, "stem", {0: 1}) == {10}  # (3 − 3)² against (1 + 1)²


def test_the_loss_takes_data(padded: Model, seen: Calibration) -> None:
    chosen = Recipe.model_validate({"layers": {"wide": {"channels": {"ratio": 0.25, "importance": "taylor"}}}})
    with pytest.raises(CompressionError, match="choose training data"):
        compress(padded, chosen, calibration=seen)
