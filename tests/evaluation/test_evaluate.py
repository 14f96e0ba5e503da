"""Measuring in blocks, paired with the original."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, fx, nn

from studio.evaluation.data import Dataset
from studio.evaluation.evaluate import BATCH, evaluate, measure, torch_predict
from studio.evaluation.intervals import paired_drop_interval, proportion_interval
from studio.evaluation.reference import ENTRY, Reference
from studio.evaluation.result import Result
from studio.models.layer import ModelInfo, TensorSpec
from studio.models.model import Model
from studio.progress import Cancelled, Progress

MakeData = Callable[..., Dataset]
RANDOM = np.random.default_rng(0)


def echo(inputs: tuple[Tensor, ...]) -> Tensor:
    """Answers with its input."""
    return inputs[0]


def reverse(inputs: tuple[Tensor, ...]) -> Tensor:
    """Answers with its input's mirror image."""
    return inputs[0].flip(1)


def logits(classes: list[int], of: int = 3) -> np.ndarray:
    """Rows whose highest value stands at the given class."""
    return np.eye(of, dtype=np.float32)[classes]


def test_top1_is_the_percentage_of_right_answers_with_its_exact_interval(make_data: MakeData) -> None:
    data = make_data(logits([0, 1, 2, 0, 1]), np.array([0, 1, 2, 1, 0]))

    metric = measure(echo, data).metric

    low, high = proportion_interval(3, 5)
    assert (metric.name, metric.value, metric.samples) == ("top1", 60.0, 5)
    assert (metric.low, metric.high) == pytest.approx((100 * low, 100 * high))


def test_the_drop_counts_flips_on_the_same_samples(make_data: MakeData) -> None:
    # middle class: mirrored to itself; the others are swapped
    data = make_data(logits([0, 0, 0, 2, 1, 1]), np.array([0, 0, 2, 2, 1, 0]))

    result = measure(reverse, data, reference=echo)

    # echo is right on samples 0 1 3 4; reverse on 2 4: broken 0 1 3, fixed 2
    assert result.original is not None
    assert result.drop is not None
    assert result.original.value == pytest.approx(100 * 4 / 6)
    assert result.metric.value == pytest.approx(100 * 2 / 6)
    assert result.drop.value == pytest.approx(100 * 2 / 6)
    expected = [100 * end for end in paired_drop_interval(3, 1, 6)]
    assert [result.drop.low, result.drop.high] == pytest.approx(expected)


def test_sqnr_is_the_outputs_power_over_that_of_their_error(make_data: MakeData) -> None:
    rows = RANDOM.normal(size=(300, 4)).astype(np.float32)
    data = make_data(rows, RANDOM.integers(0, 4, 300))

    result = measure(lambda inputs: inputs[0] * 0.9, data, reference=echo)

    assert result.sqnr_db == pytest.approx(20.0)
    assert result.drop is not None
    assert result.drop.value == 0


def test_equal_outputs_have_an_infinite_sqnr_and_broken_ones_minus_infinite(make_data: MakeData) -> None:
    data = make_data(logits([0, 1, 2]), np.array([0, 1, 2]))

    assert measure(echo, data, reference=echo).sqnr_db == math.inf
    broken = measure(lambda inputs: inputs[0] * math.nan, data, reference=echo)
    assert broken.sqnr_db == -math.inf
    assert broken.metric.value == 0


def test_without_a_reference_there_is_neither_drop_nor_sqnr(make_data: MakeData) -> None:
    result = measure(echo, make_data(logits([0, 1]), np.array([0, 1])))

    assert (result.original, result.drop, result.sqnr_db) == (None, None, None)


def test_mse_drops_by_the_mean_of_paired_differences(make_data: MakeData) -> None:
    rows = RANDOM.normal(size=(50, 2))
    data = make_data(rows, rows + 0.5)

    result = measure(lambda inputs: inputs[0] + 1.0, data, reference=echo)

    assert (result.metric.name, result.drop is not None) == ("mse", True)
    assert result.metric.value == pytest.approx(0.25, rel=1e-5)
    assert result.drop is not None
    assert result.drop.value == pytest.approx(0.0, abs=1e-6)
    assert result.drop.low <= result.drop.value <= result.drop.high


def test_a_drop_of_perplexity_is_how_much_it_rises(make_data: MakeData) -> None:
    rows = np.log(np.tile([0.5, 0.25, 0.25], (40, 1)))
    data = make_data(rows, np.repeat([0, 1], 20), metric="perplexity")

    result = measure(lambda inputs: torch.zeros_like(inputs[0]), data, reference=echo)

    assert result.original is not None
    assert result.drop is not None
    assert result.original.value == pytest.approx(8**0.5, rel=1e-6)
    assert result.metric.value == pytest.approx(3.0, rel=1e-6)
    assert result.drop.value == pytest.approx(3 - 8**0.5, rel=1e-5)
    assert result.drop.low < result.drop.value < result.drop.high


def test_cosine_similarity_needs_no_labels(make_data: MakeData) -> None:
    result = measure(reverse, make_data(logits([0, 1, 1, 2]), metric="cosine"), reference=echo)

    assert (result.metric.name, result.metric.value, result.labelled) == ("cosine", 0.5, False)


def test_unlabelled_data_are_measured_by_agreement(make_data: MakeData) -> None:
    result = measure(reverse, make_data(logits([0, 1, 1, 2])), reference=echo)

    assert (result.metric.name, result.metric.value, result.labelled) == ("agreement", 50.0, False)
    assert (result.original, result.drop) == (None, None)


