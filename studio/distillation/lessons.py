"""What each step learns from: samples, and what labels and the teacher say of them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from studio.distillation.augment import Augmentation
from studio.distillation.order import Shuffled
from studio.distillation.settings import DistillSettings
from studio.distillation.teacher import Teacher
from studio.distillation.team import Team
from studio.evaluation.arrays import Array
from studio.evaluation.data import Dataset


@dataclass(frozen=True, eq=False)
class Lesson:
    """A batch.

    Attributes:
        inputs: of the model, batch first.
        outputs: the teacher's, ``[batch, …]``.
        labels: classes or targets, None without labels.
        features: the teacher's, by layer.
        of: samples of the whole step, 0 where these are all.
    """

    inputs: tuple[Tensor, ...]
    outputs: Tensor
    labels: Tensor | None
    features: Mapping[str, Tensor] = field(default_factory=dict)
    of: int = 0

    def __len__(self) -> int:
        return len(self.outputs)

    def parts(self, count: int) -> Iterator["Lesson"]:
        """The lesson in `count` parts, fewer where there are not so many samples."""
        size = max(1, -(-len(self) // count))
        for start in range(0, len(self), size):
            part = slice(start, start + size)
            yield Lesson(
                tuple(given[part] for given in self.inputs),
                self.outputs[part],
                None if self.labels is None else self.labels[part],
                {name: values[part] for name, values in self.features.items()},
            )


class Lessons:
    """The lesson of every step, a function of the step alone; of a team each process has its share.

    Attributes:
        samples: how many there are.
        per_epoch: steps in one pass over them.
        total: steps of the whole run.
    """

    def __init__(self, data: Dataset, teacher: Teacher, settings: DistillSettings, team: Team) -> None:
        self._data = data
        self._teacher = teacher
        self._augmentation = Augmentation(settings)
        self._order = Shuffled(len(data), settings.batch_size * team.size, settings.seed)
        self._team = team
        self.samples = len(data)
        self.per_epoch = self._order.per_epoch
        self.total = self.per_epoch * settings.epochs

    def first(self) -> Lesson:
        """As many samples as a step takes, as they are."""
        return self._lesson(self._order.batch(0), None)

    def few(self, count: int) -> Lesson:
        """Up to `count` samples, as they are."""
        return self._lesson(self._order.batch(0)[:count], None)

    def at(self, step: int) -> Lesson:
        """The lesson of step `step` (0-based).

        Raises:
            TrainingError: the inputs cannot be changed as the settings ask.
        """
        return self._lesson(self._order.batch(step), step)

    def is_idle(self, step: int) -> bool:
        """Whether a step has too few samples for this process to have any."""
        share = self._team.share(len(self._order.batch(step)))
        return bool(share.start == share.stop)

    def _lesson(self, batch: Array, step: int | None) -> Lesson:
        samples, share = len(batch), slice(None) if step is None else self._team.share(len(batch))
        batch = batch[share]
        inputs, labels = self._data.inputs(batch), self._data.labels(batch)
        if step is not None and not self._augmentation.is_idle:
            inputs = self._augmentation(inputs, step, share, samples)
            outputs, features = self._teacher.asked(inputs)
        else:
            outputs, features = self._teacher.recalled(batch, inputs)
        return Lesson(inputs, outputs, labels, features, samples)
