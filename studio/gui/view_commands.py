"""The commands of the View menu: the command palette, finding a layer, the pages of the centre, and the theme."""

from collections.abc import Callable

from studio.gui.actions import Command
from studio.gui.theme import Scheme

#: Titles of the pages in the centre of the window.
PAGES = ("Overview", "Layer", "Sensitivity", "Recover", "Graph")

_THEMES = (
    (Scheme.SYSTEM, "&System theme", "Ctrl+Alt+S"),
    (Scheme.LIGHT, "L&ight theme", "Ctrl+Alt+L"),
    (Scheme.DARK, "&Dark theme", "Ctrl+Alt+D"),
)


def view_commands(
    show_palette: Callable[[], object],
    find: Callable[[], object],
    show_page: Callable[[int], object],
    choose_theme: Callable[[Scheme], object],
    unavailable: Callable[[], str],
) -> list[Command]:
    """The commands, in the order of the menu.

    Args:
        show_palette: lists every command to choose from.
        find: goes to the search box.
        show_page: turns to the page of that index.
        choose_theme: takes other colours.
        unavailable: why there is nothing to find or to turn to, empty when there is.
    """
    return [
        Command("palette", "View", "&Commands …", "Ctrl+Shift+P", "Find any command by its name", show_palette),
        Command("find", "View", "&Find a layer", "Ctrl+F", "Filter layers by name", find, unavailable),
        *(_page(number, title, show_page, unavailable) for number, title in enumerate(PAGES)),
        *(_theme(scheme, text, keys, choose_theme) for scheme, text, keys in _THEMES),
    ]


def _page(number: int, title: str, show_page: Callable[[int], object], unavailable: Callable[[], str]) -> Command:
    help_text = f"Show the page “{title}”"
    keys = f"Ctrl+{number + 1}"
    return Command(
        f"page_{number}", "View", f"&{number + 1} {title}", keys, help_text, lambda: show_page(number), unavailable
    )


def _theme(scheme: Scheme, text: str, keys: str, choose_theme: Callable[[Scheme], object]) -> Command:
    return Command(
        f"theme_{scheme.value}",
        "View",
        text,
        keys,
        f"Use the {scheme.value} colours",
        lambda: choose_theme(scheme),
        separated=scheme is Scheme.SYSTEM,
    )
