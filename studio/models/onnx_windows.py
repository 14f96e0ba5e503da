"""Padding of sliding windows: ONNX's ``pads`` and ``auto_pad`` in the order that torch wants."""

from collections.abc import Sequence

from studio.models.onnx_graph import Workbench
from studio.models.onnx_nodes import Operator


def explicit_pads(
    bench: Workbench, op: Operator, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> list[int]:
    """Padding ``[begin…, end…]`` of each spatial dimension, with ``auto_pad`` worked out.

    Raises:
        ModelFileError: ``auto_pad`` with a stride needs the image's size, and that is free.
    """
    mode = op.get("auto_pad", "NOTSET")
    if mode == "NOTSET":
        return list(op.get("pads", [0] * 2 * len(kernel)))
    if mode == "VALID":
        return [0] * 2 * len(kernel)
    shape = bench.type_of(op.inputs[0]).shape or ()
    sizes = list(shape[2:]) or [None] * len(kernel)
    total = []
    for size, k, s, d in zip(sizes, kernel, stride, dilation, strict=True):
        span = (k - 1) * d + 1
        if s == 1:
            total.append(span - 1)
        elif size is None:
            raise op.refuse("auto_pad with a stride needs a fixed image size")
        else:
            total.append(max((-(-size // s) - 1) * s + span - size, 0))
    smaller, larger = [n // 2 for n in total], [n - n // 2 for n in total]
    return smaller + larger if mode == "SAME_UPPER" else larger + smaller


def is_symmetric(pads: Sequence[int]) -> bool:
    """Whether every dimension is padded alike on both sides."""
    half = len(pads) // 2
    return list(pads[:half]) == list(pads[half:])


def fits_torch(pads: Sequence[int], kernel: Sequence[int]) -> bool:
    """Whether torch's poolings take this padding: alike on both sides, and at most half the kernel."""
    return is_symmetric(pads) and all(2 * p <= k for p, k in zip(pads, kernel, strict=False))


def torch_pads(pads: Sequence[int]) -> list[int]:
    """``[begin…, end…]`` as `torch.nn.functional.pad` wants it: pairs, last dimension first."""
    half = len(pads) // 2
    pairs = zip(reversed(pads[:half]), reversed(pads[half:]), strict=True)
    return [n for pair in pairs for n in pair]
