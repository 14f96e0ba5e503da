"""What gives the outputs of compressed models: replays, which keep activations, or sessions of ONNX Runtime."""

from collections.abc import Callable, Hashable
from functools import partial

from studio.compression.compressed import CompressedModel
from studio.engine.memory import Memory
from studio.evaluation.predict import HasOutputs, Predict
from studio.evaluation.replay import Replay
from studio.evaluation.runtime import session_of
from studio.files import file_version
from studio.models.model import Model

#: Bytes of activations that each of the last three replays may keep.
REPLAY_BUDGET = 1 << 30


class Outputs:
    """Gives outputs of models of which one layer after another is changed.

    What a torch graph has computed is kept, so that an edit runs only what depends on it. ONNX Runtime runs all of its
    graph each time.
    """

    def __init__(self) -> None:
        self._replays = Memory(3)

    def of(self, compressed: CompressedModel, data: str | None) -> Predict | HasOutputs:
        """What gives a compressed model's outputs on data; None stands for random input.

        Layers tried alone all differ from the original. Of whole recipes each differs from the one before, in the
        layer fit and in the sequential one, which would drive each other's values out.
        """
        model = compressed.model
        if model.info.runtime:
            return session_of(model, compressed)
        kind = "alone" if len(compressed.settings) <= 1 else compressed.fit
        return self._replay(model, data, kind).predict(compressed.graph)

    def alone(self, model: Model, data: str | None) -> Callable[[CompressedModel], Predict | HasOutputs]:
        """What gives the outputs of a model of which one layer, or one group of channels, is changed."""
        if model.info.runtime:
            return partial(session_of, model)
        replay = self._replay(model, data, "alone")
        return lambda compressed: replay.predict(compressed.graph)

    def _replay(self, model: Model, data: str | None, kind: str) -> Replay:
        key: Hashable = (kind, model.info.fingerprint, file_version(data) if data else None)
        return self._replays.get(key, lambda: Replay(model.graph, REPLAY_BUDGET, follow=kind != "alone"))
