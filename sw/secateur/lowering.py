"""A float model as the layers that the integer network has."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch.nn.functional as F
from torch import nn

from secateur import chain, leaf
from secateur.convolution import Convolution, Pool
from secateur.errors import BadInputError
from secateur.trace import plain

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["FloatLayer", "float_layers"]

_POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)


@dataclass(frozen=True, kw_only=True, eq=False)
class FloatLayer:
    """A layer as the model computes it, masks applied.

    Parameters
    ----------
    name : str
        The layer's name in the model.
    weight : float32[rows, columns]
        Of a convolution, as :class:`secateur.layer.Layer` has it.
    bias : float32[rows], optional
    relu : bool
        Whether a ReLU follows, before pooling.
    convolution : Convolution, optional
        None for a fully connected layer.
    """

    name: str
    weight: Tensor
    bias: Tensor | None
    relu: bool
    convolution: Convolution | None = None

    @property
    def inputs(self) -> int:
        """Activations of the input."""
        return self.weight.shape[1] if self.convolution is None else self.convolution.inputs

    def activations(self, x: Tensor) -> Tensor:
        """Compute the layer short of its pooling, in float64.

        Parameters
        ----------
        x : float64[n, inputs]

        Returns
        -------
        float64[n, rows] or float64[n, rows, y, x]
        """
        weight = self.weight.double()
        bias = None if self.bias is None else self.bias.double()
        conv = self.convolution
        if conv is None:
            y = F.linear(x, weight, bias)
        else:
            planes = x.view(len(x), conv.channels, conv.height, conv.width)
            kernels = weight.view(len(weight), -1, *conv.kernel)
            y = F.conv2d(planes, kernels, bias, conv.stride, conv.padding, groups=conv.groups)
        return y.relu() if self.relu else y


def float_layers(module: nn.Module, shape: tuple[int, ...] = ()) -> list[FloatLayer]:
    """Read a module as the layers that it computes at inference.

    They share memory with ``module`` where they can; :func:`plain` says what is understood.
    Pooling and ReLU are what follows a convolution, in either order where that is the same.

    Parameters
    ----------
    module : nn.Module
    shape : tuple of int
        Channels, rows and columns of one input; for fully connected layers only, anything.

    Raises
    ------
    BadInputError
        If the module is not supported, cannot take inputs of that shape, or has a layer that the
        integer network has not.
    """
    chained = plain(module, copy=False)
    parts = dict(chained.named_children())
    flat = not any(isinstance(part, (nn.Conv2d, *_POOLS)) for part in parts.values())
    before = shape
    after = {} if flat else _shapes(chained, shape)
    layers: list[FloatLayer] = []
    for name, part in parts.items():
        if isinstance(part, (nn.Linear, nn.Conv2d)):
            conv = _convolution(name, part, before) if isinstance(part, nn.Conv2d) else None
            weight = part.weight.detach().flatten(1)
            bias = None if part.bias is None else part.bias.detach()
            layers.append(
                FloatLayer(name=name, weight=weight, bias=bias, relu=False, convolution=conv)
            )
        elif isinstance(part, (nn.ReLU, *_POOLS)):
            if not layers:
                kind = type(part).__name__
                raise BadInputError(
                    f"the model must begin with a Linear or Conv2d layer, not "
                    f"{'an' if kind[0] == 'A' else 'a'} {kind}; remove it"
                )
            follow = _activated if isinstance(part, nn.ReLU) else _pooled
            layers[-1] = follow(layers[-1], name, part, before)
        before = after.get(name, before)
    return layers


def _shapes(module: nn.Sequential, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    if len(shape) != 3:
        raise BadInputError(
            f"a model with Conv2d layers must be given inputs of channels, rows and columns, not "
            f"of {len(shape)} dimension{'s' * (len(shape) != 1)}; reshape the examples"
        )
    return chain.shapes(module, shape)


def _convolution(name: str, part: nn.Conv2d, shape: tuple[int, ...]) -> Convolution:
    """Describe a convolution of inputs of ``shape``."""
    spec = leaf.spec(name, part, nn.Conv2d).model_dump()
    channels, height, width = shape
    try:
        return Convolution(
            channels=channels,
            height=height,
            width=width,
            kernel=spec["kernel_size"],
            stride=spec["stride"],
            padding=spec["padding"],
            groups=spec["groups"],
        )
    except ValueError as error:
        raise BadInputError(f"layer {name!r}: {error}") from None


def _activated(layer: FloatLayer, name: str, part: nn.Module, shape: tuple[int, ...]) -> FloatLayer:
    """Let a ReLU follow; it and the largest of several values may be exchanged."""
    pool = None if layer.convolution is None else layer.convolution.pool
    if pool is not None and pool.kind == "average" and not layer.relu:
        raise BadInputError(
            f"{leaf.describe(name, part)} must come before the average-pooling after "
            f"{layer.name!r}; exchange them and train the model again"
        )
    return dataclasses.replace(layer, relu=True)


def _pooled(layer: FloatLayer, name: str, part: nn.Module, shape: tuple[int, ...]) -> FloatLayer:
    """Let pooling of planes of ``shape`` follow."""
    conv = layer.convolution
    assert conv is not None  # `chain.check` refuses planes after a fully connected layer
    where = leaf.describe(name, part)
    kind = "max" if isinstance(part, nn.MaxPool2d) else "average"
    size = _window(where, part, shape)
    if size == (1, 1):
        return layer
    if conv.pool is not None:
        if kind != "max" or conv.pool.kind != "max":
            raise BadInputError(
                f"{where} must not follow another pooling, unless both are of the largest value; "
                f"make them one"
            )
        # Windows of windows that do not overlap are windows.
        size = (size[0] * conv.pool.size[0], size[1] * conv.pool.size[1])
    try:
        pool = Pool(kind=kind, size=size)
    except ValueError as error:
        raise BadInputError(f"layer {name!r}: {error}") from None
    return dataclasses.replace(layer, convolution=dataclasses.replace(conv, pool=pool))


def _window(where: str, part: nn.Module, shape: tuple[int, ...]) -> tuple[int, int]:
    """Give the size of the windows of a pooling, which may not overlap."""
    if isinstance(part, nn.AdaptiveAvgPool2d):
        planes, out = shape[1:], cast("tuple[int, int]", part.output_size)
        if any(length % count for length, count in zip(planes, out, strict=True)):
            raise BadInputError(
                f"{where} must have an output_size that divides its planes of {planes[0]} x "
                f"{planes[1]}, not {out[0]} x {out[1]}; choose such a one"
            )
        return planes[0] // out[0], planes[1] // out[1]
    pool = cast("nn.MaxPool2d", part)
    size, stride, padding = (
        cast("tuple[int, int]", value) for value in (pool.kernel_size, pool.stride, pool.padding)
    )
    if stride != size or padding != (0, 0):
        raise BadInputError(
            f"{where} must have a stride equal to its kernel_size, {size}, and no padding, not "
            f"{stride} and {padding}; windows that overlap or reach beyond the planes are not "
            f"supported"
        )
    return size
