"""Short memory while training: smaller parts of the same step, or one clear line."""

import math
from pathlib import Path

import pytest
import torch
from torch import fx, nn

from studio.compression.compress import compress
from studio.distillation.folder import is_resumable
from studio.distillation.memory import Footprint, bytes_of, footprint, is_out_of_memory
from studio.distillation.settings import DistillSettings, TrainingPoint
from studio.distillation.train import distill
from studio.errors import MemoryShortError, TrainingError
from studio.evaluation.data import Dataset
from studio.models.model import Model
from studio.progress import Cancelled, Progress
from studio.recipe.recipe import Recipe

SPARSE = Recipe.model_validate({"studio": 1, "default": {"prune": {"kind": "unstructured", "ratio": 0.5}}})
SETTINGS = DistillSettings(epochs=1, batch_size=64)


class Small:
    """Memory for so many samples at once, of those that a gradient is wanted for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, most: int, error: type[Exception], *, always: bool) -> None:
        self.seen: list[int] = []
        call = fx.GraphModule.__call__

        def checked(graph: fx.GraphModule, *inputs: torch.Tensor) -> object:
            learning = torch.is_grad_enabled() and next(graph.parameters()).requires_grad
            if learning:
                self.seen.append(len(inputs[0]))
            if (learning or always) and len(inputs[0]) > most:
                raise error("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")
            return call(graph, *inputs)

        monkeypatch.setattr(fx.GraphModule, "__call__", checked)


@pytest.mark.parametrize("error", [RuntimeError, MemoryError, torch.OutOfMemoryError])
def test_a_step_that_does_not_fit_passes_in_parts_and_stays_the_same(
    model: Model, data: Dataset, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    student = compress(model, SPARSE)
    calm, short = list[TrainingPoint](), list[TrainingPoint]()
    distill(student, data, None, SETTINGS, publish=calm.append)
    memory = Small(monkeypatch, 20, error, always=False)

    _, outcome = distill(student, data, None, SETTINGS, publish=short.append)

    assert memory.seen[:4] == [64, 32, 16, 16]  # the whole, a half, then quarters
    assert max(memory.seen[2:]) == 16
    assert [point.loss for point in short] == pytest.approx([point.loss for point in calm], rel=1e-4)
    assert [point.parts for point in short] == [1] + [4] * (len(short) - 1)
    assert outcome.warning == "Memory was short: the samples of a step passed in 4 parts."


def test_memory_for_no_sample_is_one_line(model: Model, data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    student = compress(model, SPARSE)
    Small(monkeypatch, 0, torch.OutOfMemoryError, always=False)

    with pytest.raises(TrainingError, match="short even for one sample at a time"):
        distill(student, data, None, SETTINGS)


def test_memory_that_is_short_elsewhere_is_an_error_of_its_own_with_what_to_do(
    model: Model, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    student = compress(model, SPARSE)
    Small(monkeypatch, 20, torch.OutOfMemoryError, always=True)

    with pytest.raises(MemoryShortError, match="let the samples of a step pass in 2 parts"):
        distill(student, data, None, SETTINGS)


def test_what_the_allocator_of_this_machine_says_counts_as_short_memory() -> None:
    with pytest.raises(RuntimeError) as told:
        torch.empty(1 << 60, dtype=torch.uint8)

    assert is_out_of_memory(told.value)
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("shapes cannot be multiplied"))


def test_a_sample_takes_what_the_way_back_keeps_of_it() -> None:
    weight = torch.randn(32, 12, requires_grad=True)
    last = torch.randn(4, 32, requires_grad=True)

    def loss(samples: int) -> torch.Tensor:
        x = torch.zeros(samples, 12)
        hidden = nn.functional.linear(x, weight).relu()
        return nn.functional.linear(hidden, last).square().sum()

    # floats: the input of 12, the ReLU's output of 32 that two operations share, the scores of 4; and four times the 32
    assert footprint(1000, loss, 4) == Footprint(1000, 4 * (12 + 32 + 4 + 4 * 32))
    # a single sample is taken for all that is kept: the weights too
    assert footprint(0, loss, 1) == Footprint(0, 4 * (12 + 32 + 4) + 5 * bytes_of([last]))


@pytest.mark.parametrize(("limit", "parts"), [(10_000, 1), (7400, 1), (7399, 2), (4200, 2), (4199, 3), (1100, 64)])
def test_samples_pass_in_as_few_parts_as_stay_within_the_limit(limit: int, parts: int) -> None:
    assert Footprint(1000, 100).parts(64, limit) == parts


def test_a_limit_is_kept_by_parts_and_the_step_stays_the_same(
    model: Model, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("studio.distillation.train.MEGABYTE", 1000)
    student = compress(model, SPARSE)
    free, within = list[TrainingPoint](), list[TrainingPoint]()
    distill(student, data, None, SETTINGS, publish=free.append)
    memory = Small(monkeypatch, 10**6, RuntimeError, always=False)

    _, outcome = distill(student, data, None, SETTINGS.model_copy(update={"memory_limit": 48}), publish=within.append)

    each = max(memory.seen[2:])  # after the two measurements
    assert each < 64
    assert {point.parts for point in within} == {math.ceil(64 / each)}
    assert [point.loss for point in within] == pytest.approx([point.loss for point in free], rel=1e-4)
    assert outcome.warning == f"Within 48 MB: the samples of a step passed in {math.ceil(64 / each)} parts."


def test_within_a_limit_nothing_passes_more_samples_at_once_than_a_step_does(
    model: Model, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("studio.distillation.train.MEGABYTE", 1000)
    student, sizes, points = compress(model, SPARSE), list[int](), list[TrainingPoint]()
    call = fx.GraphModule.__call__

    def noted(graph: fx.GraphModule, *inputs: torch.Tensor) -> object:
        sizes.append(len(inputs[0]))
        return call(graph, *inputs)

    monkeypatch.setattr(fx.GraphModule, "__call__", noted)
    distill(student, data, None, SETTINGS.model_copy(update={"memory_limit": 48}), publish=points.append)

    assert points[-1].parts > 1
    assert max(sizes) <= math.ceil(64 / points[-1].parts)


def test_a_limit_that_no_sample_fits_is_refused_with_the_least_there_may_be(
    model: Model, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("studio.distillation.train.MEGABYTE", 1000)
    with pytest.raises(TrainingError, match=r"memory_limit: training this model takes .* for networks and optimizer"):
        distill(compress(model, SPARSE), data, None, SETTINGS.model_copy(update={"memory_limit": 5}))


def test_a_run_that_goes_on_keeps_the_parts_that_short_memory_led_to(
    model: Model, data: Dataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    student = compress(model, SPARSE)
    memory = Small(monkeypatch, 20, RuntimeError, always=False)

    def stop(progress: Progress) -> None:
        if progress.done == 5:
            raise Cancelled

    with pytest.raises(Cancelled):
        distill(student, data, None, SETTINGS, checkpoints=tmp_path, report=stop)
    assert is_resumable(tmp_path)
    memory.seen.clear()

    distill(student, data, None, SETTINGS, checkpoints=tmp_path, resume=True)

    assert max(memory.seen) == 16
