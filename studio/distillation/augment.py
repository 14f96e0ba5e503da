"""Other views of the same images, which a label does not mind and the teacher answers anew."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from studio.distillation.settings import DistillSettings
from studio.errors import TrainingError
from studio.evaluation.arrays import Array


class Augmentation:
    """Mirrors and shifts images at random, a function of seed and step.

    Teacher and student see the very same image (L. Beyer et al., Knowledge distillation: a good teacher is patient and
    consistent, arXiv 2106.05237).
    """

    def __init__(self, settings: DistillSettings) -> None:
        self._settings = settings

    @property
    def is_idle(self) -> bool:
        """Whether images stay as they are."""
        return not (self._settings.flip or self._settings.crop)

    def __call__(
        self, inputs: tuple[Tensor, ...], step: int, share: slice = slice(None), samples: int | None = None
    ) -> tuple[Tensor, ...]:
        """The inputs of step `step`, every image ``[batch, channels, height, width]`` among them changed.

        Args:
            inputs: samples of the step.
            step: its number.
            share: which of the step's samples they are.
            samples: how many the step has, None where these are all.

        Raises:
            TrainingError: there is no image among them.
        """
        if self.is_idle:
            return inputs
        if all(part.dim() != 4 for part in inputs):
            raise TrainingError("flip, crop: only images can be mirrored and shifted; the model takes none.")
        return tuple(
            self._changed(part, step, share, samples or len(part)) if part.dim() == 4 else part for part in inputs
        )

    def _changed(self, images: Tensor, step: int, share: slice, samples: int) -> Tensor:
        random = np.random.default_rng((self._settings.seed, step, 1))
        if self._settings.flip:
            mirrored = torch.from_numpy(random.random(samples)[share] < 0.5)
            images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
        if self._settings.crop:
            border = self._settings.crop
            images = shifted(images, random.integers(0, 2 * border + 1, (2, samples))[:, share], border)
        return images


def shifted(images: Tensor, offsets: Array, border: int) -> Tensor:
    """Every image cut out of itself with a border of zeros.

    Args:
        images: ``[batch, channels, height, width]``.
        offsets: ``[2, batch]`` where to cut, rows and columns, 0 to twice the border.
        border: pixels of zeros on every side.
    """
    height, width = images.shape[2:]
    rows, columns = torch.from_numpy(offsets)
    padded = F.pad(images, (border,) * 4)
    index = torch.arange(len(images))[:, None, None]
    y = (rows[:, None] + torch.arange(height))[:, :, None]
    x = (columns[:, None] + torch.arange(width))[:, None, :]
    return padded[index, :, y, x].permute(0, 3, 1, 2)
