"""ONNX element types as torch dtypes: every floating type becomes float32, the only one the studio computes in."""

from typing import Any

import torch
from onnx import TensorProto

from studio.errors import ModelFileError
from studio.models.onnx_nodes import Operator

DTYPES: dict[int, torch.dtype] = {
    TensorProto.FLOAT: torch.float32,
    TensorProto.FLOAT16: torch.float32,
    TensorProto.BFLOAT16: torch.float32,
    TensorProto.DOUBLE: torch.float32,
    TensorProto.INT64: torch.int64,
    TensorProto.INT32: torch.int32,
    TensorProto.INT16: torch.int16,
    TensorProto.INT8: torch.int8,
    TensorProto.UINT8: torch.uint8,
    TensorProto.BOOL: torch.bool,
}

#: Types that only constants have: torch has nothing so small, and their values fit into a byte.
STORED_DTYPES: dict[int, torch.dtype] = {TensorProto.INT4: torch.int8, TensorProto.UINT4: torch.uint8}


def torch_dtype(op: Operator, element_type: int) -> torch.dtype:
    """The torch dtype of an ONNX element type.

    Raises:
        ModelFileError: the studio has no such type; the message names the node.
    """
    try:
        return DTYPES[element_type]
    except KeyError:
        raise op.refuse(f"its element type {type_name(element_type)} is not supported") from None


def type_name(element_type: Any) -> str:
    """The name of an ONNX element type, such as ``FLOAT16``."""
    try:
        return str(TensorProto.DataType.Name(element_type))
    except ValueError:
        return str(element_type)


def input_dtype(name: str, element_type: int) -> torch.dtype:
    """The torch dtype of a model input.

    Raises:
        ModelFileError: the studio has no such type.
    """
    if element_type not in DTYPES:
        raise ModelFileError(f"The input '{name}' has the type {type_name(element_type)}, which is not supported.")
    return DTYPES[element_type]
