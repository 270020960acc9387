"""Float models: building a perceptron, and reading any supported module as a list of layers."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from dataclasses import dataclass
from operator import getitem
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.utils.prune import BasePruningMethod

from secateur.errors import BadInputError
from secateur.network import Network

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from secateur.data import Split

__all__ = ["DenseLayer", "accuracy", "build", "dense_layers", "outputs", "plain", "sequential"]

_SUPPORTED = "use Linear, ReLU, Flatten and Dropout, one after the other"


@dataclass(frozen=True, kw_only=True, eq=False)
class DenseLayer:
    """A fully connected layer as the model computes it, masks applied.

    Parameters
    ----------
    name : str
        The layer's name in the model.
    weight : float32[rows, columns]
    bias : float32[rows], optional
    relu : bool
        Whether a ReLU follows.
    """

    name: str
    weight: Tensor
    bias: Tensor | None
    relu: bool


def sequential(layers: Iterable[DenseLayer]) -> nn.Sequential:
    """Make a plain module of ``layers``: Linear and ReLU, sharing no memory with them."""
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    for layer in layers:
        rows, columns = layer.weight.shape
        linear = cast(
            "nn.Linear",
            nn.utils.skip_init(nn.Linear, columns, rows, bias=layer.bias is not None),
        )
        with torch.no_grad():
            linear.weight.copy_(layer.weight)
            if layer.bias is not None:
                linear.bias.copy_(layer.bias)
        # A module's name may not hold a dot.
        name = layer.name.replace(".", "/")
        modules[name] = linear
        if layer.relu:
            modules[f"{name}/relu"] = nn.ReLU()
    return nn.Sequential(modules)


def build(
    features: int, hidden: Sequence[int], classes: int, generator: torch.Generator
) -> nn.Sequential:
    """Make a perceptron: layers ``fc1``, ``fc2`` ..., ReLU after each but the last.

    Weights and biases are drawn as :class:`torch.nn.Linear` draws them, from ``generator`` instead
    of the global one: uniform within ``1 / sqrt(columns)``.
    """
    sizes = [features, *hidden, classes]
    layers = []
    for index, (columns, rows) in enumerate(itertools.pairwise(sizes), 1):
        bound = columns**-0.5
        layers.append(
            DenseLayer(
                name=f"fc{index}",
                weight=torch.empty(rows, columns).uniform_(-bound, bound, generator=generator),
                bias=torch.empty(rows).uniform_(-bound, bound, generator=generator),
                relu=index < len(sizes) - 1,
            )
        )
    return sequential(layers)


def dense_layers(module: nn.Module) -> list[DenseLayer]:
    """Read a module as the fully connected layers that it computes at inference.

    Its forward is followed with :mod:`torch.fx`, so that any way of writing a chain of Linear,
    ReLU, Flatten and Dropout is understood. Masks of :mod:`torch.nn.utils.prune` are applied.

    Raises
    ------
    BadInputError
        If the module computes anything else, has hooks in its forward, the layers do not fit each
        other, or a weight is NaN or infinite.
    """
    if isinstance(module, nn.Linear):
        module = nn.Sequential(module)
    _refuse_hooks(module)
    layers: list[DenseLayer] = []
    for target, is_relu in _chain(module):
        if not is_relu:
            if any(target == layer.name for layer in layers):
                raise BadInputError(f"layer {target!r} is used twice; make it two layers")
            layers.append(_dense(target, cast("nn.Linear", module.get_submodule(target))))
        elif layers:
            last = layers.pop()
            layers.append(DenseLayer(name=last.name, weight=last.weight, bias=last.bias, relu=True))
        else:
            raise BadInputError("the model must begin with a Linear layer, not a ReLU; remove it")
    if not layers:
        raise BadInputError(f"the model has no Linear layer; {_SUPPORTED}")
    for before, after in itertools.pairwise(layers):
        if before.weight.shape[0] != after.weight.shape[1]:
            raise BadInputError(
                f"layer {after.name!r} must take the {before.weight.shape[0]} outputs of "
                f"{before.name!r}, not {after.weight.shape[1]}"
            )
    return layers


def plain(module: nn.Module) -> nn.Sequential:
    """Copy a supported module into Linear and ReLU only, pruning masks made exact zeros."""
    return sequential(dense_layers(module))


def outputs(module: nn.Module, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Compute a float module: float32[n, features] to float32[n, classes]."""
    with torch.no_grad():
        return module(torch.from_numpy(np.ascontiguousarray(x))).numpy()


def accuracy(model: nn.Module | Network, split: Split) -> float:
    """Part of ``split`` that a float module or an integer network classifies correctly, 0 to 1."""
    if isinstance(model, Network):
        return split.accuracy(model.compute(model.quantize_input(split.x)))
    return split.accuracy(outputs(model, split.x))


