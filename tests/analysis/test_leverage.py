"""What the outputs feel of a layer's channels, against closed forms."""

import pytest
import torch
from torch import Tensor, fx, nn

from studio.analysis.leverage import gather_leverage
from studio.analysis.statistics import model_error
from studio.models.layer import ModelInfo, TensorSpec
from studio.models.layers import layer_table
from studio.models.model import Model


def model_of(net: nn.Module, example: Tensor) -> Model:
    graph = fx.symbolic_trace(net).eval()
    spec = TensorSpec("x", "float32", (None, *example.shape[1:]))
    return Model(graph, ModelInfo("net.onnx", "onnx", "e" * 64, (spec,), (), layer_table(graph, (example,)), 1, 4, 1))


class Scaled(nn.Module):
    """Two channels that the second layer makes two and three times as large."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 2, bias=False)
        self.second = nn.Linear(2, 2, bias=False)
        self.second.weight.data = torch.diag(torch.tensor([2.0, 3.0]))

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x))


def test_the_forecast_is_exact_where_channels_reach_outputs_of_their_own() -> None:
    torch.manual_seed(0)
    x = torch.randn(20, 3)
    model = model_of(Scaled(), x)
    leverage = gather_leverage(model, [(x[:15],), (x[15:],)])
    assert leverage is not None
    y = model.graph(x).detach().double()
    power = float(y.square().mean(0).sum())
    torch.testing.assert_close(leverage.channels["first"] * power, torch.tensor([4.0, 9.0], dtype=torch.float64))
    torch.testing.assert_close(leverage.channels["second"] * power, torch.ones(2, dtype=torch.float64))
    weight = model.module("first").weight.detach()
    changed = weight + 0.1 * torch.randn(2, 3)
    off = (x @ (changed - weight).T).double() * torch.tensor([2.0, 3.0])
    forecast = model_error(weight, changed, x.double().T @ x.double() / 20, leverage.channels["first"])
    assert forecast == pytest.approx(float(off.norm() / y.norm()), rel=1e-5)


class Twice(nn.Module):
    """A convolution that runs twice, and a mean over its four places."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return (self.conv(x) + 3 * self.conv(x)).flatten(2).mean(2)


def test_every_place_and_every_run_of_a_layer_counts() -> None:
    x = torch.ones(5, 1, 2, 2)
    model = model_of(Twice(), x)
    leverage = gather_leverage(model, [(x,)])
    assert leverage is not None
    power = float(model.graph(x).detach().double().square().sum()) / 5
    expected = 4 * (1 + 9) / 4**2  # four places, each a quarter of the mean
    torch.testing.assert_close(leverage.channels["conv"] * power, torch.full((2,), expected, dtype=torch.float64))


class Classes(nn.Module):
    """Tells classes, not their scores."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x).argmax(1)


def test_nothing_is_forecast_for_outputs_that_do_not_lean_on_the_layers() -> None:
    x = torch.randn(4, 3)
    assert gather_leverage(model_of(Classes(), x), [(x,)]) is None
