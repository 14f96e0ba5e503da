"""What the scan expects of the present choice, at once at every edit."""

from studio.evaluation.prediction import Curves, Prediction
from studio.evaluation.sensitivity import Scan
from studio.session.costs import Costs
from studio.session.project import Project
from studio.session.scans import Scans


class Predictions:
    """Predictions from the scan of the open project, for as long as nothing has been measured.

    Args:
        scans: where the scan comes from.
        costs: where it is known how layers are split.
    """

    def __init__(self, scans: Scans, costs: Costs) -> None:
        self._scans = scans
        self._costs = costs
        self._curves: tuple[Scan, Curves] | None = None
        self._last: tuple[object, object, object, Prediction] | None = None

    def of(self, project: Project) -> Prediction | None:
        """What is expected of the present choice; None without a scan, for trained weights, and where nothing changed.

        Trained weights stand elsewhere than those that were scanned.
        """
        scan = self._scans.scan
        if scan is None or not scan.points or project.weights is not None:
            return None
        asked = (scan, project.history.state, self._costs.cost)
        if self._last is None or any(old is not new for old, new in zip(self._last, asked, strict=False)):
            self._last = (*asked, self._predict(scan, project))
        prediction = self._last[3]
        return prediction if prediction.layers or prediction.unknown else None

    def _predict(self, scan: Scan, project: Project) -> Prediction:
        if self._curves is None or self._curves[0] is not scan:
            self._curves = (scan, Curves(scan))
        layers = {layer.name: layer for layer in project.info.layers}
        changed = {name: settings for name, settings in project.chosen.items() if not settings.is_empty}
        return self._curves[1].predict(layers, changed, self._costs.factors(project))
