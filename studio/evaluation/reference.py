"""The original's outputs, computed once for each sample however often compressed models are held against them."""

import torch
from torch import Tensor

from studio.evaluation.arrays import Array
from studio.evaluation.predict import Predict

#: Bytes of outputs that one reference keeps; samples beyond are computed anew each time.
MEMORY_LIMIT = 256 << 20

#: Bytes that a sample's entry takes beside its numbers: the tensor, its storage and the place in the table.
ENTRY = 600


class Reference:
    """The original on one set of samples; whoever measures several models on it keeps it.

    As the order of measuring is fixed by the seed, the samples measured first, and so most often, are the ones kept.

    Attributes:
        is_full: whether no more outputs are kept.
    """

    def __init__(self, predict: Predict, limit: int = MEMORY_LIMIT) -> None:
        self._predict = predict
        self._limit = limit
        self._kept: dict[int, Tensor] = {}
        self._bytes = 0
        self.is_full = False

    def outputs(self, indices: Array, inputs: tuple[Tensor, ...]) -> Tensor:
        """The original's outputs ``[batch, …]`` for the samples at `indices`, whose inputs are `inputs`."""
        missing = [place for place, index in enumerate(indices.tolist()) if index not in self._kept]
        rows = {}
        if missing:
            fresh = self._predict(tuple(part[missing] for part in inputs))
            rows = dict(zip(missing, fresh, strict=True))
            self._keep(indices[missing], fresh)
        return torch.stack(
            [rows[place] if place in rows else self._kept[index] for place, index in enumerate(indices.tolist())]
        )

    def _keep(self, indices: Array, outputs: Tensor) -> None:
        for index, output in zip(indices.tolist(), outputs, strict=True):
            size = output.numel() * output.element_size() + ENTRY
            if self._bytes + size > self._limit:
                self.is_full = True
                return
            self._kept[index] = output.clone()
            self._bytes += size
