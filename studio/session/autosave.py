"""The project on disk, so that neither a crash nor a closed window loses anything: written after every edit."""

import logging
from collections.abc import Callable
from pathlib import Path
from threading import Lock, Thread
from typing import Literal

from pydantic import ValidationError

from studio.errors import StudioError
from studio.files import write_text_atomically
from studio.recipe.recipe import Recipe
from studio.recipe.settings import Settings
from studio.session.asking import Dispatch
from studio.session.history import History, Step
from studio.session.project import Choice, Project
from studio.session.variants import Variant, Variants

log = logging.getLogger(__name__)


class SavedStep(Settings):
    """One step of the history."""

    label: str
    recipe: Recipe
    weights: str | None = None


class SavedVariant(Settings):
    """A variant that the user has kept; what was measured of it is measured again."""

    name: str
    recipe: Recipe
    weights: str | None = None
    bytes: int = 0

    @property
    def choice(self) -> Choice:
        """What was kept; trained weights that are gone are the original's."""
        return Choice(self.recipe, _existing(self.weights))


class SavedProject(Settings):
    """A project as it is saved: where its files are, every step of its history, and the variants that were kept."""

    studio_project: Literal[1] = 1
    model: str
    skeleton: str | None = None
    test: str | None = None
    train: str | None = None
    variants: tuple[SavedVariant, ...] = ()
    steps: list[SavedStep]
    cursor: int

    def history(self) -> History[Choice]:
        """The saved history; a step whose trained weights are gone stands on the original's."""
        steps = [Step(Choice(step.recipe, _existing(step.weights)), step.label) for step in self.steps]
        return History.restored(steps, min(max(self.cursor, 0), len(steps) - 1))

    def bring_back(self, variants: Variants) -> None:
        """Adds the kept variants to those of the model."""
        for kept in self.variants:
            variants.add(kept.name, kept.choice, kept.bytes, None)


#: A project without its steps, and those.
_State = tuple[SavedProject, tuple[Step[Choice], ...]]


class Autosave:
    """The file that holds the project under way, written on a thread of its own: nobody waits for the disk.

    Args:
        path: the file; its folder is made when needed.
        variants: of the project.
        dispatch: has an action done on the main thread.
        failed: told there why the file could not be written.
    """

    def __init__(
        self, path: Path, variants: Variants, dispatch: Dispatch, failed: Callable[[StudioError], None]
    ) -> None:
        self._path = path
        self._variants = variants
        self._dispatch = dispatch
        self._failed = failed
        self._lock = Lock()
        self._waiting: _State | None = None
        self._thread: Thread | None = None
        self._written: list[tuple[Step[Choice], str]] = []

    def write(self, project: Project) -> None:
        """Has `project` saved whole, as it is now."""
        frame = SavedProject(
            model=project.info.path,
            skeleton=project.info.skeleton,
            test=project.test.path if project.test else None,
            train=project.train.path if project.train else None,
            variants=tuple(_saved(variant) for variant in self._variants.kept),
            steps=[],
            cursor=project.history.cursor,
        )
        with self._lock:
            self._waiting = frame, project.history.steps
            if self._thread is None or not self._thread.is_alive():  # a bug may have ended it: the next state is kept
                self._thread = Thread(target=self._save_all, name="autosave")
                self._thread.start()

    def finish(self) -> None:
        """Waits until all is written."""
        thread = self._thread
        if thread is not None:
            thread.join()

    def _save_all(self) -> None:
        """Writes the newest state until there is no newer one; the others are out of date."""
        while True:
            with self._lock:
                newest, self._waiting = self._waiting, None
                if newest is None:
                    self._thread = None
                    return
            self._save(*newest)

    def _save(self, frame: SavedProject, steps: tuple[Step[Choice], ...]) -> None:
        known = {id(step): text for step, text in self._written}  # an edit makes one step, all others are as they were
        self._written = [(step, known.get(id(step)) or _text(step)) for step in steps]
        head = frame.model_dump_json(exclude_unset=True, exclude={"steps"})
        body = ",".join(text for _, text in self._written)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_text_atomically(self._path, f'{head[:-1]},"steps":[{body}]}}')
        except OSError as error:
            log.exception("%s cannot be written", self._path)
            told = StudioError(f"{self._path}: your work cannot be kept there: {error.strerror}.")
            self._dispatch(lambda: self._failed(told))

    def read(self) -> SavedProject | None:
        """What the last session left behind; None where nothing had been chosen, or when the file cannot be read."""
        if not self._path.exists():
            return None
        try:
            saved = SavedProject.model_validate_json(self._path.read_text(encoding="utf-8"))
        except (OSError, ValidationError, UnicodeDecodeError) as error:
            log.warning("%s cannot be restored: %s", self._path, error)
            return None
        files = filter(None, (saved.model, saved.skeleton))
        return saved if saved.steps and all(map(_existing, files)) else None

    def end(self, project: Project | None) -> None:
        """Keeps what was chosen for the next session; a project that is as it was opened is forgotten.

        Args:
            project: the open one; None leaves what an earlier session left behind.
        """
        self.finish()
        if project is not None and len(project.history.steps) == 1 and not self._variants.kept:
            self._path.unlink(missing_ok=True)


def _saved(variant: Variant) -> SavedVariant:
    choice = variant.choice
    return SavedVariant(name=variant.name, recipe=choice.recipe, weights=choice.weights, bytes=variant.bytes)


def _text(step: Step[Choice]) -> str:
    """A step as it is saved."""
    saved = SavedStep(label=step.label, recipe=step.state.recipe, weights=step.state.weights)
    return saved.model_dump_json(exclude_unset=True)


def _existing(path: str | None) -> str | None:
    try:
        return path if path is not None and Path(path).exists() else None
    except OSError:  # no name that a file can have
        return None
