"""Which samples each step of a run sees: a function of seed and step, so that no generator's state needs keeping."""

import math

import numpy as np

from studio.evaluation.arrays import Array


class Shuffled:
    """Batches of sample numbers, in a new random order for every epoch.

    Attributes:
        per_epoch: steps in one pass over the samples; the last batch of an epoch may be smaller.
    """

    def __init__(self, samples: int, batch_size: int, seed: int) -> None:
        self.per_epoch = math.ceil(samples / batch_size)
        self._samples = samples
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = -1
        self._order: Array = np.empty(0, np.int64)

    def batch(self, step: int) -> Array:
        """The samples of step `step` (0-based, counted over all epochs)."""
        epoch, place = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = np.random.default_rng((self._seed, epoch)).permutation(self._samples)
        return self._order[place * self._batch_size : (place + 1) * self._batch_size]
