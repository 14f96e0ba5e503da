"""The proof after an export: what was promised, what was written, and how the file behaves in its runtime."""

from pathlib import Path

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QDialog, QDialogButtonBox, QGridLayout, QVBoxLayout, QWidget

from studio.export.report import ExportReport
from studio.gui.labels import ElidedLabel, label, set_tone
from studio.gui.text import bytes_text, count_text, measurement_text, metric_name, ratio_text

_PROVEN = {
    "onnx": "The file was opened again in ONNX Runtime and behaves as the preview said.",
    "safetensors": "The file was read again and holds the weights that the preview showed.",
}


class ExportReportDialog(QDialog):
    """Shows one `ExportReport`; opened without blocking."""

    def __init__(self, report: ExportReport, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Exported")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setMinimumWidth(440)
        title = label("Exported and verified" if report.verified else "Exported, not verified", "title")
        verdict = label(
            _PROVEN[report.format] if report.verified else "The file does not behave as the preview said.",
            wrap=True,
        )
        set_tone(verdict, "good" if report.verified else "bad")
        grid = QGridLayout()
        grid.setHorizontalSpacing(24)
        grid.setVerticalSpacing(6)
        grid.setColumnStretch(1, 1)
        for row, (name, value) in enumerate(report_lines(report)):
            grid.addWidget(label(name, "detail"), row, 0)
            shown = ElidedLabel(value, mode=Qt.TextElideMode.ElideMiddle)
            shown.setAccessibleName(name)
            shown.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            grid.addWidget(shown, row, 1)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.close)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(24, 20, 24, 16)
        layout.setSpacing(12)
        for widget in (title, verdict):
            layout.addWidget(widget)
        layout.addLayout(grid)
        layout.addWidget(buttons)


def report_lines(report: ExportReport) -> list[tuple[str, str]]:
    """Name and value of every figure of a report, in the order in which they are read."""
    metric = metric_name(report.exported.name)
    lines = [
        ("File", Path(report.out).name),
        ("Size before", f"{bytes_text(report.before)}  ({count_text(report.before)} bytes)"),
        ("Size predicted", f"{bytes_text(report.predicted)}  ({count_text(report.predicted)} bytes)"),
        ("Size written", f"{bytes_text(report.after)}  ({count_text(report.after)} bytes)"),
        ("Smaller by", ratio_text(report.before, report.after)),
    ]
    if report.original is not None:
        lines.append((f"{metric}, original", measurement_text(report.original)))
    counted, compared = ("Samples", "output") if report.format == "onnx" else ("Weights", "weight")
    return [
        *lines,
        (f"{metric}, preview", measurement_text(report.preview)),
        (f"{metric}, exported file", measurement_text(report.exported)),
        (f"{counted} compared", count_text(report.exported.samples)),
        (f"Largest {compared} difference", f"{report.max_error:.1e}  ({compared}s reach {report.output_scale:.3g})"),
    ]
