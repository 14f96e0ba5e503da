"""Short memory while training: smaller parts of the same step, or one clear line."""

import pytest
import torch
from torch import fx

from studio.compression.compress import compress
from studio.distillation.settings import DistillSettings, TrainingPoint
from studio.distillation.train import distill
from studio.errors import TrainingError
from studio.evaluation.data import Dataset
from studio.models.model import Model
from studio.recipe.recipe import Recipe

SPARSE = Recipe.model_validate({"studio": 1, "default": {"prune": {"kind": "unstructured", "ratio": 0.5}}})
SETTINGS = DistillSettings(epochs=1, batch_size=64)


class Small:
    """Memory for so many samples at once, of those that a gradient is wanted for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, most: int, error: type[RuntimeError], *, always: bool) -> None:
        self.seen: list[int] = []
        call = fx.GraphModule.__call__

        def checked(graph: fx.GraphModule, *inputs: torch.Tensor) -> object:
            learning = torch.is_grad_enabled() and next(graph.parameters()).requires_grad
            if learning:
                self.seen.append(len(inputs[0]))
            if (learning or always) and len(inputs[0]) > most:
                raise error("DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes")
            return call(graph, *inputs)

        monkeypatch.setattr(fx.GraphModule, "__call__", checked)


@pytest.mark.parametrize("error", [RuntimeError, torch.OutOfMemoryError])
def test_a_step_that_does_not_fit_passes_in_parts_and_stays_the_same(
    model: Model, data: Dataset, monkeypatch: pytest.MonkeyPatch, error: type[RuntimeError]
) -> None:
    student = compress(model, SPARSE)
    calm, short = list[TrainingPoint](), list[TrainingPoint]()
    distill(student, data, None, SETTINGS, publish=calm.append)
    memory = Small(monkeypatch, 20, error, always=False)

    _, outcome = distill(student, data, None, SETTINGS, publish=short.append)

    assert memory.seen[:4] == [64, 32, 16, 16]  # the whole, a half, then quarters
    assert max(memory.seen[2:]) == 16
    assert [point.loss for point in short] == pytest.approx([point.loss for point in calm], rel=1e-4)
    assert outcome.warning == "Memory was short: the samples of a step passed in 4 parts."


def test_memory_for_no_sample_is_one_line(model: Model, data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    student = compress(model, SPARSE)
    Small(monkeypatch, 0, torch.OutOfMemoryError, always=False)

    with pytest.raises(TrainingError, match="short even for one sample at a time"):
        distill(student, data, None, SETTINGS)


def test_memory_that_is_short_elsewhere_offers_a_smaller_batch(
    model: Model, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    student = compress(model, SPARSE)
    Small(monkeypatch, 20, torch.OutOfMemoryError, always=True)

    with pytest.raises(TrainingError, match="choose a smaller batch, such as 32"):
        distill(student, data, None, SETTINGS)
