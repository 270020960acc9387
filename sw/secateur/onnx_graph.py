"""The operators of an ONNX graph as layers of a plain module, one after the other."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from onnx import AttributeProto, helper
from pydantic import ValidationError
from torch import nn

from secateur import leaf
from secateur.convolution import MOST_ACTIVATIONS
from secateur.errors import BadInputError
from secateur.onnx_file import array
from secateur.trace import plain

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import onnx
    from numpy.typing import NDArray

__all__ = ["Graph", "modules"]

#: Attributes of windows that must be as torch has them, if they are given.
_PLAIN = {"dilations": (1,), "ceil_mode": (0,), "storage_order": (0,)}
_WINDOW = ("kernel_shape", "strides", "pads", "auto_pad", *_PLAIN)
_INT, _INTS, _FLOAT = AttributeProto.INT, AttributeProto.INTS, AttributeProto.FLOAT
#: The type of each attribute that is known.
_TYPES = {
    **dict.fromkeys(("kernel_shape", "strides", "pads", "dilations", "perm"), _INTS),
    **dict.fromkeys(("ceil_mode", "storage_order", "count_include_pad", "group"), _INT),
    **dict.fromkeys(("training_mode", "spatial", "seed", "axis", "allowzero"), _INT),
    **dict.fromkeys(("transA", "transB"), _INT),
    **dict.fromkeys(("epsilon", "momentum", "ratio", "alpha", "beta"), _FLOAT),
    "auto_pad": AttributeProto.STRING,
    "value": AttributeProto.TENSOR,
}


@dataclass(kw_only=True, eq=False)
class _Part:
    """A layer that is being read: what makes it, and its parameters, which may still change."""

    spec: leaf.Spec
    weight: NDArray[np.float64] | None = None
    bias: NDArray[np.float64] | None = None


def modules(model: onnx.ModelProto, path: Path) -> tuple[nn.Sequential, tuple[int, ...]]:
    """Read a model as a plain module.

    Parameters
    ----------
    model : ModelProto
    path : Path
        Its file, whose folder holds what it keeps in other files.

    Returns
    -------
    module : nn.Sequential
        As :func:`secateur.trace.plain` gives it.
    shape : tuple of int
        Of one input.

    Raises
    ------
    BadInputError
        If an operator is not supported, is no link of a chain, or does not fit the others.
    """
    try:
        graph = Graph(model.graph, path)
        for node in model.graph.node:
            graph.read(node)
        return graph.finish(), graph.shape
    except BadInputError as error:
        said = str(error)
        raise BadInputError(said if said.startswith(str(path)) else f"{path}: {said}") from None


class Graph:
    """A graph as far as it was read.

    Parameters
    ----------
    graph : GraphProto
    path : Path
    """

    def __init__(self, graph: onnx.GraphProto, path: Path) -> None:
        self.constants = {tensor.name: array(tensor, path) for tensor in graph.initializer}
        self.path = path
        inputs = [value for value in graph.input if value.name not in self.constants]
        if len(inputs) != 1 or len(graph.output) != 1:
            raise BadInputError(
                f"the model must have one input and one output, not {len(inputs)} and "
                f"{len(graph.output)}"
            )
        dimensions = inputs[0].type.tensor_type.shape.dim
        self.shape = tuple(dimension.dim_value for dimension in dimensions)[1:]
        if (
            len(self.shape) not in (1, 3)
            or not 0 < math.prod(self.shape) <= MOST_ACTIVATIONS
            or (min(self.shape) < 1)
        ):
            sizes = " x ".join(map(str, self.shape)) or "nothing"
            raise BadInputError(
                f"the input {inputs[0].name!r} must be a batch of features, or of channels, rows "
                f"and columns, of known sizes and at most {MOST_ACTIVATIONS} numbers, not of "
                f"{sizes}"
            )
        self.value, self.output = inputs[0].name, graph.output[0].name
        self.parts: OrderedDict[str, _Part] = OrderedDict()
        self.flowing = torch.empty((1, *self.shape), device="meta")
        #: What the values are to be multiplied by, which the next layer with weights takes in.
        self.scale = 1.0
        #: The last part, while nothing but a product and a sum was computed after it.
        self.open: _Part | None = None

    def read(self, node: onnx.NodeProto) -> None:
        """Read one operator."""
        texts = (node.name, node.op_type, node.domain, *node.input, *node.output)
        if not all(isinstance(text, str) for text in texts):  # protobuf gives bytes instead
            raise BadInputError("the name of an operator is not UTF-8 text; export the model again")
        where = _where(node)
        given = [name for name in node.input if name]
        if not node.output:
            raise BadInputError(f"{where} must give a result")
        if node.domain not in ("", "ai.onnx") or node.op_type not in _OPERATORS:
            raise BadInputError(f"{where} is not supported; use {', '.join(sorted(_OPERATORS))}")
        operator, allowed = _OPERATORS[node.op_type]
        attributes = _attributes(node, allowed, self.path)
        if all(name in self.constants for name in given):
            self.constants[node.output[0]] = _folded(node, attributes, self._arrays(given))
            return
        flowing = [name for name in given if name not in self.constants]
        if flowing != [self.value]:
            raise BadInputError(
                f"{where} must take the result of the operator before and constants, since the "
                f"model must be a chain, not {', '.join(map(repr, flowing))}"
            )
        # The data comes first but in a sum or a product of two.
        if given[0] != self.value and node.op_type not in ("Add", "Mul"):
            raise BadInputError(f"{where} must take the result of the operator before first")
        operator(self, node, attributes, self._arrays(name for name in given if name != self.value))
        self.value = node.output[0]

    def _arrays(self, names: Any) -> list[NDArray]:
        arrays = []
        for name in names:
            arrays.append(self.constants[name])
            if arrays[-1].dtype.kind in "fV" and not np.isfinite(arrays[-1]).all():
                raise BadInputError(
                    f"constant {name!r} must hold finite numbers; export the model again"
                )
        return arrays

    def finish(self) -> nn.Sequential:
        """Make the module.

        Raises
        ------
        BadInputError
            If it is not what the model gives, or its layers do not fit each other.
        """
        if self.value != self.output:
            raise BadInputError(
                f"the output {self.output!r} must be the result of the last operator, not "
                f"{self.value!r}, since the model must be a chain"
            )
        if self.scale != 1.0:
            raise BadInputError("the last product must come before a layer with weights; remove it")
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for name, part in self.parts.items():
            given = [tensor for tensor in (part.weight, part.bias) if tensor is not None]
            # What becomes infinite is refused with its layer's name.
            with np.errstate(over="ignore"):
                tensors = [torch.from_numpy(np.array(tensor, np.float32)) for tensor in given]
            spec = part.spec
            if part.weight is not None:
                spec = spec.model_copy(update={"bias": part.bias is not None})
            layers[name] = leaf.make(spec, *tensors)
        return plain(nn.Sequential(layers), copy=False)

    def add(
        self,
        node: onnx.NodeProto,
        kind: type[nn.Module],
        weight: NDArray | None = None,
        bias: NDArray | None = None,
        **arguments: Any,
    ) -> None:
        """Let a layer follow."""
        where = _where(node)
        if weight is not None:
            weight = np.asarray(weight, dtype=np.float64) * self.scale
            self.scale = 1.0
            arguments["bias"] = bias is not None
        try:
            spec = leaf.SPECS[kind](kind=kind.__name__, **arguments)
            self.flowing = leaf.make(spec)(self.flowing)
        except ValidationError as error:
            argument = error.errors()[0]["loc"][0]
            raise BadInputError(
                f"{where} must not have {argument} {arguments[str(argument)]}"
            ) from None
        except (BadInputError, RuntimeError) as error:
            reason = str(error).partition("\n")[0]
            raise BadInputError(f"{where} does not fit its input or itself ({reason})") from None
        if self.flowing.numel() > MOST_ACTIVATIONS:
            raise BadInputError(f"{where} must give at most {MOST_ACTIVATIONS} numbers")
        base = key = (node.name or node.output[0]).replace(".", "/") or "layer"
        count = 1
        while key in self.parts or hasattr(nn.Sequential(), key):
            count += 1
            key = f"{base}/{count}"
        part = _Part(spec=spec, weight=weight, bias=bias)
        self.parts[key] = part
        self.open = part if weight is not None else None

    def affine(self, node: onnx.NodeProto, scale: NDArray, shift: NDArray) -> None:
        """Let a product and a sum follow, one of each for all or for each channel."""
        where = _where(node)
        scale, shift = (_by_channel(where, values, self.flowing.shape) for values in (scale, shift))
        if self.open is None or self.open.weight is None:
            if shift.any() or scale.size > 1:
                raise BadInputError(
                    f"{where} must follow a Conv, MatMul or Gemm at once, to become a part of it, "
                    f"or be a product by one number"
                )
            self.scale *= float(scale.item())
            return
        weight = self.open.weight
        rows = np.broadcast_to(scale, len(weight)).reshape(-1, *[1] * (weight.ndim - 1))
        bias = np.zeros(len(weight)) if self.open.bias is None else self.open.bias
        self.open.weight = weight * rows
        self.open.bias = bias * scale + shift


def _where(node: onnx.NodeProto) -> str:
    name = node.name or (node.output[0] if node.output else "")
    return f"layer {name!r}, {'an' if node.op_type[:1] in 'AEIOU' else 'a'} {node.op_type},"


def _attributes(node: onnx.NodeProto, allowed: tuple[str, ...], path: Path) -> dict[str, Any]:
    """Give a node's attributes, of the types that they have to have."""
    found: dict[str, Any] = {}
    for entry in node.attribute:
        if entry.name not in allowed or entry.type != _TYPES[entry.name]:
            raise BadInputError(
                f"{_where(node)} must not have the attribute {entry.name!r}, or not of that type"
            )
        tensor = entry.type == AttributeProto.TENSOR
        found[entry.name] = array(entry.t, path) if tensor else helper.get_attribute_value(entry)
    return found


