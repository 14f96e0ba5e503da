"""What distillations gave, kept by model: settings and curves beside the weights, there again after opening."""

import logging
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, ValidationError

from studio.distillation.settings import DistillOutcome, DistillSettings, TrainingPoint
from studio.evaluation.metric_kinds import METRIC_KINDS
from studio.files import keep_text
from studio.models.layer import ModelInfo
from studio.recipe.recipe import Recipe
from studio.recipe.settings import Settings
from studio.session.project import Choice

log = logging.getLogger(__name__)

#: Runs kept of a model, the newest.
_LONGEST = 50


class TrainedRun(Settings):
    """One finished distillation.

    Attributes:
        number: of the model's runs, from 1.
        recipe: what was trained.
        settings: how.
        outcome: what it gave.
        points: its curves.
        bytes: predicted size of its file, 0 where that was not known.
        written: whether it became a model of its own, which holds what it has learnt.
    """

    model_config = ConfigDict(ser_json_inf_nan="constants")  # a loss may be anything

    number: int = 0
    recipe: Recipe
    settings: DistillSettings
    outcome: DistillOutcome
    points: tuple[TrainingPoint, ...]
    bytes: int = 0
    written: bool = False

    @property
    def name(self) -> str:
        """For a person."""
        return f"Distilled {self.number}"

    @property
    def choice(self) -> Choice:
        """The recipe on the trained weights."""
        return Choice(self.recipe, None if self.written else self.outcome.weights)

    @property
    def brought(self) -> str:
        """What became of the metric, in words, with the digits that it has: a perplexity moves by thousandths."""
        outcome, kind = self.outcome, METRIC_KINDS[self.outcome.metric]
        digits = ".2f" if kind.unit == "%" else ".4g"
        return f"{kind.title[:1].lower()}{kind.title[1:]} {outcome.before:{digits}} → {outcome.after:{digits}}"

    @property
    def found(self) -> str:
        """What it brought, a sentence."""
        return f"Distilled: {self.brought}. {self.outcome.warning}".strip()


class _File(Settings):
    """The runs of a model as they are saved."""

    studio_runs: Literal[1] = 1
    runs: tuple[TrainedRun, ...] = ()


class KeptRuns:
    """The runs of every model.

    Args:
        folder: a file for each model.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, fingerprint: str, run: TrainedRun) -> TrainedRun:
        """Saves a run of the model with this fingerprint, and returns it with its number.

        Raises:
            StudioError: it cannot be written.
        """
        known = self._read(fingerprint)
        run = run.model_copy(update={"number": known[-1].number + 1 if known else 1})
        keep_text(self._file(fingerprint), _File(runs=(*known, run)[-_LONGEST:]).model_dump_json())
        return run

    def of(self, info: ModelInfo) -> list[TrainedRun]:
        """The runs of a model whose weights are still there, oldest first."""
        runs = self._read(info.fingerprint)
        return [run for run in runs if run.written or Path(run.outcome.weights).exists()]

    def _read(self, fingerprint: str) -> tuple[TrainedRun, ...]:
        path = self._file(fingerprint)
        if not path.exists():
            return ()
        try:
            return _File.model_validate_json(path.read_text(encoding="utf-8")).runs
        except (OSError, ValidationError, UnicodeDecodeError) as error:
            log.warning("%s cannot be read, its runs are not shown: %s", path, error)
            return ()

    def _file(self, fingerprint: str) -> Path:
        return self._folder / f"{fingerprint}.json"
