"""Masks that are held while a network learns: fixed ones, and ones that tighten step by step."""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from secateur.parallel import agree
from secateur.regularize import shrink_dropout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from torch import Tensor, nn

__all__ = ["Held", "Ramp", "cut"]

#: Steps between two choices of a smooth schedule, at most: a connection that may return needs that
#: many to show what it is worth. Of 50 to 400, 100 lost least of LeNet-300-100 at 56x.
INTERVAL = 100
#: Choices of a smooth schedule, about and at least, where there are fewer steps.
CHOICES = 50


@torch.no_grad()
def cut(module: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Make the parameters of a module zero where their masks are false, in place."""
    for name, mask in masks.items():
        parameter = module.get_parameter(name)
        # No product: what is masked may be NaN or infinite.
        parameter.masked_fill_(~mask.to(parameter.device), 0.0)


class Held:
    """Masks that stay as they are.

    Parameters
    ----------
    masks : mapping of str to bool tensor
        By parameter, of its shape: where false, the parameter is and stays zero, and so does its
        momentum.
    dropout : bool
        Whether dropout shrinks with the connections, as long as they are held.
    """

    def __init__(self, masks: Mapping[str, Tensor], *, dropout: bool = False) -> None:
        self.masks = dict(masks)
        self._dropout = dropout
        self._gates: list[tuple[nn.Parameter, Tensor]] = []

    @property
    def density(self) -> float:
        """Part of the weights that is left, 0 to 1."""
        left = sum(int(mask.count_nonzero()) for mask in self.masks.values())
        return left / sum(mask.numel() for mask in self.masks.values())

    @contextmanager
    def on(
        self, module: nn.Module, optimizer: torch.optim.Optimizer, *, steps: int, done: int
    ) -> Iterator[None]:
        """Hold the masks of ``module`` in a run of ``steps``, of which some are already done."""
        self._module, self._optimizer = module, optimizer
        self._given = {part: part.p for part in shrink_dropout(module, self._every(module))}
        try:
            self._begin(steps, done)
            yield
        finally:
            self._gates = []
            self._set_dropout(self._given)

    def due(self, step: int) -> bool:
        """Tell whether masks are chosen by the weights before a step, from 0."""
        return False

    def before_step(self, step: int) -> None:
        """Choose masks if that is due."""

    def after_backward(self) -> None:
        """Take the gradients away of what is masked."""
        for parameter, gate in self._gates:
            if parameter.grad is not None:
                parameter.grad.mul_(gate)

    def _begin(self, steps: int, done: int) -> None:
        self._cut()
        self._close()

    def _cut(self) -> None:
        """Make zero what is masked."""
        agree(self.masks, "masks")
        cut(self._module, self.masks)
        if self._dropout:
            self._set_dropout(self._given)
            self._set_dropout(shrink_dropout(self._module, self.masks))

    @torch.no_grad()
    def _close(self) -> None:
        """Keep it zero from now on: with a zero gradient momentum and weight decay are zero too."""
        self._gates = []
        for name, mask in self.masks.items():
            parameter = self._module.get_parameter(name)
            gate = torch.empty_like(parameter).copy_(mask)  # in the weights' own memory format
            self._gates.append((parameter, gate))
            for moment in self._optimizer.state.get(parameter, {}).values():
                if isinstance(moment, torch.Tensor) and moment.shape == gate.shape:
                    moment.mul_(gate)

    def _every(self, module: nn.Module) -> dict[str, Tensor]:
        return {name: value for name, value in module.named_parameters() if value.dim() > 1}

    def _set_dropout(self, probabilities: Mapping[nn.Dropout, float]) -> None:
        for part, probability in probabilities.items():
            part.p = probability


class Ramp(Held):
    """Masks that tighten while the network learns, and are then fixed.

    Parameters
    ----------
    choose : callable
        Given how far the schedule is, 0 to 1, chooses masks by the module's weights.
    ramp : float
        Part of the steps after which the masks are final, 0 to 1.
    regrow : bool
        Whether removed connections may return meanwhile: they are made zero at each choice, but
        learn in between, as all others do, and the next choice keeps those that have become large.
        They are the splicing of dynamic network surgery (Guo, Yao, Chen, NIPS 2016) without a
        second copy of the weights, whose gradients would be those of other weights.
    dropout : bool
        As in :class:`Held`.
    """

    def __init__(
        self,
        choose: Callable[[float], dict[str, Tensor]],
        *,
        ramp: float,
        regrow: bool,
        dropout: bool = False,
    ) -> None:
        super().__init__({}, dropout=dropout)
        self._choose = choose
        self._ramp = ramp
        self._regrow = regrow

    def _begin(self, steps: int, done: int) -> None:
        self._end = self._ramp * steps
        self._last = min(math.ceil(self._end), steps - 1)
        self._interval = min(INTERVAL, max(1, self._last // CHOICES))
        if self.masks:
            # Of a run that goes on. Between two choices what may return is not zero.
            if done > self._last or not self._regrow:
                super()._begin(steps, done)
            elif self._dropout:
                self._set_dropout(shrink_dropout(self._module, self.masks))

    def due(self, step: int) -> bool:
        return step == self._last or (step < self._last and step % self._interval == 0)

    def before_step(self, step: int) -> None:
        if not self.due(step):
            return
        self.masks = self._choose(1.0 if step == self._last else step / self._end)
        self._cut()
        if step == self._last or not self._regrow:
            self._close()
