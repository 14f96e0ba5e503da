"""What undescribed data are by their names, shapes and kinds: everything of a guess that takes no measuring."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from studio.errors import DataError
from studio.evaluation import tables, texts
from studio.evaluation.arrays import array_shapes
from studio.evaluation.data_guess import place_for
from studio.evaluation.description import NO_LABEL, DataDescription
from studio.evaluation.image_files import image_size
from studio.evaluation.image_folder import ImageFolder, list_images
from studio.evaluation.sources import image_shape
from studio.evaluation.text_structure import (
    LABELS,
    NUMBERS,
    likeliest,
    outputs_of,
    takes_tokens,
    text_table,
    whole_text,
)
from studio.models.layer import ModelInfo, TensorSpec

#: Folders of a data set that hold a part of it, the one to measure on first.
PARTS = ("test", "val", "valid", "validation", "eval", "train", "training")

#: Images whose size is looked at.
LOOKED_AT = 50

#: What the shorter side is resized to before cutting, as a share of what is cut, where images are larger: 256 of 224.
MARGIN = 256 / 224


@dataclass(frozen=True)
class Structure:
    """A description but for its normalisation, with the reasons; `others` may fit as well.

    Attributes:
        place: where it would be written.
        described: the description.
        reasons: a sentence each.
        others: descriptions that only measuring can tell from it.
    """

    place: Path
    described: DataDescription
    reasons: tuple[str, ...]
    others: tuple[DataDescription, ...] = ()


def structure_of(path: Path, info: ModelInfo) -> Structure:
    """Finds out what the data at `path` are, held against what the model takes.

    Raises:
        DataError: nothing there fits the model.
    """
    if not path.exists():
        raise DataError(f"{path}: there is no such file or folder.")
    real, reasons = path, list[str]()
    if path.is_symlink():
        real = path.resolve()
        reasons.append(f"It is a link to {real}.")
    if real.is_dir():
        found = _images(real, info)
    elif real.suffix.lower() in tables.ENDINGS:
        found = Structure(*text_table(real, info)) if takes_tokens(info) else _table(real, info)
    elif real.suffix.lower() in texts.ENDINGS:
        found = Structure(*whole_text(real, info))
    else:
        found = _arrays(real, info)
    return Structure(found.place, found.described, (*reasons, *found.reasons), found.others)


def _images(path: Path, info: ModelInfo) -> Structure:
    folder, reasons = _part(path)
    found = list_images(folder)
    channels, *_ = image_shape(info.inputs[0])
    fields: dict[str, Any] = {"source": str(folder.relative_to(path.parent)), "kind": "image"}
    if channels == 1:
        fields["colour"] = "grey"
    resize, why = _resize(found, info.inputs[0])
    reasons += why
    if resize is not None:
        fields["resize"] = resize
    classes, others, why = _classes(found, outputs_of(info))
    reasons += why
    fields |= {"label": NO_LABEL} if classes is None else {"label": "folder", "classes": classes}
    described = DataDescription(**fields)
    alike = tuple(described.model_copy(update={"classes": other}) for other in others)
    return Structure(place_for(path), described, tuple(reasons), alike)


def _part(path: Path) -> tuple[Path, list[str]]:
    """The folder that is one data set: what lies in test and train folders are several."""
    reasons = list[str]()
    while True:
        below = {one.name.lower(): one for one in path.iterdir() if one.is_dir() and not one.name.startswith(".")}
        parts = [name for name in PARTS if name in below]
        if parts and len(parts) == len(below):
            reasons.append(f"Of its parts {', '.join(sorted(below))} '{below[parts[0]].name}' measures.")
            path = below[parts[0]]
        else:
            return path, reasons


def _resize(found: ImageFolder, spec: TensorSpec) -> tuple[int | None, list[str]]:
    """What the shorter side of images is resized to, where cutting straight away would lose less than is usual."""
    _, height, width = image_shape(spec)
    if height is None or width is None:
        return None, ["The model takes any size: that of the first image counts."]
    step = max(1, len(found.files) // LOOKED_AT)
    sizes = [image_size(file) for file in found.files[::step][:LOOKED_AT]]
    if all(size == (height, width) for size in sizes):
        return None, []
    wanted = round(MARGIN * max(height, width))
    if min(height, width) >= 96 and sorted(min(size) for size in sizes)[len(sizes) // 2] >= wanted:
        return wanted, [f"The shorter side is resized to {wanted} pixels, of which {width}×{height} are cut out."]
    return None, [f"Images of another size are resized until {width}×{height} can be cut out of their middle."]


def _classes(
    found: ImageFolder, outputs: int | None
) -> tuple[Sequence[str] | Mapping[str, int] | None, list[Mapping[str, int]], list[str]]:
    """Which output each folder stands for, other possible orders, and why; None where folders are no classes."""
    names = found.class_names
    scores = 2 if outputs == 1 else outputs
    if len(names) < 2:
        return None, [], ["There are no folders for classes: it is compared with the original."]
    if scores is not None and len(names) > scores:
        return (
            None,
            [],
            [f"Its {len(names)} folders are more than the model's {scores} outputs: they are not taken for classes."],
        )
    numbered = {name: int(name) for name in names if name.isascii() and name.isdigit()}
    by_number = len(numbered) == len(names) and (scores is None or max(numbered.values()) < scores)
    sorted_by_name = {name: place for place, name in enumerate(names)}
    if by_number and numbered != sorted_by_name:
        return numbered, [sorted_by_name], ["Its folders are numbered by class."]
    reason = f"Its {len(names)} folders are the classes, in the order of their names."
    if scores is not None and len(names) < scores:
        reason += f" The model has {scores} outputs, of which they are taken for the first: say otherwise in 'classes'."
    return names, [], [reason]


def _arrays(path: Path, info: ModelInfo) -> Structure:
    shapes = array_shapes(path)
    chosen, layout, reasons = list[str](), "NHWC", list[str]()
    for spec in info.inputs:
        fitting = {
            name: how
            for name, (shape, _) in shapes.items()
            if (how := _how_it_fits(shape, spec)) and name not in chosen
        }
        if not fitting:
            listed = ", ".join(f"{name} {'×'.join(map(str, shape))}" for name, (shape, _) in shapes.items())
            wanted = "×".join("?" if size is None else str(size) for size in spec.shape)
            raise DataError(f"{path}: no array fits the model's input '{spec.name}' of {wanted}; it has {listed}.")
        name = likeliest(fitting, (spec.name, "x", "images", "inputs", "data", "features"))
        chosen.append(name)
        layout = fitting[name]
    dtype = shapes[chosen[0]][1]
    kind = _array_kind(info.inputs[0], shapes[chosen[0]][0], dtype, layout)
    fields: dict[str, Any] = {"source": path.name, "input": chosen[0] if len(chosen) == 1 else chosen, "kind": kind}
    if kind == "image":
        fields["layout"] = "NHWC" if layout == "rows" else layout
        reasons.append(f"'{chosen[0]}' holds images with the channels {'first' if layout == 'NCHW' else 'last'}.")
    label = _label_array(shapes, chosen, outputs_of(info))
    if label is not None:
        fields["label"] = label
        reasons.append(f"'{label}' holds the labels.")
    else:
        reasons.append("No array fits as labels: it is compared with the original.")
    return Structure(place_for(path), DataDescription(**fields), tuple(reasons))


def _how_it_fits(shape: tuple[int, ...], spec: TensorSpec) -> str:
    """``NCHW`` for channels first, ``NHWC`` for last, ``rows`` for grey images without; empty where nothing fits."""

    def fits(sample: Sequence[int]) -> bool:
        wanted = spec.shape[1:]
        return len(sample) == len(wanted) and all(b in (None, a) for a, b in zip(sample, wanted, strict=True))

    sample = shape[1:]
    if fits(sample):
        return "NHWC" if len(sample) == 3 and spec.shape[3] in (1, 3) and spec.shape[1] not in (1, 3) else "NCHW"
    if len(sample) == 3 and (fits((sample[2], *sample[:2])) or fits((*sample[1:], sample[0]))):
        return "NHWC" if fits((sample[2], *sample[:2])) else "NCHW"
    return "rows" if len(sample) == 2 and (fits((1, *sample)) or fits((*sample, 1))) else ""


def _array_kind(spec: TensorSpec, shape: tuple[int, ...], dtype: np.dtype[Any], layout: str) -> str:
    if not spec.dtype.startswith("float"):
        return "tokens"
    if len(spec.shape) != 4:
        return "tensor"
    moved = layout == "rows" or (layout == "NHWC" and spec.shape[1] in (1, 3))
    return "image" if dtype == np.uint8 or moved or 3 in (shape[1], shape[-1]) else "tensor"


def _label_array(
    shapes: Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]], inputs: Sequence[str], outputs: int | None
) -> str | None:
    """The array of classes, or of as many numbers a sample as the model gives."""
    count = shapes[inputs[0]][0][0]

    def fits(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
        if shape[:1] != (count,):
            return False
        return len(shape) == 1 if dtype.kind in "iu" else dtype.kind == "f" and shape[1:] in ((), (outputs,))

    left = {name: "" for name, (shape, dtype) in shapes.items() if name not in inputs and fits(shape, dtype)}
    tokens = {
        name: ""
        for name, (shape, dtype) in shapes.items()
        if name not in inputs and dtype.kind in "iu" and shape == shapes[inputs[0]][0]
    }
    return likeliest(left or tokens, LABELS) if left or tokens else None


def _table(path: Path, info: ModelInfo) -> Structure:
    head = tables.read_head(path)
    numeric = [name for name in head.numeric() if name.lower() not in NUMBERS]
    spec = info.inputs[0]
    wanted = spec.shape[1] if len(spec.shape) == 2 else None
    named = [name for known in LABELS for name in head.names if name.lower() == known]
    for label in (*named, head.names[-1], head.names[0], None):
        columns = [name for name in numeric if name != label]
        if len(columns) == wanted or (wanted is None and label in (*named, None)):
            break
    else:
        shape = "×".join("?" if size is None else str(size) for size in spec.shape[1:])
        raise DataError(
            f"{path}: has {len(numeric)} columns of numbers ({', '.join(numeric)}), the model takes {shape}; "
            "describe which in a .data.yaml ('input' and 'label')."
        )
    fields: dict[str, Any] = {"source": path.name, "kind": "table", "input": columns}
    if label is None:
        reasons = [f"All {len(columns)} columns of numbers are the input; there is no label."]
    else:
        fields["label"] = label
        reasons = [f"'{label}' is the label, the {len(columns)} other columns of numbers are the input."]
    return Structure(place_for(path), DataDescription(**fields), tuple(reasons))
