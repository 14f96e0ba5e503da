"""An engine that answers what a file's header tells at once, and loads the real one for everything else."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from studio.engine.door import Call, Engine, Lane, Publish, unpublished
from studio.engine.requests import OpenModel, Request
from studio.errors import ModelFileError
from studio.models.layer import ModelInfo
from studio.models.quick import quick_info
from studio.progress import Report, silent

Answer = TypeVar("Answer")


class LightEngine:
    """Stands before an engine that takes seconds and hundreds of megabytes to load.

    Args:
        make: loads it; called by the first request that needs it.
    """

    def __init__(self, make: Callable[[], Engine]) -> None:
        self._make = make
        self._engine: Engine | None = None

    def start(
        self,
        request: Request[Answer],
        *,
        lane: Lane = Lane.LOOK,
        report: Report = silent,
        publish: Publish = unpublished,
    ) -> Call[Answer]:
        """See `studio.engine.door.Engine.start`."""
        if self._engine is None and isinstance(request, OpenModel) and request.skeleton is None:
            answered: Call[Any] | None = _listed(request.path)
            if answered is not None:
                return answered
        self._engine = self._engine or self._make()
        return self._engine.start(request, lane=lane, report=report, publish=publish)

    def close(self) -> None:
        """Ends the engine behind, if it was loaded."""
        if self._engine is not None:
            self._engine.close()


def _listed(path: str) -> Call[ModelInfo] | None:
    """What the file's header tells of it, or of what is wrong with it; None where it takes more."""
    call: Call[ModelInfo] = Call()
    try:
        info = quick_info(Path(path))
    except ModelFileError as error:
        call.future.set_exception(error)
        return call
    if info is None:
        return None
    call.future.set_result(info)
    return call
