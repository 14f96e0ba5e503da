"""What the window's commands do, in terms of the session; the table that `Actions` shows."""

from collections.abc import Callable, Sequence
from pathlib import Path

from PySide6.QtWidgets import QMainWindow

from studio.errors import StudioError
from studio.gui.actions import Command
from studio.gui.file_dialogs import (
    DATA,
    MODELS,
    NETWORKS,
    ONNX,
    RECIPES,
    WEIGHTS,
    ask_folder,
    ask_open,
    ask_save,
)
from studio.gui.latency_card import LatencyDialog
from studio.gui.search_dialog import SearchDialog
from studio.gui.text import sentence
from studio.gui.theme import Theme
from studio.resources import Sample
from studio.session.session import Session

NO_MODEL = "Open a model first."


class Commands:
    """The commands that act on a session.

    Args:
        window: the parent of dialogs.
        session: what is acted on.
        theme: colours of dialogs.
        say: shows an error in one line.
        take_data: takes the data at a path, to be used for ``test`` or ``train``.

    Attributes:
        searching: the dialog of searches, once it was opened.
    """

    def __init__(
        self,
        window: QMainWindow,
        session: Session,
        theme: Theme,
        say: Callable[[str], object],
        take_data: Callable[[str, str], object],
    ) -> None:
        self._window = window
        self._theme = theme
        self.searching: SearchDialog | None = None
        self._session = session
        self._say = say
        self._take_data = take_data

    def table(self, samples: Sequence[Sample]) -> list[Command]:
        """Every command, in the order of the menus."""
        return [*self._file(samples), *self._edit()]

    def open_model(self) -> None:
        """Asks for a model and opens it."""
        ask_open(self._window, "Open a model", MODELS, self._session.open_model)

    def open_folder(self) -> None:
        """Asks for a Hugging Face folder and opens it."""
        ask_folder(self._window, "Open a Hugging Face folder", self._session.open_model)

    def choose_skeleton(self, checkpoint: str) -> None:
        """Asks for the network that a checkpoint's weights belong to, and opens both; otherwise nothing changes."""
        path = Path(checkpoint)
        ask_open(
            self._window,
            f"The network of {path.name}",
            NETWORKS,
            lambda skeleton: self._session.open_model(checkpoint, skeleton),
            path.parent,
        )

    def choose_test(self) -> None:
        """Asks for the data that measures."""
        ask_open(self._window, "Test data", DATA, lambda path: self._take_data(path, "test"))

    def choose_train(self) -> None:
        """Asks for the data that methods fit to and train on."""
        ask_open(self._window, "Training data", DATA, lambda path: self._take_data(path, "train"))

    def choose_test_folder(self) -> None:
        """Asks for a folder of images that measures."""
        ask_folder(self._window, "Test images", lambda path: self._take_data(path, "test"))

    def choose_train_folder(self) -> None:
        """Asks for a folder of images that methods fit to and train on."""
        ask_folder(self._window, "Training images", lambda path: self._take_data(path, "train"))

    def export(self) -> None:
        """Asks where to write the compressed model, and exports it in the background."""
        project = self._session.project
        alone = project is not None and not project.info.has_network and not project.info.has_graph
        proposal = self._beside("-compressed.safetensors" if alone else "-compressed.onnx")
        kinds = WEIGHTS if alone else ONNX
        ask_save(self._window, "Export", kinds, proposal, lambda path: self._guard(lambda: self._session.export(path)))

    def load_recipe(self) -> None:
        """Asks for a recipe and takes it."""
        ask_open(
            self._window, "Load a recipe", RECIPES, lambda path: self._guard(lambda: self._session.load_recipe(path))
        )

    def save_recipe(self) -> None:
        """Asks where to write the recipe."""
        proposal = self._beside(".recipe.yaml")
        ask_save(
            self._window,
            "Save the recipe",
            RECIPES,
            proposal,
            lambda path: self._guard(lambda: self._session.save_recipe(path)),
        )

    def forget_trusted(self) -> None:
        """Takes back the consent to run programs."""
        count = self._session.trust.take_back()
        self._session.notice.emit(f"Forgotten: {count} trusted program{'s' if count != 1 else ''}.")

    def _why_none_trusted(self) -> str:
        return "" if self._session.preferences.trusted else "No program has been trusted."

    def keep_variant(self) -> None:
        """Keeps the present state as a variant."""
        kept = sum(variant.name.startswith("Variant") for variant in self._session.variants.all)
        self._session.keep_variant(f"Variant {kept + 1}")

    def search(self) -> None:
        """Opens the dialog of searches, the one that was open before."""
        if self.searching is None:
            self.searching = SearchDialog(self._session, self._theme, self._window)
        self.searching.show()
        self.searching.raise_()
        self.searching.activateWindow()

    def measure_latency(self) -> None:
        """Asks for threads and batch, and times the present state."""
        settings = self._session.preferences.latency
        LatencyDialog(
            settings, lambda chosen: self._guard(lambda: self._session.measure_latency(chosen)), self._window
        ).open()

    def why_no_model(self) -> str:
        """The reason why a command that needs a model is unavailable."""
        return "" if self._session.project is not None else NO_MODEL

    def _why_not(self, ability: str) -> str:
        """The reason why a command is unavailable that needs one of the model's abilities."""
        project = self._session.project
        if project is None:
            return NO_MODEL
        return sentence(project.info.lacks[ability]) if ability in project.info.lacks else ""

    def _file(self, samples: Sequence[Sample]) -> list[Command]:
        needs_model = self.why_no_model
        opening = [
            Command("open", "File", "&Open a model …", "Ctrl+O", "Open a model or a checkpoint", self.open_model),
            Command(
                "open_folder",
                "File",
                "Open a &folder …",
                "Ctrl+Shift+O",
                "Open a Hugging Face folder: config.json with safetensors",
                self.open_folder,
            ),
            *(self._sample_command(number, sample) for number, sample in enumerate(samples, start=1)),
        ]
        keeping = [
            Command(
                "load_recipe",
                "File",
                "&Load a recipe …",
                "Ctrl+L",
                "Take the settings of a recipe file",
                self.load_recipe,
                needs_model,
                True,
            ),
            Command(
                "save_recipe",
                "File",
                "&Save the recipe …",
                "Ctrl+S",
                "Write the settings to a recipe file",
                self.save_recipe,
                needs_model,
            ),
            Command(
                "export",
                "File",
                "&Export …",
                "Ctrl+E",
                "Write the compressed model and prove it",
                self.export,
                needs_model,
                True,
            ),
            Command(
                "forget_trusted",
                "File",
                "Forget tr&usted programs",
                "Ctrl+Alt+F",
                "Take back the consent to run TorchScript programs; each is asked for again",
                self.forget_trusted,
                self._why_none_trusted,
            ),
            Command("quit", "File", "&Quit", "Ctrl+Q", "Close the window", self._window.close, separated=True),
        ]
        return opening + self._data() + keeping

    def _data(self) -> list[Command]:
        return [
            Command(
                "test_data",
                "File",
                "&Test data …",
                "Ctrl+T",
                "Choose the data that measures",
                self.choose_test,
                lambda: self._why_not("measure"),
                True,
            ),
            Command(
                "train_data",
                "File",
                "Trai&ning data …",
                "Ctrl+Shift+T",
                "Choose the data that methods fit to and train on",
                self.choose_train,
                lambda: self._why_not("fit"),
            ),
            Command(
                "test_folder",
                "File",
                "Test &images …",
                "Ctrl+I",
                "Choose a folder of images that measures",
                self.choose_test_folder,
                lambda: self._why_not("measure"),
            ),
            Command(
                "train_folder",
                "File",
                "Training i&mages …",
                "Ctrl+Shift+I",
                "Choose a folder of images that methods fit to and train on",
                self.choose_train_folder,
                lambda: self._why_not("fit"),
            ),
        ]

    def _edit(self) -> list[Command]:
        session = self._session
        return [
            Command("undo", "Edit", "&Undo", "Ctrl+Z", "Take the last step back", session.undo, self._why_no_undo),
            Command(
                "redo",
                "Edit",
                "&Redo",
                "Ctrl+Shift+Z",
                "Bring the step back that was taken back last",
                session.redo,
                self._why_no_redo,
            ),
            Command(
                "reset",
                "Edit",
                "Reset &all layers",
                "Ctrl+Shift+R",
                "Take every setting back",
                session.reset,
                self.why_no_model,
                True,
            ),
            Command(
                "keep",
                "Edit",
                "&Keep as a variant",
                "Ctrl+K",
                "Keep the present settings to compare with",
                self.keep_variant,
                self.why_no_model,
            ),
            Command(
                "search",
                "Edit",
                "Search a &target …",
                "Ctrl+G",
                "Find the best recipe under a budget: a size, a loss of accuracy, an amount of arithmetic",
                self.search,
                lambda: self._why_not("scan"),
                True,
            ),
            Command(
                "latency",
                "Edit",
                "&Measure latency …",
                "Ctrl+M",
                "Time the present settings beside the original in ONNX Runtime, as a whole and layer by layer",
                self.measure_latency,
                lambda: self._why_not("time"),
                True,
            ),
        ]

    def _sample_command(self, number: int, sample: Sample) -> Command:
        return Command(
            f"sample_{sample.name}", "File", f"Sample: {sample.title}", f"Ctrl+Alt+{number}", sample.summary,
            lambda: self._session.open_sample(sample),
        )  # fmt: skip

    def _why_no_undo(self) -> str:
        project = self._session.project
        return "" if project is not None and project.history.undo_label else "There is nothing to undo."

    def _why_no_redo(self) -> str:
        project = self._session.project
        return "" if project is not None and project.history.redo_label else "There is nothing to redo."

    def _beside(self, ending: str) -> Path:
        """A name beside the model's file."""
        project = self._session.project
        model = Path(project.info.path if project is not None else "model.onnx")
        return model.with_name(model.stem + ending)

    def _guard(self, act: Callable[[], object]) -> None:
        """Shows the user's mistake in one line; a bug goes on to the log."""
        try:
            act()
        except StudioError as error:
            self._say(str(error))
