"""BatchNorm, as it is at inference, made a part of the layer before it."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from torch import nn
from torch.nn.utils import fusion

from secateur import leaf
from secateur.errors import BadInputError

if TYPE_CHECKING:
    from collections import OrderedDict
    from collections.abc import Callable

    from torch import Tensor

__all__ = ["NORMS", "fold"]

#: What can be folded.
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def fold(name: str, norm: nn.Module, layers: OrderedDict[str, nn.Module]) -> None:
    """Fold a BatchNorm into the last of ``layers``, in place; a weight of zero stays zero.

    The arithmetic is float64, rounded once.

    Raises
    ------
    BadInputError
        If the last layer is none that it can be folded into, or it has no statistics.
    """
    norm = cast("nn.BatchNorm2d", norm)
    where = leaf.describe(name, norm)
    last = next(reversed(layers.values()), None)
    wanted = nn.Linear if isinstance(norm, nn.BatchNorm1d) else nn.Conv2d
    if not isinstance(last, wanted):
        raise BadInputError(
            f"{where} must follow a {wanted.__name__} at once, to be folded into it; move it there"
        )
    if len(last.weight) != norm.num_features:
        raise BadInputError(
            f"{where} must take the {len(last.weight)} outputs of {next(reversed(layers))!r}, "
            f"not {norm.num_features}"
        )
    if norm.running_mean is None or norm.running_var is None:
        raise BadInputError(
            f"{where} must have running statistics, to be folded; train it with "
            f"track_running_stats=True"
        )
    fuse = fusion.fuse_linear_bn_weights if wanted is nn.Linear else fusion.fuse_conv_bn_weights
    affine = cast("Callable[..., tuple[Tensor, Tensor]]", fuse)(
        *map(_double, (last.weight, last.bias, norm.running_mean, norm.running_var)),
        norm.eps,
        *(_double(leaf.used(norm, kind)) for kind in ("weight", "bias")),
    )
    last.weight, last.bias = (nn.Parameter(tensor.detach().float()) for tensor in affine)


def _double(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.detach().cpu().double()
