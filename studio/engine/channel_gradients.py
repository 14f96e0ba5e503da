"""How the loss leans on the channels, for those recipes alone that ask for it: it takes a pass backwards."""

from collections.abc import Callable, Sequence

from torch import Tensor

from studio.analysis.gradient_cache import remembered_gradients
from studio.analysis.gradients import Gradients
from studio.engine.memory import Memory
from studio.engine.requests import Source
from studio.evaluation.batches import Batches
from studio.evaluation.data import Dataset
from studio.files import file_version
from studio.models.model import Model
from studio.progress import Report
from studio.recipe.recipe import Recipe

#: Samples of a batch, as in a calibration.
_BATCH = 64


class ChannelGradients:
    """The last gradients that were learnt."""

    def __init__(self) -> None:
        self._memory = Memory(1)

    def of(
        self, source: Source, model: Model, open_data: Callable[[str, Model], Dataset], report: Report
    ) -> Gradients | None:
        """How the loss leans on the channels, by the labels if there are any.

        Args:
            source: the recipe, and the data to learn from.
            model: the original.
            open_data: opens data for a model.
            report: told of every batch.

        Returns:
            None where the recipe does not ask for them, and without data.
        """
        options, path = source.recipe.options, source.calibration
        if path is None or not options.data_aware or not _asked(source.recipe, model):
            return None
        data, count = open_data(path, model), options.calibration_samples

        def learn() -> Gradients:
            batches = Batches(data, count, _BATCH)
            return remembered_gradients(model, batches, _labels(data, count, _BATCH), report)

        return self._memory.get((model.info.fingerprint, file_version(path), count), learn)


def _asked(recipe: Recipe, model: Model) -> bool:
    return any(chosen.importance == "taylor" for chosen in recipe.groups_of(model.info.layers).values())


def _labels(data: Dataset, count: int, size: int) -> Sequence[Tensor] | None:
    """Labels of each batch, None where the data has none."""
    starts = range(0, min(count, len(data)), size)
    found = [data.labels(range(start, min(start + size, count, len(data)))) for start in starts]
    labels = [part for part in found if part is not None]
    return labels or None
