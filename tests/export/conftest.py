import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from studio.models.layer import ModelInfo, TensorSpec
from studio.models.layers import layer_table
from studio.models.model import Model, example_inputs
from studio.models.sites import sites_of


class Convolutions(nn.Module):
    """Strides, dilation, groups, a residual connection, and a linear layer on two-dimensional input."""

    input_shape = (3, 12, 12)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.wide = nn.Conv2d(8, 8, 3, padding=2, dilation=2)
        self.grouped = nn.Conv2d(8, 12, 3, groups=4, bias=False)
        self.head = nn.Linear(12, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        x = F.relu(x + self.wide(x))
        return self.head(self.grouped(x).mean((2, 3)))


class Tokens(nn.Module):
    """Linear layers on three-dimensional input, with and without bias, and one on two-dimensional input."""

    input_shape = (6, 40)

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(40, 48), nn.GELU(), nn.Linear(48, 64, bias=False))
        self.norm = nn.LayerNorm(64)
        self.last = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.norm(self.layers(x)).mean(1))


class Waves(nn.Module):
    """One-dimensional convolutions, all of the same shape, with biases that are all zero."""

    input_shape = (4, 20)

    def __init__(self) -> None:
        super().__init__()
        self.first_of_all = nn.Conv1d(4, 4, 5, padding=2)
        self.second_of_all = nn.Conv1d(4, 4, 5, padding=2)
        for layer in (self.first_of_all, self.second_of_all):
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.second_of_all(torch.tanh(self.first_of_all(x))).mean(2)


class Named(nn.Module):
    """A layer whose name is so long that the length of its node takes a second byte or not by that of its input."""

    input_shape = (16,)

    def __init__(self) -> None:
        super().__init__()
        self.the_only_linear_layer_there = nn.Linear(16, 8)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.the_only_linear_layer_there(x))


class Twins(nn.Module):
    """Layers of equal weights that are nevertheless their own, as blocks are that were copied and not trained yet."""

    input_shape = (6, 16)

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(16, 16, bias=False)
        self.two, self.three, self.four = (copy.deepcopy(self.one) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.four(F.relu(self.three(F.relu(self.two(F.relu(self.one(x))))))).mean(1)


NETWORKS = {"convolutions": Convolutions, "tokens": Tokens, "waves": Waves, "named": Named, "twins": Twins}


def _model(network: nn.Module, input_shape: tuple[int, ...]) -> Model:
    graph = fx.symbolic_trace(network.eval())
    inputs = (TensorSpec("input", "float32", (None, *input_shape)),)
    values = example_inputs(graph, inputs, 2, 16)
    outputs = (TensorSpec("scores", "float32", (None, *graph(*values).shape[1:])),)
    layers = layer_table(graph, values, ["input"])
    parameters = sum(parameter.numel() for parameter in graph.parameters())
    macs = sum(layer.macs for layer in layers)
    sites = sites_of(graph, layers)
    info = ModelInfo(
        path="net.onnx",
        format="onnx",
        fingerprint=f"{id(graph)}",
        inputs=inputs,
        outputs=outputs,
        layers=layers,
        parameters=parameters,
        bytes=4 * parameters,
        macs=macs,
        sites=sites.described(graph, ["input"]),
        operators=sites.operators,
    )
    return Model(graph, info)


@pytest.fixture
def make_model() -> Callable[[str], Model]:
    """A small model with random weights, the same every time, by its name in `NETWORKS`."""

    def make(name: str) -> Model:
        torch.manual_seed(0)
        network = NETWORKS[name]
        return _model(network(), network.input_shape)

    return make


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("studio.export.size.user_cache_path", lambda _name: tmp_path / "cache")
