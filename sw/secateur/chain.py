"""Whether the layers of a plain module fit each other."""

from __future__ import annotations

import torch
from torch import nn

from secateur import leaf
from secateur.errors import BadInputError

__all__ = ["SUPPORTED", "check", "shapes"]

#: The way out, for a model that is no such chain.
SUPPORTED = "use Linear, Conv2d, BatchNorm, ReLU, pooling, Flatten and Dropout, one after the other"
_PLANES = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)


def check(module: nn.Sequential) -> None:
    """Refuse a plain module that cannot be computed, as far as its layers tell.

    Raises
    ------
    BadInputError
        If no layer has weights, a layer cannot take what the one before gives, or a weight is NaN
        or infinite.
    """
    before, width, planes = "", None, None  # of the last layer with weights; None: not known yet
    flattened = False  # since then: each of its channels is several values
    for name, part in module.named_children():
        if isinstance(part, _PLANES):
            if planes is False:
                raise BadInputError(
                    f"{leaf.describe(name, part)} must come before every Flatten and Linear; "
                    f"move it there"
                )
            planes = True
        elif isinstance(part, nn.Flatten):
            flattened, planes = bool(planes), False
        elif isinstance(part, nn.Linear):
            if planes:
                raise BadInputError(
                    f"{leaf.describe(name, part)} must have a Flatten before it; add one"
                )
            planes = False
        if not isinstance(part, (nn.Linear, nn.Conv2d)):
            continue
        columns = part.in_features if isinstance(part, nn.Linear) else part.in_channels
        if width is not None and (columns % width if flattened else columns != width):
            rule = "a multiple of the" if flattened else "the"
            raise BadInputError(
                f"layer {name!r} must take {rule} {width} outputs of {before!r}, not {columns}"
            )
        before, width, flattened = name, len(part.weight), False
        for kind, tensor in part.named_parameters():
            # NaN is the least and the largest of what it is among; a large layer is not copied.
            if not all(map(torch.isfinite, tensor.detach().aminmax())):
                raise BadInputError(
                    f"layer {name!r}: {kind} holds NaN or infinity; train the model again"
                )
    if width is None:
        raise BadInputError(f"the model has no Linear or Conv2d layer; {SUPPORTED}")


def shapes(module: nn.Sequential, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Give the shape of each layer's output for one example of ``shape``, computing no values.

    Raises
    ------
    BadInputError
        If a layer cannot take what it gets.

    Examples
    --------
    >>> module = nn.Sequential(nn.Conv2d(1, 20, 5), nn.MaxPool2d(2), nn.Flatten())
    >>> shapes(module, (1, 28, 28))
    {'0': (20, 24, 24), '1': (20, 12, 12), '2': (2880,)}
    """
    found: dict[str, tuple[int, ...]] = {}
    x = torch.empty((1, *shape), device="meta")
    for name, part in module.named_children():
        kind = next(kind for kind in leaf.KINDS if isinstance(part, kind))
        dimensions = 2 if kind is nn.Linear else 4 if kind in _PLANES else x.ndim
        try:
            if x.ndim != dimensions:
                raise RuntimeError(f"it takes {dimensions - 1} dimensions, not {x.ndim - 1}")
            x = leaf.make(leaf.spec(name, part, kind))(x)
        except RuntimeError as error:
            reason = str(error).partition("\n")[0]
            size = " x ".join(map(str, shape))
            raise BadInputError(
                f"{leaf.describe(name, part)} cannot take what the layers before give for inputs "
                f"of {size} ({reason}); give the model inputs of the size that it was made for"
            ) from None
        found[name] = tuple(x.shape[1:])
    return found
