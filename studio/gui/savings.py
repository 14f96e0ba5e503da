"""What one method saves on its own: the size with it against the size without it, everything else alike."""

from collections.abc import Iterable

from studio.gui.text import saved_text
from studio.models.layer import Layer
from studio.recipe.cost import model_cost, rest_cost
from studio.session.project import Project
from studio.session.session import Session


def method_saving(session: Session, layers: Iterable[Layer], method: str) -> str:
    """Bytes that `method` saves on these layers, such as ``"−12.3 kB"``; empty while a rank is not known yet."""
    project = session.project
    if project is None:
        return ""
    if method == "channels":
        return _saved_by_channels(session, project, layers)
    before = after = 0
    known, rests = session.factors, project.recipe.narrowed(project.info.layers)
    for layer in layers:
        settings, factors = project.settings(layer.name), known.get(layer.name)
        if settings.rank is not None and settings.rank.energy is not None and factors is None:
            return ""
        rest = rests[layer.name]
        after += rest_cost(layer, rest, settings, factors).bytes
        before += rest_cost(layer, rest, settings.model_copy(update={method: None}), factors).bytes
    return saved_text(before, after)


def _saved_by_channels(session: Session, project: Project, layers: Iterable[Layer]) -> str:
    """Channels save bytes in other layers too: the whole model with them against the model without."""
    whole = {name: project.settings(name) for name in project.coupled(layer.name for layer in layers)}
    without = {name: settings.model_copy(update={"channels": None}) for name, settings in whole.items()}
    size = project.export_size or project.info.bytes
    recipe = project.recipe.with_layers(without)
    return saved_text(
        model_cost(project.info, recipe, session.factors, size).bytes,
        model_cost(project.info, project.recipe, session.factors, size).bytes,
    )


def coupling_notes(session: Session, layers: Iterable[Layer]) -> list[str]:
    """Which other layers lose or take the channels of these layers, and why a choice has no effect."""
    project = session.project
    if project is None:
        return []
    chosen = {layer.name: layer for layer in layers}
    groups = [group for group in project.info.groups if chosen.keys() & set(group.members)]
    others = [name for group in groups for name in group.members if name not in chosen]
    kept = [name for group in groups for name in (*group.members, *group.consumers) if project.settings(name).keep]
    notes = [f"Together with: {', '.join(others)}."] if others else []
    unfitted = project.calibration is None or not project.recipe.options.data_aware
    asked = project.recipe.groups_of(project.info.layers)
    if unfitted and any(asked[group.name].importance == "taylor" for group in groups if group.name in asked):
        notes.append(
            "What the loss leans on (Taylor) is learnt from data: choose training data, with “Fit to data” on."
        )
    return notes + ([f"All channels stay as long as {kept[0]} is kept as it is."] if kept else [])
