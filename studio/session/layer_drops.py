"""What each changed layer costs alone: measured one after the other once the whole preview has settled."""

from collections.abc import Mapping

from psygnal import Signal

from studio.engine.door import Call, Lane
from studio.engine.requests import Preview
from studio.evaluation.result import Measurement, Result
from studio.recipe.settings import LayerSettings
from studio.session.asking import Asker
from studio.session.project import Project

#: Samples per layer: enough to tell a harmless layer from a costly one, short enough to do them all.
SAMPLES = 512


class LayerDrops:
    """Drops of single layers in the layer fit, remembered by settings.

    Attributes:
        changed: emitted with the name of a layer whose drop became known.
    """

    changed = Signal(str)

    def __init__(self, asker: Asker) -> None:
        self._asker = asker
        self._known: dict[tuple[str, str], Measurement | None] = {}
        self._measured: set[str] = set()
        self._call: Call[Result] | None = None

    def of(self, project: Project, layer: str) -> Measurement | None:
        """The drop of `layer` alone under its present settings, None while unknown."""
        if layer not in self._measured:
            return None  # asked for every layer at every move of a slider
        return self._known.get(_key(layer, project.settings(layer)))

    def clear(self) -> None:
        """Forgets everything: another model or other data."""
        self.cancel()
        self._known.clear()
        self._measured.clear()

    def cancel(self) -> None:
        """Stops measuring; what is known stays known."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def measure(self, project: Project) -> None:
        """Measures the changed layers whose drop is unknown, one by one."""
        self.cancel()
        chosen = {layer.name: project.settings(layer.name) for layer in project.changed_layers()}
        self._next(project, {name: s for name, s in chosen.items() if _key(name, s) not in self._known})

    def _next(self, project: Project, missing: Mapping[str, LayerSettings]) -> None:
        if not missing:
            return
        name, settings = next(iter(missing.items()))
        rest = {other: chosen for other, chosen in missing.items() if other != name}

        def know(drop: Measurement | None) -> None:
            self._known[_key(name, settings)] = drop
            self._measured.add(name)
            self.changed.emit(name)
            self._next(project, rest)

        self._call = self._asker.ask(
            Preview(
                project.source_alone(name),
                project.test.path if project.test else None,
                samples=SAMPLES,
            ),
            lambda result: know(result.drop),
            lambda _error: None,  # the preview of the whole recipe has said what is wrong
            lane=Lane.MEASURE,
        )


def _key(layer: str, settings: LayerSettings) -> tuple[str, str]:
    return layer, settings.model_dump_json()