def _by_channel(where: str, values: NDArray, shape: torch.Size) -> NDArray[np.float64]:
    """Give the numbers for each channel, or the one for all, as float64[channels or 1]."""
    if values.size == 1:
        return values.astype(np.float64).reshape(1)
    wide = (1,) * (len(shape) - values.ndim) + values.shape
    if len(wide) != len(shape) or wide != (1, shape[1], *[1] * (len(shape) - 2)):
        raise BadInputError(
            f"{where} must have one number for all or one for each of the {shape[1]} channels, "
            f"not {' x '.join(map(str, values.shape))}"
        )
    return values.astype(np.float64).ravel()


def _folded(node: onnx.NodeProto, attributes: dict[str, Any], values: list[NDArray]) -> NDArray:
    """Compute an operator of constants."""
    try:
        match node.op_type:
            case "Constant":
                return np.asarray(attributes["value"])
            case "Identity":
                return values[0]
            case "Reshape":
                return values[0].reshape([
                    values[0].shape[at] if size == 0 else size
                    for at, size in enumerate(values[1].tolist())
                ])
            case "Transpose":
                return values[0].transpose(attributes.get("perm"))
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise BadInputError(f"{_where(node)} is damaged ({error}); export it again") from None
    raise BadInputError(f"{_where(node)} must not be of constants only")


