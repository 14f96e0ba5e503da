"""Data files on their way into a project: each is held against the model before it counts."""

from collections.abc import Callable

from studio.engine.requests import CheckData
from studio.session.asking import Asker
from studio.session.project import DataFile, Project


class DataChecks:
    """Has the engine check data files.

    Args:
        asker: of the interactive engine.
        failed: told what is wrong with a file.
        done: told of every file that has been checked, good or not.

    Attributes:
        pending: files that are being checked; measuring waits until there are none.
    """

    def __init__(self, asker: Asker, failed: Callable[[BaseException], None], done: Callable[[Project], None]) -> None:
        self._asker = asker
        self._failed = failed
        self._done = done
        self.pending = 0

    def check(self, project: Project, test: str | None, train: str | None) -> None:
        """Checks the data against the model; each part counts as soon as it is found good."""
        if train is not None:
            self._check(project, train, project.take_train)
        if test is not None:
            self._check(project, test, project.take_test)

    def _check(self, project: Project, path: str, take: Callable[[DataFile], None]) -> None:
        self.pending += 1

        def good(samples: int) -> None:
            take(DataFile(path, samples))
            done()

        def bad(error: BaseException) -> None:
            self._failed(error)
            done()

        def done() -> None:
            self.pending -= 1
            self._done(project)

        self._asker.ask(CheckData(project.info.path, path, project.info.skeleton), good, bad)
