"""Random samples that stand in where there is no data: only agreement with the original can be measured on them."""

import numpy as np
import torch
from torch import Tensor

from studio.evaluation.arrays import Array, Indices
from studio.models.model import Model

#: Random samples measured when nobody says how many.
DEFAULT_COUNT = 512

#: Samples made at once, so that a sample depends on its index alone and few are in memory.
CHUNK = 64


class RandomInput:
    """Inputs from `Model.example`, by index; the same index gives the same sample."""

    metric = "agreement"
    labelled = False

    def __init__(self, model: Model, count: int = DEFAULT_COUNT) -> None:
        self._model = model
        self._count = count

    def __len__(self) -> int:
        return self._count

    def inputs(self, indices: Indices) -> tuple[Tensor, ...]:
        """The model's inputs for the samples at `indices`."""
        wanted = np.asarray(indices, dtype=np.int64)
        chunks = np.unique(wanted // CHUNK)
        made = [self._model.example(CHUNK, int(chunk)) for chunk in chunks]
        places = torch.from_numpy(np.searchsorted(chunks, wanted // CHUNK) * CHUNK + wanted % CHUNK)
        return tuple(torch.cat(parts)[places] for parts in zip(*made, strict=True))

    def labels(self, _indices: Indices) -> Tensor | None:
        """None: nobody knows what is right."""
        return None

    def order(self, _seed: int) -> Array:
        """The samples as they are numbered: they are random already."""
        return np.arange(self._count)
