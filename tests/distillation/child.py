"""A short distillation in a process of its own, to be killed: ``child.py folder [resume]``.

A checkpoint follows every step and every step is named on standard output; the final weights go to ``weights/``.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from torch import fx, nn

from studio.compression.compress import compress
from studio.compression.weights import save_weights
from studio.distillation.settings import DistillSettings
from studio.distillation.train import distill
from studio.evaluation.data import Dataset
from studio.evaluation.inputs import Input
from studio.models.layer import ModelInfo, TensorSpec
from studio.models.layers import layer_table
from studio.models.model import Model
from studio.progress import Progress
from studio.recipe.recipe import Recipe

RECIPE = {"studio": 1, "default": {"prune": {"kind": "unstructured", "ratio": 0.7}, "quantize": {"weight_bits": 4}}}


def main(folder: Path, resume: bool) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    graph = fx.symbolic_trace(nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 4))).eval()
    specs = [(TensorSpec(name, "float32", (None, size)),) for name, size in (("x", 12), ("y", 4))]
    layers = layer_table(graph, (torch.zeros(2, 12),))
    model = Model(graph, ModelInfo("net.onnx", "onnx", "net", *specs, layers, 548, 2192, 512))
    rows = np.random.default_rng(0).normal(size=(600, 12)).astype(np.float32)
    labels = graph(torch.from_numpy(rows)).argmax(1).numpy()
    data = Dataset("rows", [Input(rows, (0, 1), 1.0, torch.tensor(0.0), torch.tensor(1.0))], labels, classes=4)

    def tell(progress: Progress) -> None:
        sys.stdout.write(f"{progress.done}\n")
        sys.stdout.flush()

    settings = DistillSettings(epochs=10, batch_size=16, checkpoint_seconds=0)
    small = compress(model, Recipe.model_validate(RECIPE))
    trained, _ = distill(small, data, None, settings, checkpoints=folder / "run", resume=resume, report=tell)
    (folder / "weights").mkdir()
    save_weights(trained, folder / "weights")


if __name__ == "__main__":
    main(Path(sys.argv[1]), "resume" in sys.argv)
