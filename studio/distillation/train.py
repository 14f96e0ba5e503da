"""Recovering accuracy: the compressed model learns to answer as the original does."""

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import fx

from studio.compression.compressed import CompressedModel
from studio.compression.trainable import freeze, trainable
from studio.distillation.devices import choose_device
from studio.distillation.schedule import learning_rate
from studio.distillation.settings import DistillOutcome, DistillSettings, TrainingPoint
from studio.distillation.student import Student
from studio.errors import TrainingError
from studio.evaluation.arrays import Array
from studio.evaluation.data import Dataset, hold_out
from studio.evaluation.evaluate import measure
from studio.evaluation.metrics import METRICS
from studio.evaluation.predict import Predict, torch_predict
from studio.evaluation.reference import Reference
from studio.evaluation.result import Result
from studio.progress import Progress, Report, silent

#: Share of the training samples that is held out when no other samples are given to measure on.
HELD_SHARE = 0.1

#: Held-out samples measured on the way; before and after, all of them are.
WATCHED = 2000

#: Measurements in every epoch, the last at its end.
LOOKS_PER_EPOCH = 4

#: Optimizer steps from one point of the loss curve to the next.
POINT_EVERY = 10


def unpublished(_point: TrainingPoint) -> None:
    """Receives points that nobody draws."""


@dataclass(frozen=True)
class Recovery:
    """What a distillation came to, see `DistillOutcome`; here the weights are still in memory."""

    metric: str
    teacher: float
    before: float
    after: float
    epochs: int
    seconds: float
    warning: str = ""

    def saved_as(self, weights: str) -> DistillOutcome:
        """The outcome once the weights are in a file."""
        return DistillOutcome(weights=weights, **vars(self))


def distill(
    compressed: CompressedModel,
    train: Dataset,
    held: Dataset | None,
    settings: DistillSettings,
    *,
    report: Report = silent,
    publish: Callable[[TrainingPoint], None] = unpublished,
) -> tuple[CompressedModel, Recovery]:
    """Trains a compressed model towards its original, masks, factors and quantizers in force at every step.

    The weights that do best on held-out samples win, those before training included, so that the result is never
    worse than the start on them. A loss that is no longer finite ends the run early with the best weights so far.

    Args:
        compressed: what to train; stays as it is.
        train: samples to train on; labels are used where there are any and β < 1.
        held: samples to measure on; None holds a tenth of `train` back.
        settings: how to train.
        report: receives progress at every step; raising `Cancelled` from it ends the run and leaves nothing behind.
        publish: receives the points of the curves.

    Returns:
        The trained model, and how it did.

    Raises:
        TrainingError: the device is not there, or no layer is left to train.
        DataError: there are too few samples, or their labels do not fit the model.
    """
    device = choose_device(settings.device)
    if held is None:
        train, held = hold_out(train, HELD_SHARE, settings.seed)
    return _Run(compressed, train, held, settings, device, report, publish).result()


