"""Exact removal of dead neurons and channels from a float model."""

from __future__ import annotations

import copy
from collections import OrderedDict
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from secateur import leaf
from secateur.model import weighted

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["dead_neurons", "shrink"]


def shrink(module: nn.Sequential) -> nn.Sequential:
    """Drop every hidden neuron or channel without an input or an output connection.

    A neuron without inputs gives a constant, its bias, which is taken through ReLU and pooling and
    folded into the biases of the next layer; a layer without biases gets some where it must (Han
    et al. 2015, section 3.5, counts on retraining instead). What no weight reads is dropped. Both
    are repeated until nothing changes: :func:`secateur.dead.remove_dead`, with channels.

    What stays although it has no inputs: a channel that gives another constant than zero where
    zeros are padded to it, by the next Conv2d or an AvgPool2d on the way, since the border then
    differs from the rest; the channels on both sides of a Conv2d with groups; and, where nothing
    reaches the outputs, one weight and its neurons of a layer that would lose all. Inputs and
    outputs of the model all stay.

    Parameters
    ----------
    module : nn.Sequential
        A plain module (:func:`secateur.trace.plain`), which is left as it is.

    Returns
    -------
    nn.Sequential
        A plain module that computes the same at inference, up to the rounding of the folded
        biases, and shares no memory with ``module``.

    Examples
    --------
    >>> module = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    >>> with torch.no_grad():
    ...     _ = module[0].weight.copy_(torch.tensor([[1.0, 2.0], [0.0, 0.0]]))
    ...     _ = module[0].bias.copy_(torch.tensor([0.0, 5.0]))
    ...     _ = module[2].weight.copy_(torch.tensor([[3.0, 4.0]]))
    ...     _ = module[2].bias.fill_(1.0)
    >>> shrink(module)
    Sequential(
      (0): Linear(in_features=2, out_features=1, bias=True)
      (1): ReLU()
      (2): Linear(in_features=1, out_features=1, bias=True)
    )
    >>> shrink(module)[2].bias.tolist()
    [21.0]
    """
    alive, biases = _alive(module)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    index = 0
    for name, part in module.named_children():
        if isinstance(part, (nn.Linear, nn.Conv2d)):
            layers[name] = _cut(name, part, alive[index], alive[index + 1], biases[index])
            index += 1
        else:
            layers[name] = copy.deepcopy(part)
    return nn.Sequential(layers)


def dead_neurons(module: nn.Sequential) -> dict[str, int]:
    """Count the neurons or channels of each layer that :func:`shrink` drops.

    Examples
    --------
    >>> module = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    >>> _ = nn.init.constant_(module[0].weight, 1.0)
    >>> with torch.no_grad():
    ...     _ = module[2].weight.copy_(torch.tensor([[0.0, 1.0, 0.0]]))
    >>> dead_neurons(module)
    {'0': 2, '2': 0}
    """
    alive, _ = _alive(module)
    return {
        name: int((~mask).sum()) for name, mask in zip(weighted(module), alive[1:], strict=True)
    }


def _alive(module: nn.Sequential) -> tuple[list[Tensor], list[Tensor | None]]:
    """Find the inputs and each layer's neurons that stay, bool, and the biases, still of all."""
    layers = [*weighted(module).values()]
    widths = [layers[0].weight.shape[1] * _groups(layers[0])]
    widths += [layer.weight.shape[0] for layer in layers]
    used = [_used(layer, width) for layer, width in zip(layers, widths, strict=False)]
    stays = [torch.zeros(width, dtype=torch.bool) for width in widths]
    stays[0][:] = stays[-1][:] = True
    for index, layer in enumerate(layers):
        if _groups(layer) > 1:
            stays[index][:] = stays[index + 1][:] = True

    pinned: set[int] = set()
    while True:
        alive, biases = _pass(layers, _paths(module), used, stays)
        empty = {
            index
            for index, matrix in enumerate(used)
            if not matrix[alive[index + 1]][:, alive[index]].any()
        }
        if empty <= pinned:
            return alive, biases
        for index in empty - pinned:
            row, column = divmod(int(used[index].flatten().int().argmax()), widths[index])
            stays[index][column] = stays[index + 1][row] = True
        pinned |= empty


