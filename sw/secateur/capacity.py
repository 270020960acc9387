"""How many weights a device has room for, engine and all, found before anything is pruned."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from math import isqrt
from typing import TYPE_CHECKING, Protocol

import numpy as np
from torch import nn

from secateur.dead import remove_dead
from secateur.encode import fit
from secateur.errors import BadInputError, CheckFailedError
from secateur.lowering import float_layers
from secateur.masking import cut
from secateur.model import weights
from secateur.quantize import quantize
from secateur.threshold import Masks, by_budget
from secateur.trace import plain

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from secateur.dataset import Dataset
    from secateur.engine import EngineSpec
    from secateur.network import Layer, Network
    from secateur.project import Project

__all__ = ["Lacking", "budget", "check", "find_lacking"]

#: The entry point by which whoever knows the devices says what one lacks.
GROUP = "secateur.capacity"

#: The search ends when it is this near to the answer, 1 / PRECISION of it, and stays as much below:
#: retraining moves nothing, but rounding to zero moves rows from one PE to another.
PRECISION = 256


class Lacking(Protocol):
    """Says what an engine needs of a device beyond what it has."""

    def __call__(self, spec: EngineSpec, device: str, *, words: int) -> list[str]:
        """Give a phrase for each resource that is short, such as "71 block RAMs of 56".

        Parameters
        ----------
        spec : EngineSpec
        device : str
        words : int
            Words of the longer of input and output, of ``spec.lanes`` activations each.

        Raises
        ------
        BadInputError
            If the device is unknown.
        """
        ...


def find_lacking() -> Lacking:
    """Load what the entry point names.

    Raises
    ------
    BadInputError
        If nothing that is installed describes devices.
    """
    points = entry_points(group=GROUP)
    if not points:
        raise BadInputError(
            "prune.fit needs a description of the devices, and none is installed; "
            "install secateur again"
        )
    return next(iter(points)).load()


def budget(module: nn.Module, project: Project, dataset: Dataset | None) -> float:
    """Find the largest budget whose engine the device of ``project.prune.fit`` holds.

    For each number of weights that it tries, it ranks the weights of ``module``
    (:func:`secateur.threshold.by_budget`), quantises what is left as ``project.quantize`` says,
    and takes the smallest engine that holds it (:func:`secateur.encode.fit`) with the fields that
    ``project.engine`` gives. Every weight that is left counts, though rounding may make it zero, so
    that a network retrained with these masks fits too. No more than a few seconds are needed for a
    few hundred thousand weights.

    Parameters
    ----------
    module : nn.Module
        Any supported module of fully connected layers; it is left as it is.
    project : Project
    dataset : Dataset, optional
        Whose training split calibrates.

    Returns
    -------
    float
        Part of the weights to keep, for :func:`secateur.threshold.by_budget`, less 0.4 % to 0.8 %
        of itself, or as much more as it takes. At most the part of ``module``'s weights that is not
        zero, which is also what is returned if the device holds all of these.

    Raises
    ------
    BadInputError
        If the device holds no engine even with one weight a layer, or is unknown; if there are no
        examples, or the engine does not support a layer.
    """
    room = _Room.of(module, project, dataset)
    found = weights(room.module)
    sizes = [weight.numel() for weight in found.values()]
    left = sum(int(weight.count_nonzero()) for weight in found.values())

    def lacks(count: int) -> str | None:
        return room.lacks(by_budget(found, count / sum(sizes), groups=project.groups))

    if lacks(left) is None:
        return left / sum(sizes)
    low, high = len(sizes), left
    if short := lacks(low):
        raise BadInputError(
            f"no pruning makes the model fit device {room.device!r}: with one weight a layer "
            f"{short}"
        )
    while high - low > max(1, low // PRECISION):
        # Half way by factors: the answer is a small part, but which is unknown.
        middle = min(max(isqrt(low * high), low + 1), high - 1)
        if lacks(middle) is None:
            low = middle
        else:
            high = middle
    # With fewer weights another width of the entries may be chosen, which need not fit.
    kept = max(len(sizes), low - low // PRECISION)
    while kept > len(sizes) and lacks(kept) is not None:
        kept -= max(1, kept // PRECISION)
    return kept / sum(sizes)


def check(module: nn.Module, project: Project, dataset: Dataset | None) -> None:
    """Check that a pruned module fits the device of ``project.prune.fit``.

    Parameters
    ----------
    module, project, dataset
        As in :func:`budget`.

    Raises
    ------
    BadInputError
        As in :func:`budget`.
    CheckFailedError
        If it does not fit.
    """
    room = _Room.of(module, project, dataset)
    short = room.lacks({name: weight != 0 for name, weight in weights(room.module).items()})
    if short is not None:
        raise CheckFailedError(f"the pruned model does not fit device {room.device!r}: {short}")


@dataclass(frozen=True, kw_only=True, eq=False)
class _Room:
    """A model and the device that is to hold it."""

    module: nn.Sequential
    project: Project
    x: NDArray[np.float32]
    device: str
    lacking: Lacking

    @classmethod
    def of(cls, module: nn.Module, project: Project, dataset: Dataset | None) -> _Room:
        if project.prune.fit is None:
            raise ValueError("there is no device to fit")
        if dataset is None:
            raise BadInputError(
                "prune.fit needs examples to choose the integers' scales with; "
                "name a set of examples or give prune.budget instead"
            )
        for layer in float_layers(module, dataset.shape):
            if layer.convolution is not None:
                raise BadInputError(
                    f"layer {layer.name!r} is a convolution, and what fits a device is known of "
                    f"fully connected layers only; give prune.budget instead"
                )
        return cls(
            module=plain(module).cpu(),
            project=project,
            x=dataset.train.x,
            device=project.prune.fit,
            lacking=find_lacking(),
        )

    def lacks(self, masks: Masks) -> str | None:
        """Say what keeps the device from holding what ``masks`` leave, and a way out."""
        bits = self.project.quantize.codebook_bits
        fields = {"codebook_bits": bits} if bits else {}
        try:
            network = self._network(masks)
            spec = fit(network, **(fields | self.project.engine.fit_arguments()))
        except BadInputError as error:  # no engine with the given fields holds it
            return str(error)
        inputs = remove_dead(network).network.inputs
        words = -(-max(inputs, network.outputs) // spec.lanes)
        short = self.lacking(spec, self.device, words=words)
        if not short:
            return None
        return (
            f"the engine needs {' and '.join(short)}; reduce engine.pes or the depths that are "
            f"given, or take a larger device"
        )

    def _network(self, masks: Masks) -> Network:
        """Quantise what ``masks`` leave, and keep even what rounding makes zero."""
        pruned = plain(self.module)
        cut(pruned, masks)
        network = quantize(pruned, self.x, self.project.quantize, self.project.name)
        layers = tuple(
            _keep(layer, masks[f"{layer.name}.weight"].numpy()) for layer in network.layers
        )
        return replace(network, layers=layers)


def _keep(layer: Layer, mask: NDArray[np.bool]) -> Layer:
    """Give the weights that are zero under a mask the least value that they can have."""
    values = np.array([1]) if layer.codebook is None else layer.codebook[layer.codebook != 0]
    least = values[np.abs(values).argmin()]
    return replace(layer, weights=np.where(mask & (layer.weights == 0), least, layer.weights))
