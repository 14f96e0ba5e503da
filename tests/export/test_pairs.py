"""Every pair of methods in one file: each branch of a network is compressed by another pair, and all are measured."""

from itertools import combinations

import numpy as np
import onnxruntime as ort
import torch
from torch import nn

from studio.analysis.calibration import calibrate
from studio.compression.compress import compress
from studio.export.onnx_file import onnx_bytes
from studio.export.verify import ROUNDED_TOLERANCE, SIZE_TOLERANCE
from studio.recipe.cost import model_cost
from studio.recipe.recipe import Recipe
from studio.recipe.rounding import integer_layers
from tests.export.conftest import _model

GROUPS = {"weight_bits": 4, "granularity": "group", "group_size": 16}

METHODS = {
    "channels": {"channels": {"ratio": 0.25}},
    "rank": {"rank": {"rank": 4}},
    "sparse": {"prune": {"ratio": 0.5}},
    "2:4": {"prune": {"kind": "n_m", "n": 2, "m": 4}},
    "8 bit": {"quantize": {"weight_bits": 8}},
    "4-bit groups": {"quantize": GROUPS},
    "zero points": {"quantize": {**GROUPS, "symmetric": False}},
    "16 bit": {"quantize": {"weight_bits": 16}},
    "own product": {"quantize": {**GROUPS, "product": "onnxruntime"}},
    "own product, 8-bit inputs": {"quantize": {**GROUPS, "product": "onnxruntime_int8"}},
    "integers": {"quantize": {"activation_bits": 8}},
    "16 bit between rounded activations": {"quantize": {"weight_bits": 16, "activation_bits": 8}},
}

#: All that can be combined; the two kinds of zeros differ only in where they are, so that one form of integers will do
#: for the second kind.
PAIRS = [
    (a, b)
    for a, b in combinations(METHODS, 2)
    if not METHODS[a].keys() & METHODS[b].keys() and (a != "2:4" or b == "8 bit")
]

#: Those in which a last bit may decide between two levels.
ROUNDED = ("own product, 8-bit inputs", "integers", "16 bit between rounded activations")


class Branches(nn.Module):
    """A layer for each pair, convolutions and linear ones in turns, all reading the same input.

    Where channels go, another layer reads it; what ONNX Runtime has a product of its own for is linear.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.ModuleList(), nn.ModuleList()
        for i, pair in enumerate(PAIRS):
            linear = i % 2 == 0 or any(method.startswith("own") for method in pair)
            self.first.append(nn.Linear(100, 24) if linear else nn.Conv2d(4, 16, 3))
            behind = nn.Linear(24, 8) if linear else nn.Conv2d(16, 8, 2, bias=False)
            self.second.append(behind if "channels" in pair else nn.Identity())

    def branches(self, x: torch.Tensor) -> list[torch.Tensor]:
        """What each pair gives."""
        pairs = list(zip(self.first, self.second, strict=True))
        flat = x.flatten(1)
        given = [torch.relu(first(flat if isinstance(first, nn.Linear) else x)) for first, _ in pairs]
        return [second(value).flatten(1) for (_, second), value in zip(pairs, given, strict=True)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat(self.branches(x), 1)


def test_every_pair_of_methods_gives_the_previewed_outputs_and_the_predicted_bytes():
    torch.manual_seed(0)
    network = Branches()
    model = _model(network, (4, 5, 5))
    x = torch.randn(48, 4, 5, 5)
    layers = {f"first.{i}": {**METHODS[a], **METHODS[b]} for i, (a, b) in enumerate(PAIRS)}
    recipe = Recipe.model_validate({"layers": layers, "options": {"fit": "layer"}})
    compressed = compress(model, recipe, calibration=calibrate(model, [(x,)]))
    integer = integer_layers(compressed.settings)
    content = onnx_bytes(compressed.graph, model.info, integer=integer)
    predicted = model_cost(model.info, recipe, compressed.factors, len(onnx_bytes(model.graph, model.info))).bytes
    assert abs(predicted - len(content)) <= SIZE_TOLERANCE * len(content)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    written = ort.InferenceSession(content, options).run(None, {"input": x.numpy()})[0]
    preview = compressed.graph(x).detach().numpy()
    sizes = [branch.shape[1] for branch in network.branches(x)]
    places = np.cumsum(sizes)[:-1]
    for pair, ours, theirs in zip(PAIRS, np.split(preview, places, 1), np.split(written, places, 1), strict=True):
        errors = np.abs(theirs - ours) / np.abs(ours).max()
        assert errors.max() <= (ROUNDED_TOLERANCE if set(pair) & set(ROUNDED) else 1e-5), pair
        assert np.median(errors) <= 1e-6, pair
