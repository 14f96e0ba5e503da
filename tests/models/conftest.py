"""Small ONNX graphs and exported networks for the model tests."""

import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn import functional as F

Array = np.ndarray
Write = Callable[..., Path]


@pytest.fixture
def write_onnx(tmp_path: Path) -> Write:
    """Writes a graph of `nodes` with float outputs of free rank."""

    def write(
        nodes: Sequence[onnx.NodeProto],
        inputs: Mapping[str, Sequence[int | str]],
        constants: Mapping[str, Array] | None = None,
        outputs: Sequence[str] = ("y",),
        opset: int = 20,
        output_type: int = TensorProto.FLOAT,
        input_type: int = TensorProto.FLOAT,
    ) -> Path:
        graph = helper.make_graph(
            nodes,
            "test",
            [helper.make_tensor_value_info(name, input_type, shape) for name, shape in inputs.items()],
            [helper.make_tensor_value_info(name, output_type, None) for name in outputs],
            [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
        path = tmp_path / "model.onnx"
        path.write_bytes(model.SerializeToString())
        return path

    return write


class Block(nn.Module):
    """A residual block whose shortcut is sliced and padded."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        self.widen = (outputs - inputs) // 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        shortcut = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.widen, self.widen)) if self.widen else x
        return F.relu(y + shortcut)


class ResNet(nn.Module):
    """Two residual blocks and a classifier: ``[N, 3, 8, 8]`` → ``[N, 5]``."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 4, 3, 1, 1, bias=False), nn.BatchNorm2d(4)
        self.layer1 = nn.Sequential(Block(4, 4, 1), Block(4, 8, 2))
        self.linear = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(self.layer1(F.relu(self.norm(self.stem(x)))).mean((2, 3)))


class MobileNet(nn.Module):
    """Depthwise convolutions, hard activations, squeeze and excite, pooling: ``[N, 3, 16, 16]`` → ``[N, 5]``."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU6())
        self.depth = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1, groups=8, bias=False), nn.BatchNorm2d(8), nn.Hardswish())
        self.squeeze, self.excite = nn.Conv2d(8, 2, 1), nn.Conv2d(2, 8, 1)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(8, 5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.depth(self.stem(x))
        gate = F.hardsigmoid(self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(x, 1)))))
        return self.head(self.norm(self.pool(x * gate)))  # a BatchNorm behind a pooling cannot be folded


class Attention(nn.Module):
    """Multi-head attention with a causal mask."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v = (nn.Linear(width, width) for _ in range(3))
        self.o = nn.Linear(width, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        q, k, v = (f(x).view(batch, length, self.heads, -1).transpose(1, 2) for f in (self.q, self.k, self.v))
        mask = torch.ones(length, length, dtype=torch.bool).tril()
        scores = (q @ k.transpose(-1, -2) / (width // self.heads) ** 0.5).masked_fill(~mask, float("-inf"))
        return self.o((scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, length, width))


class Transformer(nn.Module):
    """One pre-norm block on token ids: ``[N, T]`` → ``[N, T, 20]``."""

    def __init__(self) -> None:
        super().__init__()
        self.emb, self.pos = nn.Embedding(20, 16), nn.Parameter(torch.randn(1, 12, 16) * 0.1)
        self.n1, self.att, self.n2 = nn.LayerNorm(16), Attention(16, 2), nn.LayerNorm(16)
        self.f1, self.f2 = nn.Linear(16, 32), nn.Linear(32, 16)
        self.head = nn.Linear(16, 20)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.emb(ids) + self.pos[:, : ids.shape[1]]
        x = x + self.att(self.n1(x))
        return self.head(x + self.f2(F.gelu(self.f1(self.n2(x)))))


def _randomized(network: nn.Module) -> nn.Module:
    """The network in eval mode with norms that do something."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, shift in ((module.running_mean, 0.0), (module.running_var, 0.5), (module.weight, 0.5)):
                tensor.data.copy_(torch.rand(module.num_features, generator=generator) + shift)
    return network.eval()


@pytest.fixture(scope="session")
def networks() -> Mapping[str, tuple[nn.Module, torch.Tensor]]:
    """Networks by name, each with a batch of two."""
    torch.manual_seed(0)
    return {
        "resnet": (_randomized(ResNet()), torch.randn(2, 3, 8, 8)),
        "mobilenet": (_randomized(MobileNet()), torch.randn(2, 3, 16, 16)),
        "transformer": (_randomized(Transformer()), torch.randint(0, 20, (2, 7))),
    }


def _save_dynamo(network: nn.Module, x: torch.Tensor, path: Path, optimize: bool = True) -> None:
    shapes = ({0: torch.export.Dim("batch")},)
    program = torch.onnx.export(network, (x,), dynamo=True, verbose=False, dynamic_shapes=shapes, optimize=optimize)
    assert program is not None
    program.save(path)


def _save_legacy(network: nn.Module, x: torch.Tensor, path: Path) -> None:
    torch.onnx.export(network, (x,), path, dynamo=False, input_names=["x"], dynamic_axes={"x": {0: "batch"}})


def _save_legacy_free(network: nn.Module, x: torch.Tensor, path: Path) -> None:
    axes = {"x": {0: "batch", 1: "length"} if not x.is_floating_point() else {0: "batch"}}
    torch.onnx.export(network, (x,), path, dynamo=False, input_names=["x"], dynamic_axes=axes, opset_version=14)


def _save_plain(network: nn.Module, x: torch.Tensor, path: Path) -> None:
    _save_dynamo(network, x, path, optimize=False)


def _save_pt2(network: nn.Module, x: torch.Tensor, path: Path) -> None:
    torch.export.save(torch.export.export(network, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},)), path)


WRITERS = {
    "dynamo.onnx": _save_dynamo,
    "plain.onnx": _save_plain,
    "legacy.onnx": _save_legacy,
    "free.onnx": _save_legacy_free,
    "export.pt2": _save_pt2,
}


@pytest.fixture(scope="session")
def exported(
    networks: Mapping[str, tuple[nn.Module, torch.Tensor]], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, str], Path]:
    """The file of a network by its name and the name of a writer, written once."""
    folder = tmp_path_factory.mktemp("exported")

    def path_of(network: str, writer: str) -> Path:
        path = folder / f"{network}.{writer}"
        if not path.exists():
            logging.getLogger("torch.onnx").setLevel(logging.ERROR)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                WRITERS[writer](*networks[network], path)
        return path

    return path_of
