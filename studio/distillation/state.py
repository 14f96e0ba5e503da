"""Where a run stands between two steps, apart from its tensors: plain numbers that fit in a checkpoint's header."""

from pydantic import BaseModel, ConfigDict

from studio.distillation.settings import TrainingPoint


class Before(BaseModel):
    """What was measured before the first step.

    Attributes:
        teacher: metric of the original on all held-out samples.
        watched, whole: metric of the compressed model on the watched and on all held-out samples.
    """

    teacher: float
    watched: float
    whole: float


class RunState(BaseModel):
    """Everything that changes from step to step; the order of the samples follows from seed and step.

    Attributes:
        before: measured at the start.
        ceiling: a loss that means divergence.
        best: the best watched metric so far, that of the start included.
        step: optimizer steps done.
        looked: the step after which the student was measured last.
        best_step: when it was measured.
        losses: of the steps since the last point of the curve.
        points: the curves.
        seconds: spent so far.
        parts: that the samples of a step pass in, more than the settings want once memory was short.
        ended: why the run ended early, empty while it goes on.
    """

    model_config = ConfigDict(ser_json_inf_nan="constants")

    before: Before
    ceiling: float
    best: float
    step: int = 0
    looked: int = 0
    best_step: int = 0
    losses: list[float] = []
    points: list[TrainingPoint] = []
    seconds: float = 0.0
    parts: int = 1
    ended: str = ""
