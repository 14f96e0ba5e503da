"""Writing values into a tensor at places that another tells, and picking images apart along a grid.

At module level, because a graph names its functions by import path; nothing here branches on a free size.
"""

import torch
from torch import Tensor

#: ONNX's words for what happens to the value that is there, in torch's.
REDUCTIONS = {"add": "sum", "mul": "prod", "min": "amin", "max": "amax"}


def scatter_elements(x: Tensor, indices: Tensor, updates: Tensor, axis: int, reduction: str) -> Tensor:
    """One value along `axis` for each of `indices`; negative ones count from the end."""
    places = torch.where(indices < 0, indices + x.shape[axis], indices)
    if reduction == "none":
        return torch.scatter(x, axis, places, updates)
    return torch.scatter_reduce(x, axis, places, updates, REDUCTIONS[reduction])


def scatter_nd(x: Tensor, indices: Tensor, updates: Tensor, reduction: str) -> Tensor:
    """``x[i₀, i₁, …]`` becomes an update for each last dimension of `indices`; negative ones count from the end."""
    depth = indices.shape[-1]
    places = [torch.where(i < 0, i + x.shape[axis], i) for axis, i in enumerate(indices.unbind(-1))]
    if reduction in ("none", "add"):
        return torch.index_put(x, tuple(places), updates, accumulate=reduction == "add")
    row, rows = torch.zeros_like(places[0]), x.flatten(0, depth - 1) if depth > 1 else x
    for axis, place in enumerate(places):
        row = row * x.shape[axis] + place
    flat, values = rows.reshape(rows.shape[0], -1), updates.reshape(row.numel(), -1)
    spread = row.reshape(-1, 1).expand(-1, flat.shape[1])
    return torch.scatter_reduce(flat, 0, spread, values, REDUCTIONS[reduction]).reshape(x.shape)


def write_into_cache(x: Tensor, update: Tensor, starts: Tensor | None, axis: int, circular: bool) -> Tensor:
    """A run of values along `axis`, for each sample from its start on; `circular` goes on at the beginning."""
    axis, steps = axis % x.dim(), torch.arange(update.shape[axis])
    places = steps.unsqueeze(0) + (0 if starts is None else starts.reshape(-1, 1))
    if circular:
        places = places % x.shape[axis]
    shape = [places.shape[0], *([1] * (x.dim() - 1))]
    shape[axis] = update.shape[axis]
    return torch.scatter(x, axis, places.reshape(shape).expand_as(update), update)


def reverse_sequence(x: Tensor, lengths: Tensor, batch_axis: int, time_axis: int) -> Tensor:
    """The first values of each sample along time in reverse, as many as its length; the others stay."""
    steps = torch.arange(x.shape[time_axis])
    turned = lengths.reshape(-1, 1) - 1 - steps
    places = torch.where(turned >= 0, turned, steps)
    if batch_axis > time_axis:
        places = places.T
    shape = [1] * x.dim()
    shape[batch_axis], shape[time_axis] = x.shape[batch_axis], x.shape[time_axis]
    return torch.gather(x, time_axis, places.reshape(shape).expand_as(x))


def cumulative_product(x: Tensor, axis: int, exclusive: bool, reverse: bool) -> Tensor:
    """Running product along `axis`, without the value itself when `exclusive`, from the end when `reverse`."""
    x = x.flip(axis) if reverse else x
    if exclusive:
        x = torch.cat((torch.ones_like(x.narrow(axis, 0, 1)), x.narrow(axis, 0, x.shape[axis] - 1)), axis)
    product = torch.cumprod(x, axis)
    return product.flip(axis) if reverse else product


def hardmax(x: Tensor, axis: int) -> Tensor:
    """1 at the largest value along `axis`, the first of equal ones, and 0 at all others."""
    return torch.zeros_like(x).scatter(axis, x.argmax(axis, keepdim=True), 1.0)


def is_infinite(x: Tensor, negative: bool, positive: bool) -> Tensor:
    """Where values are infinite to the sides that count."""
    return torch.isinf(x) & ((x > 0) & positive | (x < 0) & negative)


def eye_like(x: Tensor, diagonal: int, dtype: torch.dtype) -> Tensor:
    """Ones along a diagonal of a matrix of the same shape."""
    rows, columns = torch.arange(x.shape[0]).reshape(-1, 1), torch.arange(x.shape[1])
    return (rows + diagonal == columns).to(dtype)
