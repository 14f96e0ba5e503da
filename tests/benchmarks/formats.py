"""Every format that opens, with one real or generated file each: layers, outputs, and the way back.

    python tests/benchmarks/formats.py ../shared/data

Prints one table: layers found beside those that the network has, the largest difference of an output from that of the
file's own runtime (ONNX Runtime, or torch) as a share of the largest output, and the file that the unchanged model is
written to: its bytes and the same difference. Where there is no network, the difference is that of the weights. Files
of the folder are taken where they exist, all others are generated. The goal is 1e-4 in each; float16 is held against a
runtime that rounds every step to 11 bits.
"""

import argparse
import copy
import importlib
import importlib.util
import json
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
from rich.console import Console
from rich.table import Table
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from studio.compression.compress import compress
from studio.errors import StudioError
from studio.evaluation.weight_error import WeightNorms
from studio.export.export import export
from studio.export.weights_file import export_weights
from studio.models.model import Model
from studio.models.open import open_model
from studio.models.torchscript import convert
from studio.recipe.recipe import Recipe

UNCHANGED = Recipe.model_validate({"studio": 1})

Run = Callable[[Tensor], Tensor]


class Small(nn.Module):
    """Three layers on images of 8 × 8."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.deep, self.head = nn.Conv2d(8, 16, 3, 2, 1), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        """``[N, 3, 8, 8]`` → ``[N, 5]``."""
        x = torch.relu(self.deep(torch.relu(self.norm(self.stem(x)))))
        return self.head(x.mean((2, 3)))


class Sequences(nn.Module):
    """An LSTM in both directions on sequences of 6 steps, and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(4, 5, batch_first=True, bidirectional=True), nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        """``[N, 6, 4]`` → ``[N, 3]``."""
        return self.head(self.lstm(x)[0][:, -1])


@dataclass(frozen=True)
class Case:
    """One format.

    Attributes:
        name: as the table shows it.
        path: the file.
        layers: how many the network has.
        run: its own runtime; None where there is no network.
        skeleton: the network of a checkpoint.
    """

    name: str
    path: Path
    layers: int
    run: Run | None
    skeleton: Path | None = None


def runtime(path: Path, half: bool = False) -> Run:
    """ONNX Runtime on a file with one input."""
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(x: Tensor) -> Tensor:
        value = x.numpy().astype(np.float16 if half else x.numpy().dtype)
        return torch.from_numpy(session.run(None, {name: value})[0]).float()

    return run


def to_onnx(network: nn.Module, x: Tensor, path: Path, new: bool) -> Path:
    """Writes `network` as PyTorch's new or old exporter does, with a free batch."""
    if new:
        shapes = ({0: torch.export.Dim("batch")},)
        program = torch.onnx.export(network, (x,), dynamo=True, verbose=False, dynamic_shapes=shapes)
        if program is None:
            raise SystemExit("The exporter wrote nothing.")
        program.save(path)
    else:
        torch.onnx.export(network, (x,), path, dynamo=False, input_names=["x"], dynamic_axes={"x": {0: "batch"}})
    return path


class Images(CalibrationDataReader):  # type: ignore[misc] # the package has no types
    """A few random images for the quantizer."""

    def __init__(self) -> None:
        self._left = iter([{"x": np.random.default_rng(i).normal(size=(2, 3, 8, 8)).astype("f4")} for i in range(4)])

    def get_next(self) -> dict[str, object] | None:
        """The next image, None behind the last."""
        return next(self._left, None)


def onnx_cases(folder: Path, network: nn.Module, x: Tensor) -> Iterator[Case]:
    """ONNX files in all their forms."""
    new, old = folder / "new.onnx", to_onnx(network, x, folder / "old.onnx", new=False)
    to_onnx(network, x, new, new=True)
    yield Case("onnx, new exporter", new, 3, runtime(new))
    yield Case("onnx, old exporter", old, 3, runtime(old))
    outside = folder / "outside.onnx"
    onnx.save(onnx.load(old), outside, save_as_external_data=True, location="outside.data", size_threshold=0)
    yield Case("onnx, external data", outside, 3, runtime(outside))
    half = to_onnx(copy.deepcopy(network).half(), x.half(), folder / "half.onnx", new=False)
    yield Case("onnx, float16", half, 3, runtime(half, half=True))
    quantized = folder / "qdq.onnx"
    quantize_static(old, quantized, Images(), quant_format=QuantFormat.QDQ, per_channel=True)
    yield Case("onnx, quantized (QDQ)", quantized, 3, runtime(quantized))
    steps, many = Sequences().eval(), torch.randn(2, 6, 4)
    recurrent = to_onnx(steps, many, folder / "lstm.onnx", new=False)
    yield Case("onnx, LSTM both ways", recurrent, 3, runtime(recurrent))


