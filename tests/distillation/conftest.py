"""A small problem that trains in a second: a random network is the teacher, what it answers are the labels."""

import numpy as np
import pytest
import torch
from torch import Tensor, fx, nn

from studio.evaluation.data import Dataset
from studio.evaluation.inputs import Input
from studio.models.layer import ModelInfo, TensorSpec
from studio.models.layers import layer_table
from studio.models.model import Model


class Net(nn.Module):
    """Two layers, four classes."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(12, 48)
        self.head = nn.Linear(48, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.hidden(x).relu())


@pytest.fixture
def model() -> Model:
    torch.manual_seed(0)
    net = Net()
    net.head.weight.data *= 6
    graph = fx.symbolic_trace(net).eval()
    info = ModelInfo(
        path="net.onnx",
        format="onnx",
        fingerprint="net",
        inputs=(TensorSpec("x", "float32", (None, 12)),),
        outputs=(TensorSpec("y", "float32", (None, 4)),),
        layers=layer_table(graph, (torch.zeros(2, 12),)),
        parameters=820,
        bytes=3280,
        macs=768,
    )
    return Model(graph, info)


@pytest.fixture
def data(model: Model) -> Dataset:
    rows = np.random.default_rng(0).normal(size=(2000, 12)).astype(np.float32)
    with torch.no_grad():
        labels = model.graph(torch.from_numpy(rows)).argmax(1).numpy()
    plain = Input(rows, (0, 1), 1.0, torch.tensor(0.0), torch.tensor(1.0))
    return Dataset("synthetic", [plain], labels, classes=4)
