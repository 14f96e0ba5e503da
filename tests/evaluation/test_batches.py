import numpy as np
import torch

from studio.evaluation.batches import Batches
from studio.evaluation.data import Dataset


class Numbers:
    """Samples 0, 1, 2 … that count how often they are read."""

    array = np.arange(10)
    read = 0

    def block(self, rows: np.ndarray) -> torch.Tensor:
        self.read += 1
        return torch.from_numpy(self.array[rows])


def test_samples_come_in_order_and_only_when_asked_for() -> None:
    numbers = Numbers()
    batches = Batches(Dataset("numbers", [numbers]), 8, 3)  # type: ignore[list-item]
    assert len(batches) == 3
    assert numbers.read == 0
    assert [batch[0].tolist() for batch in batches] == [[0, 1, 2], [3, 4, 5], [6, 7]]
    assert batches[-1][0].tolist() == [6, 7]
    assert [batch[0].tolist() for batch in batches[1:]] == [[3, 4, 5], [6, 7]]


def test_a_small_data_set_gives_what_it_has() -> None:
    batches = Batches(Dataset("numbers", [Numbers()]), 512, 8)  # type: ignore[list-item]
    assert [len(batch[0]) for batch in batches] == [8, 2]