def test_agreement_without_the_original_is_a_mistake_of_the_caller(make_data: MakeData) -> None:
    with pytest.raises(ValueError, match="needs the original"):
        measure(echo, make_data(logits([0, 1])))


def test_results_come_in_growing_blocks_that_are_balanced_and_end_with_all(make_data: MakeData) -> None:
    labels = np.repeat([0, 1], [2000, 1000])
    data = make_data(logits([0] * 3000, of=2), labels)
    published: list[Result] = []

    last = measure(echo, data, publish=published.append)

    assert [result.metric.samples for result in published] == [128, 512, 2048, 3000]
    assert published[-1] == last
    assert last.finished
    assert not published[0].finished
    assert last.metric.value == pytest.approx(100 * 2 / 3)
    for result in published:
        assert abs(result.metric.value - 100 * 2 / 3) <= 100 * 2 / result.metric.samples
    widths = [result.metric.high - result.metric.low for result in published]
    assert widths == sorted(widths, reverse=True)


def test_a_number_of_samples_is_never_exceeded(make_data: MakeData) -> None:
    data = make_data(RANDOM.normal(size=(1000, 3)), RANDOM.integers(0, 3, 1000))
    seen: list[int] = []

    def count(inputs: tuple[Tensor, ...]) -> Tensor:
        seen.append(len(inputs[0]))
        return inputs[0]

    result = measure(count, data, samples=300)

    assert (sum(seen), result.metric.samples, result.total) == (300, 300, 300)
    assert max(seen) <= BATCH


def test_the_seed_fixes_which_samples_are_measured(make_data: MakeData) -> None:
    data = make_data(RANDOM.normal(size=(1000, 3)), RANDOM.integers(0, 3, 1000))

    values = [measure(echo, data, samples=100, seed=seed).metric.value for seed in (0, 0, 1, 2, 3)]

    assert values[0] == values[1]
    assert len(set(values)) > 1


def test_cancelling_stops_at_the_next_batch(make_data: MakeData) -> None:
    data = make_data(RANDOM.normal(size=(2000, 3)), RANDOM.integers(0, 3, 2000))
    reported: list[int] = []

    def stop(progress: Progress) -> None:
        reported.append(progress.done)
        if progress.done >= 300:
            raise Cancelled

    with pytest.raises(Cancelled):
        measure(echo, data, report=stop)

    assert reported == [128, 256, 384]


def test_a_reference_asks_the_original_once_for_each_sample(make_data: MakeData) -> None:
    data = make_data(RANDOM.normal(size=(700, 3)), RANDOM.integers(0, 3, 700))
    asked = 0

    def original(inputs: tuple[Tensor, ...]) -> Tensor:
        nonlocal asked
        asked += len(inputs[0])
        return inputs[0]

    reference = Reference(original)
    first = measure(reverse, data, reference=reference, samples=400)
    again = measure(reverse, data, reference=reference, samples=400)
    measure(reverse, data, reference=reference)

    assert first == again
    assert asked == 700


def test_a_reference_keeps_no_more_than_its_limit_and_stays_right(make_data: MakeData) -> None:
    data = make_data(RANDOM.normal(size=(500, 4)), RANDOM.integers(0, 4, 500))
    small = Reference(echo, limit=100 * (4 * 4 + ENTRY))

    first = measure(reverse, data, reference=small)
    again = measure(reverse, data, reference=small)

    assert first == again == measure(reverse, data, reference=Reference(echo))
    assert len(small._kept) == 100


class Net(nn.Module):
    """A linear classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)


@pytest.fixture
def model() -> Model:
    torch.manual_seed(0)
    info = ModelInfo(
        path="net.onnx",
        format="onnx",
        fingerprint="net",
        inputs=(TensorSpec("x", "float32", (None, 6)),),
        outputs=(TensorSpec("y", "float32", (None, 4)),),
        layers=(),
        parameters=28,
        bytes=112,
        macs=24,
    )
    return Model(fx.symbolic_trace(Net()).eval(), info)


def test_without_data_random_input_stands_in_and_says_so(model: Model) -> None:
    halved = torch_predict(model.graph)

    result = measure(
        lambda inputs: 0.5 * halved(inputs), None, reference=torch_predict(model.graph), model=model, seed=1
    )

    assert (result.metric.name, result.metric.value, result.labelled) == ("agreement", 100.0, False)
    assert result.metric.samples == 512
    assert result.sqnr_db == pytest.approx(20 * math.log10(2))


def test_random_input_is_the_same_for_every_model_that_is_compared(model: Model) -> None:
    reference = Reference(torch_predict(model.graph))

    measure(torch_predict(model.graph), None, reference=reference, model=model, samples=200)
    result = measure(torch_predict(model.graph), None, reference=reference, model=model)

    assert result.sqnr_db == math.inf


def test_evaluate_compares_a_model_with_its_original(model: Model, make_data: MakeData) -> None:
    rows = RANDOM.normal(size=(100, 6))
    answers = model.graph(torch.from_numpy(rows).float()).argmax(1).numpy()
    data = make_data(rows, answers, metric="top1")

    result = evaluate(model, data, original=model)

    assert result.drop is not None
    assert (result.metric.value, result.drop.value) == (100.0, 0.0)
