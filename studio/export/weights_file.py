"""Writing weights alone: a safetensors file in the form of `studio.recipe.packed`, proven by reading it again."""

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from studio.compression.compressed import CompressedModel, effective_weight
from studio.compression.half import HalfWeight
from studio.compression.modules import CompressedConv, CompressedLinear, Factored, chained
from studio.compression.stored import IntegerWeight
from studio.errors import ExportError
from studio.evaluation.weight_error import WeightNorms, error_result, squared_difference, weight_error
from studio.export.report import ExportReport
from studio.export.target import check_target, put_in_place
from studio.export.verify import check_size
from studio.models.mapped import DTYPE_NAMES, mapped_tensors
from studio.models.model import Model, WeightFile
from studio.models.packed import pack, unpacked
from studio.progress import Progress, Report, silent
from studio.recipe.cost import model_cost
from studio.recipe.factorization import PARTS
from studio.recipe.packed import METADATA, QUANTIZED, SCALE, ZERO_POINT
from studio.recipe.settings import CONTAINER_BITS

#: What a header may be longer than predicted: places have more digits in one file than in another.
_HEADER_SLACK = 16

#: Largest difference of a weight, as a share of the largest: float16 and bfloat16 keep 11 and 8 bits of a float32.
_ROUNDING = {torch.float16: 2.0**-10, torch.bfloat16: 2.0**-7}


@dataclass(frozen=True)
class _Content:
    """What a file is to hold.

    Attributes:
        tensors: by name, in the order of the file.
        packed: by quantized weight, its form as the metadata has it.
    """

    tensors: Mapping[str, Tensor]
    packed: Mapping[str, Mapping[str, object]]


def measure_weights_size(model: Model) -> int:
    """Bytes of the uncompressed weights when the studio writes them."""
    content = _Content(_file_of(model).tensors, {})
    return len(_header(content)) + sum(tensor.nbytes for tensor in content.tensors.values())


def export_weights(
    compressed: CompressedModel, out: Path, norms: WeightNorms, *, report: Report = silent
) -> ExportReport:
    """Writes the weights of `compressed` to `out`; a file that is already there is replaced only by a proven one.

    Args:
        compressed: of a model that holds weights alone.
        out: the file; its folder must exist.
        norms: of the original.
        report: receives progress; raising `Cancelled` from it leaves no file behind.

    Raises:
        ExportError: the place cannot be written to, or the file does not hold what was announced.
    """
    model = compressed.model
    check_target(out, "safetensors", model.info.path)
    preview, before = weight_error(compressed, norms, report), measure_weights_size(model)
    layers = tuple(replace(layer, held=None) for layer in model.info.layers)  # whatever graph the weights are of
    predicted = model_cost(replace(model.info, layers=layers), compressed.recipe, compressed.factors, before).bytes
    content = _content(compressed)

    def write(path: Path) -> ExportReport:
        report(Progress(0, None, f"Writing {out.name}"))
        _write(path, content)
        after = path.stat().st_size
        noise, largest, scale = _compare(compressed, path, report)
        check_size(predicted, after, _HEADER_SLACK * len(content.tensors))
        exported = error_result(noise, norms.total(), preview.total)
        return ExportReport(
            out=str(out),
            format="safetensors",
            before=before,
            predicted=predicted,
            after=after,
            max_error=largest,
            output_scale=scale,
            original=None,
            preview=preview.metric,
            exported=exported.metric,
            verified=True,
            factors=compressed.factors,
        )

    return put_in_place(out, write)


def _file_of(model: Model) -> WeightFile:
    if model.weights is None:
        raise ExportError("safetensors is written of weights alone; a network is written as onnx.")
    return model.weights


def _content(compressed: CompressedModel) -> _Content:
    """The tensors of the original's file, those of changed layers in their new form."""
    file, packed = _file_of(compressed.model), dict[str, Mapping[str, object]]()
    changed = {file.names[name][0]: compressed.graph.get_submodule(name) for name in compressed.settings}
    tensors = dict[str, Tensor]()
    for name, tensor in file.tensors.items():
        for part, layer in _parts(name, changed[name]) if name in changed else ():
            tensors |= _stored(part, layer, tensor.dtype, packed)
        if name not in changed:
            tensors[name] = tensor
    return _Content(tensors, packed)


