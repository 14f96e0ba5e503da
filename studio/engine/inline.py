"""The engine in the caller's own process: what the command line and most tests use."""

from typing import TypeVar

from studio.engine.door import Call, Lane, Publish, unpublished
from studio.engine.requests import Request
from studio.engine.workspace import Workspace
from studio.progress import Cancelled, Progress, Report, silent

Answer = TypeVar("Answer")


class InlineEngine:
    """Answers every request before `start` returns."""

    def __init__(self, workspace: Workspace | None = None) -> None:
        self._workspace = workspace or Workspace()

    def start(
        self,
        request: Request[Answer],
        *,
        lane: Lane = Lane.LOOK,  # noqa: ARG002 (one lane is all there is)
        report: Report = silent,
        publish: Publish = unpublished,
    ) -> Call[Answer]:
        """See `studio.engine.door.Engine.start`."""
        call: Call[Answer] = Call()

        def report_or_stop(progress: Progress) -> None:
            if call.is_cancelled:
                raise Cancelled
            report(progress)

        try:
            call.future.set_result(self._workspace.answer(request, report_or_stop, publish))
        except (Exception, Cancelled) as error:
            call.future.set_exception(error)
        return call

    def close(self) -> None:
        """Nothing runs between two calls."""
