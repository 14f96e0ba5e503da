"""A small trained-looking model, built by hand, and samples for it."""

import pytest
import torch
from torch import fx, nn

from studio.analysis.calibration import Calibration, calibrate
from studio.models.layer import ModelInfo, TensorSpec
from studio.models.layers import layer_table
from studio.models.model import Model
from studio.recipe.recipe import Recipe


class SmallNet(nn.Module):
    """Convolutions of every sort, a residual connection and two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.down = nn.Conv2d(8, 12, 3, stride=2, padding=1, bias=False)
        self.hidden = nn.Linear(12 * 16, 20)
        self.head = nn.Linear(20, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(x))
        x = torch.relu(x + self.depthwise(x))
        x = torch.relu(self.down(x))
        return self.head(torch.relu(self.hidden(x.flatten(1))))


@pytest.fixture(scope="session")
def model() -> Model:
    torch.manual_seed(0)
    graph = fx.symbolic_trace(SmallNet()).eval()
    layers = layer_table(graph, (torch.zeros(2, 3, 8, 8),))
    spec = TensorSpec("x", "float32", (None, 3, 8, 8))
    count = sum(parameter.numel() for parameter in graph.parameters())
    info = ModelInfo("small.onnx", "onnx", "f" * 64, (spec,), (), layers, count, 4 * count, sum(x.macs for x in layers))
    return Model(graph, info)


@pytest.fixture(scope="session")
def samples() -> torch.Tensor:
    """Smooth images ``[96, 3, 8, 8]`` of a mean other than zero, so that inputs are far from white."""
    noise = torch.randn(96, 3, 12, 12, generator=torch.Generator().manual_seed(1))
    return 2 * nn.functional.avg_pool2d(noise, 5, stride=1) + 0.3


@pytest.fixture(scope="session")
def calibration(model: Model, samples: torch.Tensor) -> Calibration:
    return calibrate(model, [(part,) for part in samples.split(40)])


@pytest.fixture
def mixed() -> Recipe:
    """A recipe with every method and combination in it."""
    return Recipe.model_validate(
        {
            "layers": {
                "stem": {"quantize": {"weight_bits": 8}},
                "depthwise": {"prune": {"ratio": 0.4}},
                "down": {"rank": {"rank": 5}, "prune": {"ratio": 0.25}, "quantize": {"weight_bits": 4}},
                "hidden": {
                    "prune": {"ratio": 0.5},
                    "quantize": {"weight_bits": 4, "granularity": "group", "group_size": 50},
                },
            }
        }
    )