class _Run:
    """One distillation from start to end."""

    def __init__(
        self,
        compressed: CompressedModel,
        train: Dataset,
        held: Dataset,
        settings: DistillSettings,
        device: torch.device,
        report: Report,
        publish: Callable[[TrainingPoint], None],
    ) -> None:
        self._compressed = compressed
        self._train = train
        self._held = held
        self._settings = settings
        self._report = report
        self._publish = publish
        graph = trainable(compressed)
        if not any(parameter.requires_grad for parameter in graph.parameters()):
            raise TrainingError("every layer is kept as it is; nothing is left to train.")
        self._student = Student(graph, settings, device)
        teacher = torch_predict(_on(compressed.model.graph, device))
        self._taught = Reference(teacher)
        self._watched = Reference(teacher)
        self._steps_per_epoch = math.ceil(len(train) / settings.batch_size)
        self._total = self._steps_per_epoch * settings.epochs
        self._step = 0
        self._losses: list[float] = []
        self._started = time.monotonic()

    def result(self) -> tuple[CompressedModel, Recovery]:
        """Trains and compares."""
        watched, before = self._measure_all(self._compressed)
        best, warning = self._best_state(watched.metric.value)
        trained = freeze(self._compressed, self._student.restored(best))
        _, after = self._measure_all(trained)
        if not self._as_good(after.metric.value, before.metric.value):  # the watched samples are not all
            trained, after = self._compressed, before
        return trained, Recovery(
            metric=self._held.metric,
            teacher=100.0 if before.original is None else before.original.value,  # it agrees with itself
            before=before.metric.value,
            after=after.metric.value,
            epochs=self._settings.epochs,
            seconds=time.monotonic() - self._started,
            warning=warning,
        )

    def _best_state(self, start: float) -> tuple[dict[str, torch.Tensor], str]:
        """The best state of the student over all steps, and why it ended early if it did.

        Args:
            start: the metric before training, on the watched samples.
        """
        best, best_value = self._student.snapshot(), start
        self._point(self._first_loss(), start)
        for batch in self._batches():
            loss = self._take(batch)
            if not math.isfinite(loss):
                return best, f"Stopped at step {self._step + 1}: the loss is not finite; try a lower learning rate."
            self._step += 1
            self._report(Progress(self._step, self._total, self._message()))
            if self._look_is_due():
                value = self._look()
                self._point(self._mean_loss(), value)
                if self._as_good(value, best_value):
                    best, best_value = self._student.snapshot(), value
            elif self._step % POINT_EVERY == 0:
                self._point(self._mean_loss(), None)
        return best, ""

    def _batches(self) -> Iterator[Array]:
        """Indices of the training samples, newly shuffled for each epoch."""
        random = np.random.default_rng(self._settings.seed)
        for _ in range(self._settings.epochs):
            order = random.permutation(len(self._train))
            yield from np.array_split(order, range(self._settings.batch_size, len(order), self._settings.batch_size))

    def _take(self, batch: Array) -> float:
        """One step on the samples at `batch`; gives its loss."""
        inputs = self._train.inputs(batch)
        rate = learning_rate(self._step, self._total, self._settings.learning_rate)
        loss = self._student.step(inputs, self._taught.outputs(batch, inputs), self._train.labels(batch), rate)
        self._losses.append(loss)
        return loss

    @torch.no_grad()
    def _first_loss(self) -> float:
        """The loss before any step, on as many samples as a step takes."""
        batch = np.arange(min(len(self._train), self._settings.batch_size))
        inputs = self._train.inputs(batch)
        return self._student.loss(inputs, self._taught.outputs(batch, inputs), self._train.labels(batch)).item()

    def _look_is_due(self) -> bool:
        every = max(1, self._steps_per_epoch // LOOKS_PER_EPOCH)
        in_epoch = self._step % self._steps_per_epoch
        # the last quarter of an epoch ends with it, whatever remainder the division leaves
        return in_epoch == 0 or (in_epoch % every == 0 and self._steps_per_epoch - in_epoch >= every)

    def _look(self) -> float:
        """Measures the student as it is, on the watched samples."""
        return self._measure(torch_predict(self._student.graph), WATCHED, []).metric.value

    def _measure_all(self, compressed: CompressedModel) -> tuple[Result, Result]:
        """What a compressed model comes to on the watched and on all held-out samples."""
        blocks: list[Result] = []
        whole = self._measure(torch_predict(compressed.graph), None, blocks)
        return blocks[0], whole

    def _measure(self, predict: Predict, samples: int | None, blocks: list[Result]) -> Result:
        """Measures on held-out samples, the watched ones first; progress stays at the step reached."""

        def still(_: Progress) -> None:
            self._report(Progress(self._step, self._total, "measuring"))

        return measure(
            predict,
            self._held,
            reference=self._watched,
            samples=samples,
            seed=self._settings.seed,
            blocks=(WATCHED,),
            report=still,
            publish=blocks.append,
        )

    def _as_good(self, value: float, as_other: float) -> bool:
        """Whether a later value is at least as good; NaN never is."""
        return value >= as_other if METRICS[self._held.metric].higher_is_better else value <= as_other

    def _mean_loss(self) -> float:
        """Mean of the losses since it was last asked for."""
        mean = sum(self._losses) / len(self._losses) if self._losses else math.nan
        self._losses.clear()
        return mean

    def _point(self, loss: float, value: float | None) -> None:
        self._publish(
            TrainingPoint(
                step=self._step,
                total_steps=self._total,
                epoch=self._step / self._steps_per_epoch,
                loss=loss,
                learning_rate=learning_rate(max(0, self._step - 1), self._total, self._settings.learning_rate),
                value=value,
                seconds=time.monotonic() - self._started,
            )
        )

    def _message(self) -> str:
        epoch = min(self._step // self._steps_per_epoch + 1, self._settings.epochs)
        return f"epoch {epoch} of {self._settings.epochs}"


def _on(graph: fx.GraphModule, device: torch.device) -> fx.GraphModule:
    """The graph on `device`: itself where it is there already, otherwise a copy, as a model is never changed."""
    return graph if device.type == "cpu" else copy.deepcopy(graph).to(device)
