"""What one method saves on its own: the size with it against the size without it, everything else alike."""

from collections.abc import Iterable

from studio.gui.text import saved_text
from studio.models.layer import Layer
from studio.recipe.cost import layer_cost
from studio.session.session import Session


def method_saving(session: Session, layers: Iterable[Layer], method: str) -> str:
    """Bytes that `method` saves on these layers, such as ``"−12.3 kB"``; empty while a rank is not known yet."""
    project = session.project
    if project is None:
        return ""
    before = after = 0
    known = session.factors
    for layer in layers:
        settings, factors = project.settings(layer.name), known.get(layer.name)
        if settings.rank is not None and settings.rank.energy is not None and factors is None:
            return ""
        after += layer_cost(layer, settings, factors).bytes
        before += layer_cost(layer, settings.model_copy(update={method: None}), factors).bytes
    return saved_text(before, after)
