"""The data sets of a workspace: described ones, and those whose description is guessed."""

from pathlib import Path

from studio.engine.memory import Memory
from studio.evaluation.data import Dataset, open_data, open_described
from studio.evaluation.data_guess import DataGuess, is_description
from studio.evaluation.guess import guess_data
from studio.files import file_version
from studio.models.model import Model
from studio.progress import Report, silent


class Datasets:
    """Opens data for models, each once."""

    def __init__(self) -> None:
        self._data = Memory(6)
        self._guesses = Memory(6)

    def open(self, path: str, model: Model) -> Dataset:
        """The data that a description names, or a folder or file of data itself by what is guessed of it.

        Raises:
            StudioError: they are missing, damaged, or do not fit the model.
        """
        if is_description(path):
            return self._data.get(_key(path, model), lambda: open_data(path, model.info))
        guess = self.guess(path, model)
        return self._data.get(_key(path, model), lambda: open_described(Path(guess.place), guess.described, model.info))

    def guess(self, path: str, model: Model, report: Report = silent) -> DataGuess:
        """How data that nobody described become the model's input.

        Raises:
            StudioError: as `open`.
        """
        model.info.require("measure")
        return self._guesses.get(_key(path, model), lambda: guess_data(Path(path), model, report))


def _key(path: str, model: Model) -> tuple[object, ...]:
    return file_version(path), model.info.fingerprint