def torch_cases(folder: Path, network: nn.Module, x: Tensor) -> Iterator[Case]:
    """What torch writes."""
    archive, program = folder / "net.pt2", folder / "net.torchscript.pt"
    shapes = ({0: torch.export.Dim("batch")},)
    torch.export.save(torch.export.export(network, (x,), dynamic_shapes=shapes), archive)
    yield Case("pt2", archive, 3, network)
    torch.jit.save(torch.jit.trace(network, x), program)
    trusted = convert(program, folder / "trusted", None, (tuple(x.shape[1:]),))
    yield Case("TorchScript, trusted", program, 3, network, trusted)
    state = network.state_dict()
    for suffix in ("pth", "bin"):
        torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}}, folder / f"net.{suffix}")
        yield Case(f"state dict .{suffix}", folder / f"net.{suffix}", 3, None)
    save_file(state, folder / "net.safetensors")
    yield Case("safetensors", folder / "net.safetensors", 3, None)
    yield Case("safetensors, sharded", sharded(folder, state), 3, None)
    yield Case("safetensors and skeleton", folder / "net.safetensors", 3, network, archive)
    yield Case("state dict and skeleton", folder / "net.pth", 3, network, archive)


def sharded(folder: Path, state: dict[str, Tensor]) -> Path:
    """The same weights in two files with an index."""
    names = list(state)
    shards = {"a.safetensors": names[: len(names) // 2], "b.safetensors": names[len(names) // 2 :]}
    for file, some in shards.items():
        save_file({name: state[name] for name in some}, folder / file)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {name: file for file, some in shards.items() for name in some}}))
    return index


def huggingface_case(folder: Path) -> Case | None:
    """A small vision transformer, None without the library."""
    if importlib.util.find_spec("transformers") is None:
        return None
    transformers = importlib.import_module("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    network = transformers.ViTForImageClassification(
        transformers.ViTConfig(**sizes, image_size=8, patch_size=4, num_labels=5)
    ).eval()
    network.save_pretrained(folder / "vit")
    return Case("Hugging Face folder (ViT)", folder / "vit", 2 * 6 + 2, lambda x: network(x).logits)


def real_cases(data: Path, folder: Path) -> Iterator[Case]:
    """The files of the benchmark's folder: ResNets for images of 32 × 32."""
    network = data / "resnet20_cifar10.onnx"
    if not network.exists():
        return
    run, archive = runtime(network), data / "resnet20_cifar10.pt2"
    yield Case("ResNet-20: onnx", network, 20, run)
    yield Case("ResNet-20: pt2", archive, 20, run)
    program = data / "resnet20_cifar10.torchscript.pt"
    yield Case("ResNet-20: TorchScript", program, 20, run, convert(program, folder / "trusted", None, ((3, 32, 32),)))
    yield Case("ResNet-20: safetensors + pt2", data / "resnet20_cifar10.safetensors", 20, run, archive)
    yield Case("ResNet-56: safetensors", data / "resnet56" / "resnet56_cifar10.safetensors", 56, None)
    yield Case("ResNet-56: .th", data / "resnet56-4bfd9763.th", 56, None)


def relative(found: Tensor, wanted: Tensor) -> float:
    """Largest difference as a share of the largest wanted value."""
    return float((found - wanted).abs().max() / wanted.abs().max())


def judged(case: Case, folder: Path) -> list[str]:
    """The row of one format."""
    try:
        model = open_model(case.path, skeleton=case.skeleton)
    except StudioError as error:
        return [case.name, f"no: {error}", "", "", "", ""]
    opens = "network" if model.info.has_network else "weights"
    found = [case.name, opens, f"{len(model.info.layers)} of {case.layers}"]
    try:
        return [*found, *(through_network(case, model, folder) if model.info.has_network else alone(model, folder))]
    except StudioError as error:
        return [*found, str(error), "", ""]


@torch.no_grad()
def through_network(case: Case, model: Model, folder: Path) -> list[str]:
    """Differences of a network's outputs: as it opened, and as it was written."""
    if case.run is None:
        raise SystemExit(f"{case.name}: opened as a network where none was expected.")
    (x,) = model.example(2)
    wanted, out = case.run(x), folder / "out.onnx"
    report = export(compress(model, UNCHANGED), out, samples=4)
    opened, written = relative(model.graph(x), wanted), relative(runtime(out)(x), wanted)
    return [f"{opened:.1e}", f"{report.after:,}", f"{written:.1e}"]


def alone(model: Model, folder: Path) -> list[str]:
    """The same of weights alone: those of the file that is written, read by another library."""
    out = folder / "out.safetensors"
    report = export_weights(compress(model, UNCHANGED), out, WeightNorms(model))
    if model.weights is None:
        raise SystemExit("Weights alone, but no weights.")
    read, wanted = load_file(out), model.weights.tensors
    names = [weight for weight, _ in model.weights.names.values()]
    worst = max(relative(read[name].float(), wanted[name].float()) for name in names)
    return ["no network", f"{report.after:,}", f"{worst:.1e}"]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", default=Path("../shared/data"))
    data = parser.parse_args().data
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    table = Table("format", "opens as", "layers", "difference", "written bytes", "its difference")
    network, x = Small().eval(), torch.randn(2, 3, 8, 8)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for case in (*onnx_cases(folder, network, x), *torch_cases(folder, network, x), *real_cases(data, folder)):
            table.add_row(*judged(case, folder))
        transformer = huggingface_case(folder)
        if transformer is None:
            table.add_row("Hugging Face folder", "skipped: the extra 'transformers' is not installed", "", "", "", "")
        else:
            table.add_row(*judged(transformer, folder))
    Console(width=130).print(table)


if __name__ == "__main__":
    main()
