"""The other of two processes that train a small student together, as ``torchrun`` would start it."""

import numpy as np
import torch
from torch import fx, nn

from studio.compression.compress import CompressedModel, compress
from studio.distillation.devices import choose_device
from studio.distillation.settings import DistillSettings
from studio.distillation.team import joined
from studio.distillation.train import assist
from studio.evaluation.data import Dataset
from studio.evaluation.inputs import Input
from studio.models.layer import ModelInfo, TensorSpec
from studio.models.layers import layer_table
from studio.models.model import Model
from studio.recipe.recipe import Recipe

RECIPE = {"studio": 1, "default": {"prune": {"kind": "unstructured", "ratio": 0.7}, "quantize": {"weight_bits": 4}}}


def lessons() -> tuple[CompressedModel, Dataset]:
    """A student for small images and what it learns from; the last step of an epoch has a single sample."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(96, 4))
    graph = fx.symbolic_trace(net).eval()
    inputs, outputs = (TensorSpec("x", "float32", (None, 2, 6, 6)),), (TensorSpec("y", "float32", (None, 4)),)
    layers = layer_table(graph, (torch.zeros(2, 2, 6, 6),))
    model = Model(graph, ModelInfo("net.onnx", "onnx", "net", inputs, outputs, layers, 502, 2008, 2112))
    images = np.random.default_rng(0).normal(size=(215, 2, 6, 6)).astype(np.float32)
    with torch.no_grad():
        labels = graph(torch.from_numpy(images)).argmax(1).numpy()
    plain = Input(images, (0, 1, 2, 3), 1.0, torch.tensor(0.0), torch.tensor(1.0))
    data = Dataset("images", [plain], labels, classes=4)
    return compress(model, Recipe.model_validate(RECIPE)), data


def settings(batch_size: int) -> DistillSettings:
    """The same run by batches of another size."""
    return DistillSettings(epochs=3, batch_size=batch_size, flip=True, crop=1, device="cpu", precision="float32")


if __name__ == "__main__":
    student, data = lessons()
    with joined(choose_device("cpu")) as team:
        assist(student, data, None, settings(16), team)
