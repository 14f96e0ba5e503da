"""How well a student does on samples that it does not learn from."""

from collections.abc import Callable
from dataclasses import replace

from torch import fx

from studio.evaluation.data import Dataset
from studio.evaluation.evaluate import measure
from studio.evaluation.metrics import METRICS
from studio.evaluation.predict import Predict, in_parts, torch_predict
from studio.evaluation.reference import Reference
from studio.evaluation.result import Measurement, Result
from studio.progress import Progress

#: Held-out samples measured on the way; before and after, all of them are.
WATCHED = 2000


class HeldOut:
    """Measures on held-out samples, always the same ones first.

    Args:
        data: the samples.
        teacher: answers for them; where there are no labels, agreement with it is measured.
        seed: fixes their order.
        report: called for every block; may raise `Cancelled`.
        at_once: samples that pass through a student at once at most.
        remembers: bytes of the teacher's answers that are kept.
    """

    def __init__(
        self,
        data: Dataset,
        teacher: Predict,
        seed: int,
        report: Callable[[], None],
        *,
        at_once: int,
        remembers: int,
    ) -> None:
        self.metric = data.metric
        self._data = data
        self._reference = Reference(teacher, remembers)
        self._at_once = at_once
        self._seed = seed
        self._report = report

    @property
    def watched(self) -> int:
        """How many samples are measured on the way."""
        return min(WATCHED, len(self._data))

    def look(self, graph: fx.GraphModule) -> Measurement:
        """The metric on the watched samples, as `beside_original` has it."""
        return beside_original(self._measure(graph, WATCHED, []))

    def whole(self, graph: fx.GraphModule) -> tuple[Result, Result]:
        """The results on the watched and on all samples."""
        blocks: list[Result] = []
        whole = self._measure(graph, None, blocks)
        return blocks[0], whole

    def as_good(self, value: float, as_other: float) -> bool:
        """Whether a value is at least as good as another; NaN never is."""
        return value >= as_other if METRICS[self.metric].higher_is_better else value <= as_other

    def _measure(self, graph: fx.GraphModule, samples: int | None, blocks: list[Result]) -> Result:
        def still(_: Progress) -> None:
            self._report()

        return measure(
            in_parts(torch_predict(graph), self._at_once),
            self._data,
            reference=self._reference,
            samples=samples,
            seed=self._seed,
            blocks=(WATCHED,),
            report=still,
            publish=blocks.append,
        )


def beside_original(result: Result) -> Measurement:
    """A result's metric with the interval of its difference from the original, on the same samples.

    Whether a student has come up to its teacher is what one looks for; on the very same samples a few hundred tell it,
    where the value's own interval would hide it. Where agreement with the original is what counts that is its own.
    """
    metric, original, drop = result.metric, result.original, result.drop
    if original is None or drop is None:
        return metric
    sign = -1.0 if METRICS[metric.name].higher_is_better else 1.0
    low, high = sorted(original.value + sign * end for end in (drop.low, drop.high))
    return replace(metric, low=low, high=high)
