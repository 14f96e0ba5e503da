"""Channels that go in steps while a model learns: after each step it is trained before the next ones are chosen.

Pruning a part, fine-tuning and pruning again keeps more than pruning all at once (P. Molchanov et al., Pruning
convolutional neural networks for resource efficient inference, arXiv 1611.06440). Every step is a distillation of its
own: the recipe with a part of its channels gone is carried out on what the last step has trained (by the recipe's own
importance, on what that model's layers see, those behind solved anew), and the optimizer and its schedule begin anew.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from studio.analysis.calibration import Calibration, calibrate
from studio.compression.compress import CompressedModel, compress
from studio.compression.weights import load_weights, save_weights
from studio.distillation.folder import STEPS, is_resumable
from studio.distillation.settings import DistillSettings, TrainingPoint
from studio.distillation.train import FREE, HELD_SHARE, Recovery, distill
from studio.engine.channel_gradients import ChannelGradients
from studio.engine.door import Publish
from studio.engine.requests import Source
from studio.errors import TrainingError
from studio.evaluation.data import Dataset, hold_out
from studio.files import keep_text, make_folder
from studio.models.layer import Layer
from studio.models.model import Model
from studio.progress import Progress, Report
from studio.recipe.recipe import Recipe

#: Carries out a recipe on trained weights, None for those that the request begins with.
Narrow = Callable[[Recipe, str | None], CompressedModel]


class _Done(BaseModel):
    """A step that is over."""

    model_config = ConfigDict(ser_json_inf_nan="constants")

    weights: str
    recovery: Recovery
    points: list[TrainingPoint]


class _AllDone(BaseModel):
    """All of a run that is over; weights and the checkpoints of later steps lie beside it."""

    identity: str = ""
    steps: list[_Done] = []


def step_recipes(recipe: Recipe, layers: Sequence[Layer], steps: int) -> list[Recipe]:
    """Recipes with equal parts of the channels gone, the last the recipe itself; those that take no more are left out.

    Args:
        recipe: what is wanted in the end.
        layers: of the model.
        steps: how many at most.
    """
    found = [recipe]
    for number in range(steps - 1, 0, -1):
        milder = recipe.with_channel_share(number / steps)
        if milder.narrowed(layers) not in (found[0].narrowed(layers), {layer.name: layer for layer in layers}):
            found.insert(0, milder)
    return found


def step_epochs(epochs: int, steps: int) -> list[int]:
    """Passes over the data for each step, the last ones one more where they do not share evenly.

    Raises:
        TrainingError: there are fewer epochs than steps.
    """
    if epochs < steps:
        raise TrainingError(
            f"channel_steps: {steps} steps need {steps} epochs at least, one for each; there are {epochs}."
        )
    return [epochs // steps + (number >= steps - epochs % steps) for number in range(steps)]


def narrowed_further(
    model: Model,
    calibration: Calibration | None,
    open_data: Callable[[str, Model], Dataset],
    report: Report,
    source: Source,
) -> CompressedModel:
    """Carries out a recipe on trained weights, by what their model's layers see.

    Args:
        model: the original.
        calibration: of the original, for its samples.
        open_data: opens data for a model.
        report: told of the progress.
        source: recipe and weights.

    Raises:
        ValueError: there are no weights.
        StudioError: as `compress`.
    """
    if source.weights is None:
        raise ValueError("there is nothing trained to go on from")
    weights = Path(source.weights)
    trained = load_weights(weights, model).graph
    now = replace(
        model, graph=trained, info=replace(model.info, fingerprint=f"{model.info.fingerprint} {weights.stem}")
    )
    if calibration is not None:
        calibration = replace(calibrate(now, calibration.batches, report), scores=calibration.scores)
    gradients = ChannelGradients().of(source, now, open_data, report)
    return compress(model, source.recipe, calibration=calibration, gradients=gradients, weights=weights, report=report)


class ChannelSteps:
    """A run of several distillations.

    Args:
        narrow: carries out the recipes.
        train: samples to train on.
        held: samples to measure on, None holds a part of `train` back.
        settings: of the whole run.
        teacher: None for the original.
        folder: for weights, checkpoints and what is done.
        keeps: whether checkpoints are kept.
        report: receives progress.
        publish: receives the points of the curves.
    """

    def __init__(
        self,
        narrow: Narrow,
        train: Dataset,
        held: Dataset | None,
        settings: DistillSettings,
        teacher: Model | None,
        folder: Path,
        *,
        keeps: bool,
        report: Report,
        publish: Publish,
    ) -> None:
        self._train, self._held = (train, held) if held else hold_out(train, HELD_SHARE, settings.seed)
        self._narrow = narrow
        self._settings = settings
        self._teacher = teacher
        self._folder = folder
        self._keeps = keeps
        self._report = report
        self._publish = publish
        self._done = _AllDone()

    def run(self, recipes: Sequence[Recipe], resume: bool) -> tuple[CompressedModel, Recovery]:
        """Trains under one recipe after the other.

        Returns:
            The last model, and how it did; `Recovery.before` is that of the first step.

        Raises:
            StudioError: as `distill`.
        """
        epochs = step_epochs(self._settings.epochs, len(recipes))
        per_epoch = -(-len(self._train) // self._settings.batch_size)
        self._done = _AllDone(identity=self._identity(recipes[-1]))
        if resume:
            self._go_on()
        number = len(self._done.steps)
        while True:
            trained, recovery, points = self._step(recipes[number], number, epochs, per_epoch, resume)
            number, resume = number + 1, False
            if number == len(recipes):
                return trained, self._summed(recovery)
            self._note(trained, recovery, points)

    def _identity(self, recipe: Recipe) -> str:
        """What the course of the run depends on."""
        return f"{recipe.model_dump_json()} {self._settings.model_dump_json(exclude=FREE)} {self._train.fingerprint}"

    def _go_on(self) -> None:
        """Takes over what is done.

        Raises:
            TrainingError: nothing is, or it was another run's.
        """
        path = self._folder / STEPS
        if not path.exists():
            return
        try:
            found = _AllDone.model_validate_json(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise TrainingError(f"{path}: the checkpoint is damaged; start the run anew.") from error
        if found.identity != self._done.identity:
            raise TrainingError("The checkpoint belongs to another run: recipe, settings or data differ.")
        self._done = found
        for point in (point for done in found.steps for point in done.points):
            self._publish(point)

    def _step(
        self, recipe: Recipe, number: int, epochs: Sequence[int], per_epoch: int, resume: bool
    ) -> tuple[CompressedModel, Recovery, list[TrainingPoint]]:
        """One distillation, told as a part of the whole."""
        before = sum(epochs[:number])
        total, seconds = per_epoch * sum(epochs), sum(done.recovery.seconds for done in self._done.steps)
        points = list[TrainingPoint]()

        def told(progress: Progress) -> None:
            message = f"channels, step {number + 1} of {len(epochs)}: {progress.message}"
            self._report(Progress(progress.done + before * per_epoch, total, message))

        def published(point: TrainingPoint) -> None:
            points.append(
                replace(
                    point,
                    step=point.step + before * per_epoch,
                    total_steps=total,
                    epoch=point.epoch + before,
                    seconds=point.seconds + seconds,
                )
            )
            self._publish(points[-1])

        folder = self._folder if number == 0 else self._folder / f"step{number + 1}"
        weights = self._done.steps[-1].weights if number else None
        trained, recovery = distill(
            self._narrow(recipe, weights),
            self._train,
            self._held,
            self._settings.model_copy(update={"epochs": epochs[number], "channel_steps": 1}),
            teacher=self._teacher,
            checkpoints=folder if self._keeps else None,
            resume=resume and (number == 0 or is_resumable(folder)),
            report=told,
            publish=published,
        )
        return trained, recovery, points

    def _note(self, trained: CompressedModel, recovery: Recovery, points: list[TrainingPoint]) -> None:
        """Writes down that a step is over."""
        make_folder(self._folder)
        weights = save_weights(trained, self._folder)
        self._done.steps.append(_Done(weights=str(weights), recovery=recovery, points=points))
        keep_text(self._folder / STEPS, self._done.model_dump_json())

    def _summed(self, last: Recovery) -> Recovery:
        """What all steps together came to."""
        earlier = [done.recovery for done in self._done.steps]
        return replace(
            last,
            before=earlier[0].before if earlier else last.before,
            epochs=last.epochs + sum(one.epochs for one in earlier),
            seconds=last.seconds + sum(one.seconds for one in earlier),
            warning=" ".join(filter(None, [*(one.warning for one in earlier), last.warning])),
        )
