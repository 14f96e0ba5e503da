"""What happens to a student between two steps, apart from the optimizer: zeros are added, ranges are measured anew."""

from torch import Tensor, fx

from studio.compression.compressed import CompressedModel
from studio.distillation.gradual import GradualPruning
from studio.distillation.ranges import RangeRenewal
from studio.distillation.settings import DistillSettings


class Changes:
    """Carries out `gradual` and `renew_ranges`.

    Attributes:
        settled_at: the step from which on the student is as sparse as the recipe wants it.
    """

    def __init__(
        self, graph: fx.GraphModule, start: CompressedModel, settings: DistillSettings, per_epoch: int
    ) -> None:
        total = per_epoch * settings.epochs
        span = min(round(settings.gradual_share * total), total - 1)
        pruning = GradualPruning(graph, start, span) if settings.gradual else None
        self._pruning = pruning if pruning is not None and not pruning.is_idle else None
        self._ranges = RangeRenewal(graph, start) if settings.renew_ranges and not settings.learn_steps else None
        self._per_epoch = per_epoch
        self.settled_at = self._pruning.end + 1 if self._pruning is not None else 0

    def before(self, step: int, inputs: tuple[Tensor, ...]) -> None:
        """Does what is due before step `step` (0-based), on the samples of that step."""
        if self._pruning is not None:
            self._pruning.before(step, inputs)
        if self._ranges is not None and step > 0 and step % self._per_epoch == 0:
            self._ranges.renew(inputs)
