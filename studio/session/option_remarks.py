"""Why some of a recipe's options make no difference to an open project, in words."""

from collections.abc import Mapping

from studio.session.project import Project

NO_DATA = "No data to fit to: choose training data (or test data)."
NOT_FITTED = "Only with “Fit to data”."
TRAINED = "Trained weights keep the norms that training has set."
NOT_RANDOM = "No method draws at random: every seed gives the same."

#: Options that say how to fit to data.
_OF_DATA = ("fit", "bias_correction", "norm_recalibration", "calibration_samples")


def unavailable_options(project: Project) -> Mapping[str, str]:
    """The fields of `Options` that make no difference now, each with the reason."""
    reasons = {"seed": NOT_RANDOM}
    if project.weights is not None:
        reasons["norm_recalibration"] = TRAINED
    if project.calibration is None:
        lack = project.info.lacks.get("fit")
        why = NO_DATA if lack is None else f"{lack[:1].upper()}{lack[1:]}."
        return reasons | dict.fromkeys(("data_aware", *_OF_DATA), why)
    if not project.recipe.options.data_aware:
        return reasons | dict.fromkeys(_OF_DATA, NOT_FITTED)
    return reasons


def option_remarks(project: Project) -> list[str]:
    """What else is to be known of the options as they are."""
    options, data = project.recipe.options, project.calibration
    if data is None or not options.data_aware:
        return []
    remarks = []
    if project.train is None:
        remarks.append("Without training data the test data is fitted to, which then measures too favourably.")
    if data.samples < options.calibration_samples:
        remarks.append(f"The data has {data.samples:,} samples, which are all used.")
    return remarks


def options_summary(project: Project) -> str:
    """The options in a few words."""
    if project.calibration is None or not project.recipe.options.data_aware:
        return "not fitted to data"
    return {"layer": "each layer fitted alone", "sequential": "fitted in sequence"}[project.recipe.options.fit]