def _weight(node: onnx.NodeProto, values: list[NDArray], dimensions: int) -> NDArray:
    if not values or values[0].ndim != dimensions or not values[0].size:
        raise BadInputError(f"{_where(node)} must have constant weights of {dimensions} dimensions")
    return values[0]


def _pads(
    graph: Graph, node: onnx.NodeProto, given: dict[str, Any], kernel: list[int]
) -> tuple[list[int], list[int], list[int]]:
    """Give the steps, and the padding before and after, each for rows and columns."""
    where = _where(node)
    for name, allowed in _PLAIN.items():
        wrong = np.setdiff1d(np.atleast_1d(given.get(name, allowed)), allowed)
        if wrong.size:
            raise BadInputError(f"{where} must have {name} {allowed[0]}, not {wrong[0]}")
    strides = list(given.get("strides", (1, 1)))
    pads = list(given.get("pads", (0, 0, 0, 0)))
    kind = bytes(given.get("auto_pad", b"NOTSET")).decode(errors="replace")
    if graph.flowing.ndim != 4 or len(kernel) != 2 or len(strides) != 2 or len(pads) != 4:
        raise BadInputError(f"{where} must be of rows and columns")
    if min(*strides, *kernel) < 1 or min(pads) < 0:
        raise BadInputError(f"{where} must have sizes and steps of at least 1 and no negative pads")
    if any(pad >= size for pad, size in zip(pads, kernel * 2, strict=True)):
        raise BadInputError(
            f"{where} must have pads that are smaller than its kernel's {kernel}, not {pads}"
        )
    if kind in ("SAME_UPPER", "SAME_LOWER"):
        planes = graph.flowing.shape[2:]
        sizes = zip(planes, kernel, strides, strict=True)
        total = [max((-(-n // step) - 1) * step + size - n, 0) for n, size, step in sizes]
        less, more = [n // 2 for n in total], [n - n // 2 for n in total]
        return (strides, less, more) if kind == "SAME_UPPER" else (strides, more, less)
    if kind not in ("NOTSET", "VALID", ""):
        raise BadInputError(f"{where} must not have the auto_pad {kind!r}")
    return (strides, [0, 0], [0, 0]) if kind == "VALID" else (strides, pads[:2], pads[2:])


def _conv(graph: Graph, node: onnx.NodeProto, given: dict, values: list[NDArray]) -> None:
    weight = _weight(node, values, 4)
    kernel = list(weight.shape[2:])
    if list(given.get("kernel_shape", kernel)) != kernel:
        raise BadInputError(f"{_where(node)} must have the kernel_shape of its weights")
    strides, before, after = _pads(graph, node, given, kernel)
    padding = [max(pair) for pair in zip(before, after, strict=True)]
    # Zeros on one side only are those of a larger kernel whose additional weights are zero.
    sides = zip(padding, before, after, strict=True)
    weight = np.pad(weight, ((0, 0), (0, 0), *((n - a, n - b) for n, a, b in sides)))
    groups = int(given.get("group", 1))
    bias = None
    if len(values) > 1:
        bias = values[1].astype(np.float64)
        if bias.shape != (len(weight),):
            raise BadInputError(f"{_where(node)} must have a bias for each output")
    graph.add(
        node,
        nn.Conv2d,
        weight,
        bias,
        in_channels=weight.shape[1] * groups,
        out_channels=len(weight),
        kernel_size=weight.shape[2:],
        stride=tuple(strides),
        padding=tuple(padding),
        groups=groups,
    )


def _pool(graph: Graph, node: onnx.NodeProto, given: dict, values: list[NDArray]) -> None:
    kernel = list(given.get("kernel_shape", ()))
    strides, before, after = _pads(graph, node, given, kernel)
    if graph.scale < 0 and node.op_type == "MaxPool":
        raise BadInputError(f"{_where(node)} must not follow a product by a negative number")
    if before != after:
        raise BadInputError(
            f"{_where(node)} must have the same padding on both sides, not {before} and {after}"
        )
    sizes: dict[str, Any] = {
        "kernel_size": tuple(kernel),
        "stride": tuple(strides),
        "padding": tuple(before),
    }
    if node.op_type == "MaxPool":
        graph.add(node, nn.MaxPool2d, **sizes)
    else:
        counted = bool(given.get("count_include_pad", 0))
        graph.add(node, nn.AvgPool2d, **sizes, count_include_pad=counted)


def _global_pool(graph: Graph, node: onnx.NodeProto, given: dict, values: list[NDArray]) -> None:
    graph.add(node, nn.AdaptiveAvgPool2d, output_size=(1, 1))


def _relu(graph: Graph, node: onnx.NodeProto, given: dict, values: list[NDArray]) -> None:
    if graph.scale < 0:
        raise BadInputError(f"{_where(node)} must not follow a product by a negative number")
    graph.add(node, nn.ReLU)


def _linear(graph: Graph, node: onnx.NodeProto, given: dict, values: list[NDArray]) -> None:
    weight = _weight(node, values, 2)
    if graph.flowing.ndim != 2:
        raise BadInputError(f"{_where(node)} must have a Flatten before it")
    if given.get("transA", 0):
        raise BadInputError(f"{_where(node)} must have transA 0, not 1")
    weight = weight if given.get("transB", 0) else weight.T
    weight = weight.astype(np.float64) * given.get("alpha", 1.0)
    graph.add(node, nn.Linear, weight, in_features=weight.shape[1], out_features=len(weight))
    if len(values) > 1:
        graph.affine(node, np.ones(1), values[1] * np.float64(given.get("beta", 1.0)))


def _flat(graph: Graph, node: onnx.NodeProto, given: dict, values: list[NDArray]) -> None:
    """Read a Flatten, or a Reshape that is one."""
    count = graph.flowing.numel()
    if node.op_type == "Flatten":
        fits = given.get("axis", 1) in (1, 1 - graph.flowing.ndim)
    else:
        sizes = values[0].ravel().tolist() if values else []
        fits = len(sizes) == 2 and sizes[1] in (count, -1) and sizes[0] in (-1, 0, 1)
        fits = fits and sizes != [-1, -1] and not given.get("allowzero", 0)
    if not fits:
        raise BadInputError(f"{_where(node)} must make one row of {count} numbers of each example")
    if graph.flowing.ndim > 2:
        graph.add(node, nn.Flatten)


def _constant(graph: Graph, node: onnx.NodeProto, given: dict, values: list[NDArray]) -> None:
    """Refuse what is understood of constants only."""
    raise BadInputError(f"{_where(node)} must be of constants, not of what the layers before give")


def _nothing(graph: Graph, node: onnx.NodeProto, given: dict, values: list[NDArray]) -> None:
    """Read an operator that does nothing at inference."""
    if node.op_type == "Dropout" and len(values) > 1 and values[1].any():
        raise BadInputError(f"{_where(node)} must not be in training mode; export the model again")


def _one(node: onnx.NodeProto, values: list[NDArray]) -> NDArray[np.float64]:
    if len(values) != 1 or not values[0].size:
        raise BadInputError(f"{_where(node)} must have one constant")
    return values[0].astype(np.float64)


def _sum(graph: Graph, node: onnx.NodeProto, given: dict, values: list[NDArray]) -> None:
    sign = -1 if node.op_type == "Sub" else 1
    graph.affine(node, np.ones(1), sign * _one(node, values))


def _product(graph: Graph, node: onnx.NodeProto, given: dict, values: list[NDArray]) -> None:
    factor = _one(node, values)
    with np.errstate(divide="ignore"):
        factor = 1 / factor if node.op_type == "Div" else factor
    if not np.isfinite(factor).all():
        raise BadInputError(f"{_where(node)} must not divide by zero")
    graph.affine(node, factor, np.zeros(1))


def _norm(graph: Graph, node: onnx.NodeProto, given: dict, values: list[NDArray]) -> None:
    if len(values) != 4 or given.get("training_mode", 0):
        raise BadInputError(f"{_where(node)} must have four constants and be as at inference")
    gain, shift, mean, variance = (value.astype(np.float64).ravel() for value in values)
    with np.errstate(invalid="ignore", divide="ignore"):
        gain = gain / np.sqrt(variance + given.get("epsilon", 1e-5))
    wide = (-1, *[1] * (graph.flowing.ndim - 2))
    try:
        shift = shift - mean * gain
    except ValueError:
        raise BadInputError(f"{_where(node)} must have a number for each channel") from None
    graph.affine(node, gain.reshape(wide), shift.reshape(wide))


#: How each operator is read, and the attributes that it may have.
_OPERATORS: dict[str, tuple[Callable[..., None], tuple[str, ...]]] = {
    "Add": (_sum, ()),
    "AveragePool": (_pool, (*_WINDOW, "count_include_pad")),
    "BatchNormalization": (_norm, ("epsilon", "momentum", "training_mode", "spatial")),
    "Constant": (_constant, ("value",)),
    "Conv": (_conv, (*_WINDOW, "group")),
    "Div": (_product, ()),
    "Dropout": (_nothing, ("ratio", "seed")),
    "Flatten": (_flat, ("axis",)),
    "Gemm": (_linear, ("alpha", "beta", "transA", "transB")),
    "GlobalAveragePool": (_global_pool, ()),
    "Identity": (_nothing, ()),
    "MatMul": (_linear, ()),
    "MaxPool": (_pool, _WINDOW),
    "Mul": (_product, ()),
    "Relu": (_relu, ()),
    "Reshape": (_flat, ("allowzero",)),
    "Sub": (_sum, ()),
    "Transpose": (_constant, ("perm",)),
}
