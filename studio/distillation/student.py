"""The model in training: one step of the optimizer, and everything that a checkpoint holds of it."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from studio.distillation.average import Average
from studio.distillation.devices import Arithmetic
from studio.distillation.features import FeatureLoss, tapped
from studio.distillation.lessons import Lesson, Lessons
from studio.distillation.losses import distillation_loss
from studio.distillation.memory import MEMORY_ERRORS, Footprint, bytes_of, footprint, is_out_of_memory
from studio.distillation.optimizer import STATE_TENSORS, make_optimizer
from studio.distillation.settings import DistillSettings
from studio.distillation.team import Team
from studio.errors import MemoryShortError
from studio.evaluation.predict import first_output


class Student:
    """A trainable graph with its optimizer.

    It stays in eval mode: what is trained is exactly what is exported, with norms and dropouts as in inference.

    Attributes:
        graph: what is trained.
        shown: what is measured and kept: `graph` itself, or the average of its weights.
        parts: how many parts a step's samples pass in; more than the settings want where memory is limited or short.
    """

    def __init__(
        self,
        graph: fx.GraphModule,
        features: FeatureLoss,
        settings: DistillSettings,
        arithmetic: Arithmetic,
        team: Team | None = None,
    ) -> None:
        self._team = team or Team()
        self._arithmetic, self._device = arithmetic, arithmetic.device
        self.graph = arithmetic.prepared(graph).eval()
        self._features = features.to(self._device)
        self._settings = settings
        self._average = Average(self.graph, settings.average) if settings.average else None
        self.shown = self._average.graph if self._average else self.graph
        trained = [*graph.parameters(), *features.parameters()]
        self._parameters = [parameter for parameter in trained if parameter.requires_grad]
        self._optimizer = make_optimizer(self._parameters, settings)
        self._step = 0
        self.parts = settings.accumulate

    def footprint(self, few: Callable[[int], Lesson]) -> Footprint:
        """The memory that training takes, without that of the teacher.

        Args:
            few: gives up to so many samples.
        """
        trained = bytes_of(self._parameters)
        held = bytes_of(self._values()) + bytes_of(self.shown.state_dict().values())  # what trains, and the best so far
        averaged = bytes_of(self.shown.state_dict().values()) if self._average is not None else 0
        states = STATE_TENSORS[self._settings.optimizer] * trained
        return footprint(held + averaged + trained + states, lambda count: self._loss(few(count)), len(few(4)))

    @torch.no_grad()
    def first_losses(self, lesson: Lesson) -> tuple[float, float]:
        """The loss of a lesson now, and that of a student that answers everything with zeros.

        Raises:
            MemoryShortError: not even one sample at a time fits in memory.
        """
        ignorant = self._told(torch.zeros_like(lesson.outputs, device=self._device), lesson).item()
        missing = self._settings.feature_weight if self._features.pairs else 0.0
        loss = self._in_parts(lesson, lambda part, share: self._loss(part).item() * share, len(lesson))
        return loss, ignorant + missing

    def step(self, lesson: Lesson, rate: float) -> float:
        """One step of the optimizer at learning rate `rate`.

        Returns:
            The loss before the step; when it or its gradient is not finite, NaN, and nothing has been changed.

        Raises:
            MemoryShortError: not even one sample at a time fits in memory.
        """
        self._team.hand_out(self._step, self._values())
        total = self._team.add_up(self._learn_all(lesson), self._parameters)
        norm = self._clip()
        if not (math.isfinite(total) and norm.isfinite()):
            return math.nan
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.step()
        self._step += 1
        if self._average is not None:
            self._average.follow(self.graph, self._step)
        return total

    def assist(self, lessons: Lessons) -> None:
        """Helps another process with its steps until there are no more.

        Raises:
            TrainingError: that process has ended.
            MemoryShortError: not even one sample at a time fits in memory.
        """
        while (step := self._team.hand_out(0, self._values())) >= 0:
            self._optimizer.zero_grad()
            loss = 0.0 if lessons.is_idle(step) else self._learn_all(lessons.at(step))
            self._team.add_up(loss, self._parameters)

    def dismiss(self) -> None:
        """Tells those who help that there are no more steps."""
        self._team.dismiss(self._values()[0])

    def _values(self) -> list[Tensor]:
        """All that a step's gradient depends on."""
        return [tensor for one in (self.graph, self._features) for tensor in one.state_dict().values()]

    def snapshot(self) -> dict[str, Tensor]:
        """A copy of everything that `shown` holds, for `restored`."""
        return {name: tensor.detach().clone() for name, tensor in self.shown.state_dict().items()}

    def restored(self, snapshot: Mapping[str, Tensor]) -> fx.GraphModule:
        """`shown` with the values of `snapshot`."""
        self.shown.load_state_dict(snapshot)
        return self.shown

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Everything that another student needs to go on from here, by ``group/name``."""
        for group, module in self._modules().items():
            yield from ((f"{group}/{name}", tensor) for name, tensor in module.state_dict().items())
        remembered: Mapping[int, Mapping[str, Any]] = self._optimizer.state_dict()["state"]
        for number, values in remembered.items():
            yield from ((f"optimizer/{number}/{name}", t) for name, t in values.items() if isinstance(t, Tensor))

    def go_on(self, tensors: Mapping[str, Tensor], step: int) -> None:
        """Takes over the `tensors` of another student after `step` steps."""
        for group, module in self._modules().items():
            module.load_state_dict(_group(tensors, group))
        state = dict[int, dict[str, Tensor]]()
        for key, value in _group(tensors, "optimizer").items():
            number, _, name = key.partition("/")
            state.setdefault(int(number), {})[name] = value
        self._optimizer.load_state_dict({**self._optimizer.state_dict(), "state": state})
        self._step = step

    def _modules(self) -> dict[str, nn.Module]:
        averaged = {"average": self._average.graph} if self._average is not None else {}
        return {"student": self.graph, "adapters": self._features, **averaged}

    def _learn_all(self, lesson: Lesson) -> float:
        """The gradient of a lesson and its loss.

        Raises:
            MemoryShortError: not even one sample at a time fits.
        """
        return self._in_parts(lesson, self._learn, lesson.of or len(lesson))

    def _in_parts(self, lesson: Lesson, learn: Callable[[Lesson, float], float], whole: int) -> float:
        """The sum of what `learn` gives for the parts of a lesson, in twice as many whenever memory is short.

        Args:
            lesson: all of this process's samples.
            learn: gets a part and its share of the samples.
            whole: number of the samples that shares are of.

        Raises:
            MemoryShortError: not even one sample at a time fits.
        """
        while True:
            self._optimizer.zero_grad()
            try:
                return sum(learn(part, len(part) / whole) for part in lesson.parts(self.parts))
            except MEMORY_ERRORS as error:
                if not is_out_of_memory(error):
                    raise
                if self.parts >= len(lesson):
                    raise MemoryShortError(
                        f"Memory on '{self._device.type}' is short even for one sample at a time: try another device."
                    ) from error
            self.parts = min(2 * self.parts, len(lesson))  # outside of the handler, which would hold on to the memory
            if self._device.type != "cpu":
                torch.accelerator.empty_cache()

    def _learn(self, lesson: Lesson, share: float) -> float:
        """Adds the gradient of a part of a step, which makes up `share` of it; gives its part of the loss."""
        loss = self._loss(lesson) * share
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item()

    def _clip(self) -> Tensor:
        """Limits the gradients; gives their norm before its own limit."""
        if self._settings.clip_value is not None:
            nn.utils.clip_grad_value_(self._parameters, self._settings.clip_value)
        return nn.utils.clip_grad_norm_(self._parameters, self._settings.clip_norm or math.inf)

    def _loss(self, lesson: Lesson) -> Tensor:
        taps = [pair.student for pair in self._features.pairs]
        with tapped(self.graph, taps) as features, self._arithmetic.context():
            output = first_output(self.graph(*self._arithmetic.placed(lesson.inputs)))
        loss = self._told(output.float(), lesson)
        if self._features.pairs and self._settings.feature_weight:
            loss = loss + self._settings.feature_weight * self._features(features, lesson.features)
        return loss

    def _told(self, output: Tensor, lesson: Lesson) -> Tensor:
        """How far an output is from what teacher and labels say."""
        return distillation_loss(
            output,
            lesson.outputs.to(self._device),
            None if lesson.labels is None else lesson.labels.to(self._device),
            beta=self._settings.beta,
            temperature=self._settings.temperature,
            logit_weight=self._settings.logit_weight,
        )


def _group(tensors: Mapping[str, Tensor], group: str) -> dict[str, Tensor]:
    start = f"{group}/"
    return {key.removeprefix(start): value for key, value in tensors.items() if key.startswith(start)}
