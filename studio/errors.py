"""What can go wrong through the user's input: one class a room, one clear line a message.

A message says what is wrong, where, and what to do. Anything that is not a `StudioError` is a bug and gets a
traceback in the log.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class StudioError(Exception):
    """The user's input cannot be used as it is; the message is one line fit for a dialog or a terminal."""


class ModelFileError(StudioError):
    """A model file cannot be opened: damaged, unsafe, or with an operator the studio does not know."""


class OperatorError(ModelFileError):
    """A model's graph holds an operator, or a form of one, that the studio cannot compute."""


class TrustNeededError(ModelFileError):
    """A file holds code that opening it would run; only the user can say whether to.

    Attributes:
        fingerprint: SHA-256 of the file's bytes.
    """

    def __init__(self, message: str, fingerprint: str = "") -> None:
        super().__init__(message)
        self.fingerprint = fingerprint


class DataError(StudioError):
    """A data description or its arrays cannot be read, or do not fit the model."""


class RecipeError(StudioError):
    """A recipe names an unknown layer or field, or a value out of range.

    Attributes:
        place: keys that lead to the mistake inside the recipe, such as ``("layers", "conv1")``; empty when unknown.
    """

    def __init__(self, message: str, place: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.place = place


class CompressionError(StudioError):
    """A setting cannot be applied to a layer."""


class SearchError(StudioError):
    """A search is asked for something that cannot be reached or means nothing."""


class TrainingError(StudioError):
    """Distillation cannot start or go on with these settings."""


class MemoryShortError(TrainingError):
    """Memory was short while training; with the samples of a step in more parts it may do."""


class ExportError(StudioError):
    """A file cannot be written, or does not behave as the preview said."""


class EngineStoppedError(StudioError):
    """The engine's worker process ended in the middle of a call; it is started anew by the next one."""


def first_line(error: BaseException) -> str:
    """The first line of what an error of another library says, or its kind where it says nothing."""
    said = str(error).strip()
    return said.splitlines()[0] if said else type(error).__name__


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """A trailing hint such as `` Did you mean 'layer1.0.conv1'?``, or nothing when no valid name is close."""
    close = get_close_matches(name, list(valid), n=1, cutoff=0.5)
    return f" Did you mean '{close[0]}'?" if close else ""
