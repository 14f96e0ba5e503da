"""What other tools make of the same model with the same calibration samples; each is optional.

`pip install .[benchmarks]` brings Torch-Pruning and NNCF; ONNX Runtime is there anyway. A tool that is absent raises
`Absent` with what to do.
"""

from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import torch
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType, quantize_static
from torch import Tensor, fx, nn

from studio.models.pt2_file import import_pt2

Batch = tuple[Tensor, ...]


class Absent(Exception):
    """The tool is not installed."""

    def __init__(self, tool: str) -> None:
        super().__init__(f"skipped: {tool} is not installed (pip install '.[benchmarks]')")


class Reader(CalibrationDataReader):  # type: ignore[misc]
    """Feeds calibration samples to ONNX Runtime's quantizer."""

    def __init__(self, name: str, batches: Iterable[Batch]) -> None:
        self._name = name
        self._batches = iter(batches)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next batch by input name."""
        batch = next(self._batches, None)
        return None if batch is None else {self._name: batch[0].numpy()}


def onnx_runtime_static(model: Path, name: str, batches: Iterable[Batch], method: CalibrationMethod, out: Path) -> None:
    """ONNX Runtime's own 8-bit file, weights and activations, in its best types: uint8 × int8 by channel.

    Args:
        model: the ONNX file.
        name: of its input.
        batches: calibration samples.
        method: how it chooses ranges.
        out: the file to write.
    """
    quantize_static(
        str(model),
        str(out),
        Reader(name, batches),
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
        calibrate_method=method,
    )


def nncf_static(model: Path, name: str, batches: Iterable[Batch], out: Path) -> None:
    """NNCF's 8-bit file with its default settings.

    Raises:
        Absent: NNCF is not installed.
    """
    if find_spec("nncf") is None:
        raise Absent("NNCF")
    import nncf

    samples = [{name: one.numpy()[None]} for batch in batches for one in batch[0]]
    quantized = nncf.quantize(onnx.load(model), nncf.Dataset(samples), subset_size=len(samples))
    onnx.save(quantized, out)


def torch_pruned(pt2: Path, layers: Sequence[str], ratio: float, batches: Sequence[Batch]) -> tuple[nn.Module, int]:
    """Torch-Pruning alone: channels of least magnitude go, then the BatchNorms are recalibrated.

    Args:
        pt2: the model with its BatchNorms still there.
        layers: whose output channels may go.
        ratio: share of them.
        batches: calibration samples.

    Returns:
        The model, and its multiply-accumulate operations for one sample.

    Raises:
        Absent: Torch-Pruning is not installed.
    """
    if find_spec("torch_pruning") is None:
        raise Absent("Torch-Pruning")
    import torch_pruning

    graph, _, _ = import_pt2(pt2.read_bytes(), pt2.parent)
    for parameter in graph.parameters():
        parameter.requires_grad_(True)  # its dependency graph follows the gradients
    example = tuple(part[:1] for part in batches[0])
    ratios = {graph.get_submodule(name): ratio for name in layers}
    pruner = torch_pruning.pruner.BasePruner(
        graph,
        example,
        importance=torch_pruning.importance.GroupMagnitudeImportance(),
        pruning_ratio=0.0,
        pruning_ratio_dict=ratios,
    )
    pruner.step()
    recalibrate(graph, batches)
    return graph, macs(graph, example)


@torch.no_grad()
def recalibrate(model: fx.GraphModule, batches: Iterable[Batch]) -> None:
    """Measures the statistics of all BatchNorms anew, as the mean over the samples."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    for batch in batches:
        model(*batch)
    for norm in norms:
        norm.eval()


@torch.no_grad()
def macs(model: nn.Module, example: Batch) -> int:
    """Multiply-accumulate operations of all convolutions and linear layers for one sample."""
    counted: list[int] = []

    def count(module: nn.Module, _inputs: object, output: Tensor) -> None:
        weight = module.get_parameter("weight")
        counted.append(output[0, :1].numel() * weight.numel() if output.dim() > 2 else weight.numel())

    layers = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    model(*example)
    for hook in hooks:
        hook.remove()
    return sum(counted)


def parameter_bytes(model: nn.Module) -> int:
    """Bytes of all weights and biases once the norms are folded away: a file holds little more."""
    layers = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    return sum(4 * (layer.weight.numel() + layer.weight.shape[0]) for layer in layers)
