"""What each changed layer costs alone: measured one after the other once the whole preview has settled."""

from collections.abc import Mapping

from psygnal import Signal

from studio.engine.door import Call, Lane
from studio.engine.requests import Preview
from studio.evaluation.result import Measurement, Result, drop_of
from studio.session.asking import Asker
from studio.session.project import Project

#: Samples per layer: enough to tell a harmless layer from a costly one, short enough to do them all.
SAMPLES = 512

#: A layer, its settings and the options.
_Key = tuple[str, str, str]


class LayerDrops:
    """Drops of single layers in the layer fit, remembered by settings and the recipe's options.

    Attributes:
        changed: emitted with the name of a layer whose drop became known.
    """

    changed = Signal(str)

    def __init__(self, asker: Asker) -> None:
        self._asker = asker
        self._known: dict[_Key, Measurement] = {}
        self._measured: set[str] = set()
        self._call: Call[Result] | None = None

    def of(self, project: Project, layer: str) -> Measurement | None:
        """The drop of `layer` alone under its present settings, None while unknown."""
        if layer not in self._measured:
            return None  # asked for every layer at every move of a slider
        return self._known.get(_key(project, layer))

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
        keys = {layer.name: _key(project, layer.name) for layer in project.changed_layers()}
        self._next(project, {name: key for name, key in keys.items() if key not in self._known})

    def _next(self, project: Project, missing: Mapping[str, _Key]) -> None:
        if not missing:
            return
        name, key = next(iter(missing.items()))
        rest = {other: its for other, its in missing.items() if other != name}

        def know(drop: Measurement) -> None:
            self._known[key] = drop
            self._measured.add(name)
            self.changed.emit(name)
            self._next(project, rest)

        self._call = self._asker.ask(
            Preview(
                project.source_alone(name),
                project.test.path if project.test else None,
                samples=SAMPLES,
            ),
            lambda result: know(drop_of(result)),
            lambda _error: None,  # the preview of the whole recipe has said what is wrong
            lane=Lane.MEASURE,
        )


def _key(project: Project, layer: str) -> _Key:
    """What a drop depends on; in the layer fit, whatever fit the options ask for."""
    options = project.recipe.options
    return layer, project.settings(layer).model_dump_json(), options.model_dump_json(exclude={"fit"})
