"""A tiny classifier whose every answer can be counted by hand."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from studio.evaluation.data import Dataset
from studio.evaluation.inputs import Input

MakeData = Callable[..., Dataset]


@pytest.fixture
def make_data() -> MakeData:
    """Makes a data set of feature rows, which a `predict` may give back as they are: rows of logits."""

    def make(rows: np.ndarray, labels: np.ndarray | None = None, metric: str | None = None) -> Dataset:
        plain = Input(rows.astype(np.float32), (0, 1), 1.0, torch.tensor(0.0), torch.tensor(1.0))
        whole = labels is not None and labels.dtype.kind in "iu"
        return Dataset("tiny", [plain], labels, metric=metric, classes=rows.shape[1] if whole else None)

    return make