def _pass(
    layers: Sequence[nn.Linear | nn.Conv2d],
    paths: Sequence[Sequence[nn.Module]],
    used: Sequence[Tensor],
    stays: Sequence[Tensor],
) -> tuple[list[Tensor], list[Tensor | None]]:
    """Find what is left, where at least ``stays`` does.

    One pass forward and one backward reach the fixed point: folding a constant takes no weight
    from a column that is read, and dropping an unread row takes none from a row that is left.
    """
    alive = [torch.ones_like(mask) for mask in stays]
    biases = [None if layer.bias is None else layer.bias.detach() for layer in layers]
    for index, (layer, after) in enumerate(pairwise(layers)):
        fed = used[index][:, alive[index]].any(dim=1) | stays[index + 1]
        bias = biases[index]
        constants = layer.weight.new_zeros(len(fed)) if bias is None else bias
        constants, uniform = _through(paths[index], constants.detach())
        if isinstance(after, nn.Conv2d) and _pads(after):
            uniform &= constants == 0
        alive[index + 1] = fed | ~uniform
        biases[index + 1] = _folded(
            after, biases[index + 1], torch.where(alive[index + 1], 0, constants)
        )
    for index in reversed(range(1, len(layers))):
        alive[index] &= used[index][alive[index + 1]].any(dim=0) | stays[index]
    return alive, biases


def _through(path: Sequence[nn.Module], constants: Tensor) -> tuple[Tensor, Tensor]:
    """Compute what layers without weights make of constants, and where it is one again."""
    uniform = torch.ones(len(constants), dtype=torch.bool)
    for part in path:
        if isinstance(part, nn.ReLU):
            constants = constants.relu()
        elif isinstance(part, nn.AvgPool2d) and part.count_include_pad and _pads(part):
            uniform &= constants == 0
    # A MaxPool2d pads with what is never the largest; Flatten and Dropout change nothing.
    return constants, uniform


def _pads(part: nn.Conv2d | nn.AvgPool2d) -> bool:
    """Tell whether a layer surrounds its input with zeros; one number stands for two."""
    return bool(torch.tensor(part.padding).any())


def _folded(layer: nn.Linear | nn.Conv2d, bias: Tensor | None, constants: Tensor) -> Tensor | None:
    """Add what a layer makes of constant inputs to its biases; those of all others are zero."""
    (columns,) = constants.nonzero(as_tuple=True)
    if not len(columns):
        return bias
    # Exact sums: float64 holds all products of two float32.
    weight = _by_input(layer.weight.detach(), len(constants))[:, columns].double().sum(dim=2)
    total = weight @ constants[columns].double()
    return (total if bias is None else bias.double() + total).to(layer.weight.dtype)


def _by_input(weight: Tensor, width: int) -> Tensor:
    """View a weight as [rows, inputs, values]: each input of a Linear may be a flattened plane."""
    return weight.reshape(len(weight), width, -1)


def _used(layer: nn.Linear | nn.Conv2d, width: int) -> Tensor:
    """Tell which inputs a row has a weight for: bool[rows, width]."""
    if _groups(layer) > 1:
        # Nothing around it is dropped.
        return torch.ones((len(layer.weight), width), dtype=torch.bool)
    return (_by_input(layer.weight.detach(), width) != 0).any(dim=2)


def _groups(layer: nn.Linear | nn.Conv2d) -> int:
    return layer.groups if isinstance(layer, nn.Conv2d) else 1


def _paths(module: nn.Sequential) -> list[list[nn.Module]]:
    """List what lies between each layer with weights and the next one."""
    paths: list[list[nn.Module]] = []
    for part in module:
        if isinstance(part, (nn.Linear, nn.Conv2d)):
            paths.append([])
        elif paths:
            paths[-1].append(part)
    return paths


def _cut(
    name: str, part: nn.Linear | nn.Conv2d, inputs: Tensor, rows: Tensor, bias: Tensor | None
) -> nn.Module:
    """Make a layer of those rows and inputs that are left."""
    weight = part.weight.detach()
    if _groups(part) == 1:
        weight = _by_input(weight, len(inputs))
        # Each of these copies, which of the largest layers is worth avoiding.
        weight = weight if rows.all() else weight[rows]
        weight = weight if inputs.all() else weight[:, inputs]
        weight = weight.reshape(len(weight), -1, *part.weight.shape[2:])
    if weight.data_ptr() == part.weight.data_ptr():
        weight = weight.clone()
    kind = nn.Linear if isinstance(part, nn.Linear) else nn.Conv2d
    sizes = (
        {"in_features": weight.shape[1], "out_features": weight.shape[0]}
        if kind is nn.Linear
        else {"in_channels": weight.shape[1] * _groups(part), "out_channels": weight.shape[0]}
    )
    spec = leaf.spec(name, part, kind).model_copy(update=sizes | {"bias": bias is not None})
    return leaf.make(spec, weight, None if bias is None else bias[rows])
