"""What one method saves on its own: the size with it against the size without it, everything else alike."""

from collections.abc import Iterable

from studio.gui.text import saved_text
from studio.models.layer import Layer
from studio.recipe.cost import layer_cost
from studio.recipe.settings import LayerSettings
from studio.session.session import Session


def method_saving(session: Session, layers: Iterable[Layer], method: str) -> str:
    """Bytes that `method` saves on these layers, such as ``"−12.3 kB"``; empty while a rank is not known yet."""
    project = session.project
    if project is None:
        return ""
    before = after = 0
    for layer in layers:
        settings = project.settings(layer.name)
        rank = _rank(session, layer, settings)
        if settings.rank is not None and rank is None:
            return ""
        after += layer_cost(layer, settings, rank).bytes
        before += layer_cost(layer, settings.model_copy(update={method: None}), rank).bytes
    return saved_text(before, after)


def _rank(session: Session, layer: Layer, settings: LayerSettings) -> int | None:
    """The rank that a layer's settings come to, None when there is none or its spectrum is not known yet."""
    if settings.rank is None or settings.rank.rank is not None:
        return settings.rank.rank if settings.rank is not None else None
    spectrum = session.spectra.get(layer.name)
    return spectrum.rank_for(settings.rank.energy or 1.0) if spectrum is not None else None