def _refuse_hooks(module: nn.Module) -> None:
    """Refuse what runs in a forward and is not seen by following it."""
    for name, part in module.named_modules():
        hooks = (*part._forward_pre_hooks.values(), *part._forward_hooks.values())
        if not all(isinstance(hook, BasePruningMethod) for hook in hooks):
            where = f"layer {name!r}" if name else "the model"
            raise BadInputError(
                f"{where} has a forward hook, which would be lost; remove it or make it a layer"
            )


def _dense(name: str, linear: nn.Linear) -> DenseLayer:
    tensors = {}
    for kind in ("weight", "bias"):
        # torch.nn.utils.prune refreshes `weight` in the forward only: it may be out of date.
        mask = getattr(linear, f"{kind}_mask", None)
        tensor = getattr(linear, kind) if mask is None else getattr(linear, f"{kind}_orig") * mask
        if tensor is not None:
            tensor = tensor.detach().to(torch.float32)
            if not torch.isfinite(tensor).all():
                raise BadInputError(
                    f"layer {name!r}: {kind} holds NaN or infinity; train the model again"
                )
        tensors[kind] = tensor
    return DenseLayer(name=name, relu=False, **tensors)


def _chain(module: nn.Module) -> list[tuple[str, bool]]:
    """Follow the forward: the name of each Linear, and (name, True) for each ReLU."""
    modes = {part: part.training for part in module.modules()}
    try:
        graph = fx.Tracer().trace(module.eval())
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise BadInputError(
            f"the model's forward cannot be followed ({reason}); {_SUPPORTED}"
        ) from None
    finally:
        for part, mode in modes.items():
            part.training = mode
    steps: list[tuple[str, bool]] = []
    before: fx.Node | None = None
    sizes: set[fx.Node] = set()  # results of x.size(0) and x.shape[0]
    for node in graph.nodes:
        if before is None:
            before = node
        elif _is_size(node, sizes):
            sizes.add(node)
        elif set(node.all_input_nodes) - sizes != {before}:
            raise BadInputError(
                f"the model must be a chain, and {_describe(node, module)} is not the next link; "
                f"{_SUPPORTED}"
            )
        elif node.op != "output":
            kind = _kind(node, module)
            if kind is None:
                raise BadInputError(f"{_describe(node, module)} is not supported; {_SUPPORTED}")
            if kind != "identity":
                steps.append((str(node.target), kind == "relu"))
            before = node
    return steps


def _is_size(node: fx.Node, shapes: set[fx.Node]) -> bool:
    """Tell whether a node is ``x.shape``, ``x.size()`` or the number of rows from one of these."""
    if node.op == "call_method" and node.target == "size":
        return bool(_argument(node, "dim", 1, 0) == 0)
    if node.target is getattr:
        return node.args[1] == "shape"
    return node.target is getitem and node.args[0] in shapes and node.args[1:] == (0,)


def _argument(node: fx.Node, name: str, position: int, default: Any) -> Any:
    given = node.args[position] if len(node.args) > position else default
    return node.kwargs.get(name, given)


def _describe(node: fx.Node, module: nn.Module) -> str:
    if node.op == "call_module":
        kind = type(module.get_submodule(str(node.target))).__name__
        return f"layer {str(node.target)!r}, a {kind},"
    target: Any = node.target
    return f"the operation {getattr(target, '__name__', str(target))!r}"


#: What computes a ReLU: functions, and names of methods.
_RELU = (F.relu, torch.relu, torch.relu_, "relu", "relu_")


def _kind(node: fx.Node, module: nn.Module) -> str | None:
    """Tell what a link of the chain does: "linear", "relu", "identity" or, not supported, None."""
    if node.op == "call_module":
        part = module.get_submodule(str(node.target))
        if isinstance(part, nn.Flatten):
            return "identity" if (part.start_dim, part.end_dim) == (1, -1) else None
        return next(
            (
                kind
                for kind, types in (
                    ("linear", nn.Linear),
                    ("relu", nn.ReLU),
                    ("identity", (nn.Dropout, nn.Identity)),
                )
                if isinstance(part, types)
            ),
            None,
        )
    if node.target in _RELU:
        return "relu"

    if node.target in (torch.flatten, "flatten"):
        flat = _argument(node, "start_dim", 1, 0) == 1 and _argument(node, "end_dim", 2, -1) == -1
    elif node.target in ("view", "reshape"):
        # x.view(-1, features) or x.view(x.size(0), -1): one row for each example
        rows, columns = node.args[1:] if len(node.args) == 3 else (None, None)
        flat = isinstance(columns, int) and (rows == -1 or isinstance(rows, fx.Node))
    else:
        flat = node.target is F.dropout and _argument(node, "training", 2, True) is False
    return "identity" if flat else None
