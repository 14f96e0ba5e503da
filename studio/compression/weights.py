"""Trained weights as files: safetensors named by their content, with what they belong to in the header.

The header's metadata holds one JSON text under ``studio``::

    {"version": 1, "model": fingerprint, "layers": {name: {
        "settings": …, "factors": null or {"form": …, "ranks": …},
        "cut": null or {"outputs": [index …], "inputs": [index …]}}}}
"""

import copy
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, fx

from studio.analysis.inputs import HasRows, layer_at
from studio.compression.activations import FOLDER
from studio.compression.build import build_layer
from studio.compression.channels import Cut, cut_layer, widened
from studio.compression.compressed import CompressedModel, effective_weight
from studio.compression.fit import plain_fit
from studio.compression.modules import CompressedLayer
from studio.compression.ranges import Levels
from studio.errors import CompressionError
from studio.files import write_atomically
from studio.models.model import Model
from studio.models.sites import sites_of
from studio.recipe.factorization import Factorization
from studio.recipe.settings import LayerSettings, Settings


class _StoredLayer(Settings):
    """What a compressed layer of the file was made with."""

    settings: LayerSettings
    factors: Factorization | None = None
    cut: Cut | None = None


class _Header(Settings):
    """The file's metadata."""

    version: Literal[1] = 1
    model: str
    layers: Mapping[str, _StoredLayer]


@dataclass(frozen=True, eq=False)
class TrainedWeights:
    """What a weights file says of a model.

    Attributes:
        graph: the model with trained values, its compressed layers as the dense layers that they amount to.
        settings: by compressed layer, what it was made with.
        layers: the compressed layers exactly as stored.
        cuts: what stays of the layers that lost channels; in `graph` those are zeros.
        levels: of the rounded activations, by number of site.
    """

    graph: fx.GraphModule
    settings: Mapping[str, LayerSettings]
    layers: Mapping[str, CompressedLayer]
    cuts: Mapping[str, Cut]
    levels: Mapping[int, Levels] = field(default_factory=dict)


def save_weights(compressed: CompressedModel, folder: Path) -> Path:
    """Writes all values of a compressed model to a file in `folder` that is named by their hash.

    Raises:
        CompressionError: the folder cannot be written to.
    """
    header = _Header(
        model=compressed.model.info.fingerprint,
        layers={
            name: _StoredLayer(settings=settings, factors=compressed.factors.get(name), cut=compressed.cuts.get(name))
            for name, settings in compressed.settings.items()
        },
    )
    text = json.dumps(header.model_dump(mode="json"), sort_keys=True)
    # tied parameters are written once for each of their names: the format knows no sharing
    tensors = {name: tensor.clone().contiguous() for name, tensor in compressed.graph.state_dict().items()}
    content = save(tensors, {"studio": text})
    path = folder / f"{hashlib.sha256(content).hexdigest()[:32]}.safetensors"
    try:
        write_atomically(path, lambda temporary: _fill(temporary, content))
    except OSError as error:
        raise CompressionError(f"{folder}: the trained weights cannot be written: {error.strerror}.") from error
    return path


def load_weights(path: Path, model: Model) -> TrainedWeights:
    """Reads a weights file of `model`.

    Raises:
        CompressionError: it is missing, damaged, no weights file, or of another model.
    """
    header, tensors = _read(path)
    if header.model != model.info.fingerprint:
        raise CompressionError(f"{path.name}: these weights were trained for another model than {model.info.path}.")
    try:
        return _restore(model, header, tensors)
    except (AttributeError, TypeError, RuntimeError) as error:
        raise CompressionError(f"{path.name}: the stored weights do not fit the layers they name.") from error


def _read(path: Path) -> tuple[_Header, dict[str, Tensor]]:
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no iterator of its own)
    except (SafetensorError, OSError) as error:
        raise CompressionError(f"{path.name}: the weights file is missing or damaged ({error}).") from error
    try:
        return _Header.model_validate_json(metadata.get("studio", "")), tensors
    except ValidationError as error:
        raise CompressionError(f"{path.name}: not a weights file of this version of the studio.") from error


@torch.no_grad()
def _restore(model: Model, header: _Header, tensors: dict[str, Tensor]) -> TrainedWeights:
    """Puts the stored values into a copy of the model.

    Raises:
        AttributeError, TypeError, RuntimeError: a layer or tensor is missing or of another shape.
    """
    graph = copy.deepcopy(model.graph)
    layers = dict[str, CompressedLayer]()
    for name, stored in header.layers.items():
        layer = layer_at(graph, name)
        values = {key: tensors.pop(key) for key in list(tensors) if key.startswith(f"{name}.")}
        layers[name] = _restored_layer(layer, stored, {k.removeprefix(f"{name}."): v for k, v in values.items()})
        tensors |= {f"{name}.{key}": value for key, value in _dense(layer, layers[name], stored.cut)}
    levels = _levels(model, {key: tensors.pop(key) for key in list(tensors) if key.startswith(f"{FOLDER}.")})
    graph.load_state_dict(tensors)
    settings = {name: stored.settings for name, stored in header.layers.items()}
    cuts = {name: stored.cut for name, stored in header.layers.items() if stored.cut is not None}
    return TrainedWeights(graph.eval(), settings, layers, cuts, levels)


def _levels(model: Model, stored: Mapping[str, Tensor]) -> dict[int, Levels]:
    """The levels of the rounded activations by number of site."""
    names = [f"{FOLDER}.{node.name}" for node in sites_of(model.graph, model.info.layers).nodes]
    return {
        number: Levels(float(stored[f"{name}.scale"]), int(stored[f"{name}.zero_point"]))
        for number, name in enumerate(names)
        if f"{name}.scale" in stored and f"{name}.zero_point" in stored
    }


def _dense(layer: HasRows, compressed: CompressedLayer, cut: Cut | None) -> Iterator[tuple[str, Tensor]]:
    """Weight and bias that do the same in place of the layer."""
    for key, value in (("weight", effective_weight(compressed)), ("bias", compressed.effective_bias())):
        if value is not None:
            yield key, value if cut is None else widened(value, cut, tuple(layer.get_parameter(key).shape))


def _restored_layer(layer: HasRows, stored: _StoredLayer, values: dict[str, Any]) -> CompressedLayer:
    """A layer built the plain way for its structure, then filled."""
    layer = layer if stored.cut is None else cut_layer(layer, stored.cut)
    restored = build_layer(layer, stored.settings, plain_fit(layer), stored.factors)
    restored.load_state_dict(values)
    return restored


def _fill(path: Path, content: bytes) -> None:
    path.write_bytes(content)
