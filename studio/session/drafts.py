"""Data on their way to a description: guessed, looked at while a person changes the guess, and written down."""

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

from studio.engine.door import Call
from studio.engine.requests import GuessData, LookAtData, TellSamples
from studio.errors import DataError
from studio.evaluation.data_guess import ENDING, DataGuess, DataView, written_for
from studio.evaluation.description import DataDescription, save_description
from studio.files import make_folder
from studio.session.asking import Asker
from studio.session.project import Project


class Drafts:
    """Has the engine guess and show descriptions that are not saved yet.

    Args:
        asker: of the interactive engine.
        folder: where descriptions go whose own place cannot be written to.
    """

    def __init__(self, asker: Asker, folder: Path) -> None:
        self._asker = asker
        self._folder = folder
        self._looking: Call[DataView] | None = None

    def tell_samples(
        self, paths: Iterable[str], then: Callable[[frozenset[str]], None], failed: Callable[[BaseException], None]
    ) -> None:
        """Asks which of several files hold samples, and not the weights of a model."""
        self._asker.ask(TellSamples(tuple(paths)), then, failed)

    def guess(
        self,
        project: Project,
        path: str,
        then: Callable[[DataGuess], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        """Asks what the data at `path` are for the open model."""
        self._asker.ask(GuessData(project.info.path, path, project.info.skeleton), then, failed)

    def look(
        self,
        project: Project,
        place: str,
        described: DataDescription,
        then: Callable[[DataView], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        """Asks what the model sees of data; `then` gets it at once and again with the baseline.

        A look that is still under way is given up.
        """
        self.cancel()
        request = LookAtData(project.info.path, place, described, project.info.skeleton)
        self._looking = self._asker.ask(request, then, failed, published=then)

    def cancel(self) -> None:
        """Gives up a look that is under way."""
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None

    def save(self, place: str, described: DataDescription) -> str:
        """Writes a description beside its data, or to the session's folder where that cannot be written to.

        Returns:
            The path of the file.

        Raises:
            StudioError: neither can be written to.
        """
        target = Path(place)
        try:
            save_description(described, target)
        except DataError:
            told_apart = hashlib.sha256(str(target.absolute()).encode()).hexdigest()[:8]
            make_folder(self._folder)
            target = self._folder / f"{target.name.removesuffix(ENDING)}-{told_apart}{ENDING}"
            save_description(written_for(described, Path(place), target), target)
        return str(target)