def _parts(name: str, layer: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Weights of a compressed layer by name: its own, or those of its factors."""
    if not isinstance(layer, Factored):
        yield name, layer
        return
    for part, factor in zip(PARTS, layer.parts, strict=False):
        yield f"{name.removesuffix('.weight')}.{part}.weight", factor


def _stored(
    name: str, layer: nn.Module, dtype: torch.dtype, packed: dict[str, Mapping[str, object]]
) -> dict[str, Tensor]:
    """The tensors of one weight; of a quantized one its form goes into `packed`."""
    stored = layer.stored if isinstance(layer, CompressedLinear | CompressedConv) else None
    if isinstance(stored, HalfWeight):
        return {name: stored.floats}
    if not isinstance(stored, IntegerWeight):
        return {name: effective_weight(layer).to(dtype)}
    bits = CONTAINER_BITS[stored.bits]
    packed[name] = {"bits": bits, "group_size": stored.block_size, "shape": list(stored.shape)}
    integers = pack(stored.q) if bits == 4 else stored.q.reshape(stored.shape)
    zero_point = {} if stored.symmetric else {name + ZERO_POINT: stored.zero_point}
    return {name + QUANTIZED: integers, name + SCALE: stored.scale, **zero_point}


def _header(content: _Content) -> bytes:
    """Length and header, filled up to a multiple of eight as the format wants it."""
    entries: dict[str, object] = {}
    if content.packed:
        entries["__metadata__"] = {METADATA: json.dumps(content.packed)}
    place = 0
    for name, tensor in content.tensors.items():
        if tensor.dtype not in DTYPE_NAMES:
            raise ExportError(f"'{name}' has the type {tensor.dtype}, which safetensors does not know.")
        entry = {"dtype": DTYPE_NAMES[tensor.dtype], "shape": list(tensor.shape)}
        entries[name] = {**entry, "data_offsets": [place, place + tensor.nbytes]}
        place += tensor.nbytes
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def _write(path: Path, content: _Content) -> None:
    """Writes tensor after tensor, so that none but the one under way is in memory."""
    with path.open("wb") as file:
        file.write(_header(content))
        for tensor in content.tensors.values():
            file.write(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data)


def _compare(compressed: CompressedModel, path: Path, report: Report) -> tuple[float, float, float]:
    """Reads the file again and holds its weights against the preview's.

    Returns:
        ``Σ (w − ŵ)²`` of the file against the original, the largest difference from the preview, and the largest
        weight.

    Raises:
        ExportError: they differ by more than their type explains.
    """
    read, file = unpacked(*mapped_tensors(path)), _file_of(compressed.model)
    noise = largest = scale = 0.0
    for done, name in enumerate(compressed.settings):
        report(Progress(done, len(compressed.settings), f"Reading {name} again"))
        weight, layer = file.names[name][0], compressed.graph.get_submodule(name)
        difference = 0.0
        for part, module in _parts(weight, layer):
            wanted = effective_weight(module)
            difference = max(difference, float((read[part].float() - wanted).abs().max()))
            scale = max(scale, float(wanted.abs().max()))
            rounding = _ROUNDING.get(read[part].dtype, 0.0) * float(wanted.abs().max())
            if not difference <= rounding:
                raise ExportError(f"The file's weights of {name} differ from the preview's; it was not kept.")
        largest = max(largest, difference)
        original = file.tensors[weight]
        noise += squared_difference(original, _whole(layer, weight, read).reshape(original.shape))
    return noise, largest, scale


def _whole(layer: nn.Module, weight: str, read: Mapping[str, Tensor]) -> Tensor:
    """The dense weight that the file's tensors of a layer amount to."""
    if isinstance(layer, Factored):
        return chained([read[part].float() for part, _ in _parts(weight, layer)])
    return read[weight]
