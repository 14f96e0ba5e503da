"""What an ONNX file says of its nodes and values, as plain Python."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from studio.errors import OperatorError


@dataclass(frozen=True, eq=False)
class Operator:
    """One ONNX node, its attributes as Python values and its constants at hand.

    Attributes:
        type: operator type such as ``Conv``.
        name: the node's name, or its first output's where it has none.
        inputs: names of the inputs, empty where left out.
        outputs: names of the outputs.
        attributes: decoded attributes (text as str, tensors as torch tensors).
        scopes: module paths the exporter noted for this node, outermost first.
    """

    type: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    scopes: tuple[str, ...] = ()

    def get(self, attribute: str, default: Any = None) -> Any:
        """An attribute, or `default` where the file leaves it out."""
        return self.attributes.get(attribute, default)

    def refuse(self, reason: str) -> OperatorError:
        """The error that names this node."""
        return OperatorError(f"The ONNX operator {self.type} (node '{self.name}') cannot be imported: {reason}.")


@dataclass(frozen=True)
class ValueType:
    """What the file tells of a value: dtype, and sizes with None where free; None where nothing is known."""

    dtype: torch.dtype | None
    shape: tuple[int | None, ...] | None
