"""What a pruning aims at, and the masks on the way there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from secateur import capacity, threshold
from secateur.errors import BadInputError
from secateur.model import weighted, weights
from secateur.schedule import approach, cubic
from secateur.sensitivity import choose

if TYPE_CHECKING:
    from torch import nn

    from secateur.dataset import Dataset
    from secateur.project import Project
    from secateur.threshold import Masks

__all__ = ["Target", "find"]


@dataclass(frozen=True, kw_only=True)
class Target:
    """A quality or a density of each layer, or a budget for all of them.

    Parameters
    ----------
    key : {"quality", "density", "budget"}
    values : dict of str to float
        By parameter; of a budget all the same.
    starts : dict of str to float
        The same of the network that is given: quality 0, and densities of what is not zero.
    deviations : dict of str to float
        Standard deviations of the weights that are given, by parameter.
    groups : int
        Groups of rows that keep equally many weights; see :func:`secateur.threshold.by_density`.
    room : callable, optional
        Measures the budget anew by the weights that are there when the target is reached: which
        of them are left decides how many a device holds.
    """

    key: str
    values: dict[str, float]
    starts: dict[str, float]
    deviations: dict[str, float]
    groups: int = 1
    room: Callable[[nn.Sequential], float] | None = None

    def masks(self, module: nn.Sequential, part: float, *, smooth: bool = False) -> Masks:
        """Choose masks by the weights of ``module``, a part of the way to the target, 0 to 1.

        Raises
        ------
        BadInputError
            If a layer would have no weight left.
        """
        steps = {
            name: cubic(self.starts[name], value, part)
            if smooth
            else approach(self.key, self.starts[name], value, part)
            for name, value in self.values.items()
        }
        found = weights(module)
        if self.key == "quality":
            return threshold.by_quality(found, steps, self.deviations, groups=self.groups)
        if self.key == "density":
            return threshold.by_density(found, steps, groups=self.groups)
        budget = next(iter(steps.values()))
        if part == 1.0 and self.room is not None:
            budget = min(budget, self.room(module))
        return threshold.by_budget(found, budget, groups=self.groups)


def find(
    project: Project,
    module: nn.Sequential,
    dataset: Dataset | None,
    scan: Mapping[str, Any] | None = None,
) -> Target:
    """Make the target that a project gives for a plain module.

    Parameters
    ----------
    project : Project
    module : nn.Sequential
    dataset : Dataset, optional
        What the capacity of a device is measured with.
    scan : mapping, optional
        The sensitivity scan that the target ``loss`` goes by.

    Raises
    ------
    BadInputError
        If there is not one target for each layer, or no scan where one is needed.
    """
    key, value = project.prune.target
    names = [*weighted(module)]
    room: Callable[[nn.Sequential], float] | None = None
    if key == "loss":
        if scan is None:
            raise BadInputError(
                "prune.loss needs the layers' sensitivity.json; make it with "
                "`secateur sensitivity`, or name its folder with --from"
            )
        key, value = "density", choose(scan, value, names)
    elif key == "fit":
        room = partial(capacity.budget, project=project, dataset=dataset)
        key, value = "budget", room(module)
    found = weights(module)
    sizes = {name: weight.numel() for name, weight in found.items()}
    left = {name: int(weight.count_nonzero()) for name, weight in found.items()}
    if key == "quality":
        starts = dict.fromkeys(found, 0.0)
    elif key == "budget":
        starts = dict.fromkeys(found, sum(left.values()) / sum(sizes.values()))
    else:
        starts = {name: left[name] / sizes[name] for name in found}
    return Target(
        key=key,
        values=dict(zip(found, _each(key, value, names), strict=True)),
        starts=starts,
        deviations=threshold.deviations(found) if key == "quality" else {},
        groups=project.groups,
        room=room,
    )


def _each(key: str, value: Any, names: list[str]) -> list[float]:
    """Give one value for each layer."""
    if isinstance(value, Mapping):
        return [value[name] for name in names]
    if not isinstance(value, tuple):
        return [value] * len(names)
    if len(value) != len(names):
        raise BadInputError(
            f"prune.{key} must have one number for each of the model's {len(names)} layers, "
            f"not {len(value)}"
        )
    return [*value]
