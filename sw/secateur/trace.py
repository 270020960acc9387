"""Reading any supported module as a chain of layers, by following its forward."""

from __future__ import annotations

from collections import Counter, OrderedDict
from contextlib import contextmanager
from operator import getitem
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.utils.prune import BasePruningMethod

from secateur import leaf
from secateur.batchnorm import NORMS, fold
from secateur.chain import SUPPORTED, check
from secateur.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["evaluating", "plain"]

_WEIGHTED = (nn.Linear, nn.Conv2d)

_WINDOW = ("kernel_size", "stride", "padding")
#: Functions and names of methods that do what a layer does: its class, and the names of the
#: arguments after the input. (F.max_pool2d is seen as what it decides to call.)
_FUNCTIONS: dict[Any, tuple[type[nn.Module], tuple[str, ...]]] = {
    **dict.fromkeys((F.relu, F.relu_, torch.relu, torch.relu_, "relu", "relu_"), (nn.ReLU, ())),
    **dict.fromkeys(
        (F.max_pool2d, torch.max_pool2d),
        (nn.MaxPool2d, (*_WINDOW, "dilation", "ceil_mode", "return_indices")),
    ),
    F.avg_pool2d: (
        nn.AvgPool2d,
        (*_WINDOW, "ceil_mode", "count_include_pad", "divisor_override"),
    ),
    F.adaptive_avg_pool2d: (nn.AdaptiveAvgPool2d, ("output_size",)),
}


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put a module into evaluation mode, and each of its parts back into its own mode."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode


def plain(module: nn.Module, *, copy: bool = True) -> nn.Sequential:
    """Read a module as a plain one, the form that everything else works on.

    A plain module is a :class:`torch.nn.Sequential` of Linear, Conv2d, ReLU, MaxPool2d, AvgPool2d,
    AdaptiveAvgPool2d, Flatten and Dropout, in training mode, with float32 parameters in the CPU's
    memory. Every size is a pair, no layer is in place, and Flatten is only where something is left
    to flatten. Names are those in ``module`` with "/" for each dot, or those of the functions.

    The forward is followed with :mod:`torch.fx`, so any way of writing such a chain is understood:
    modules, functions or methods. Masks of :mod:`torch.nn.utils.prune` become exact zeros, and a
    BatchNorm, as it is at inference, is folded into the Linear or Conv2d before it. Dropout by
    function counts as a Dropout where it does nothing at inference.

    Parameters
    ----------
    module : nn.Module
        It is left as it is.
    copy : bool
        Whether parameters are copied even if they could be shared with ``module``.

    Raises
    ------
    BadInputError
        If the module computes anything else, has hooks in its forward, its layers do not fit each
        other, or a weight is NaN or infinite.

    Examples
    --------
    >>> plain(nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.ReLU(inplace=True)))
    Sequential(
      (0): Linear(in_features=4, out_features=3, bias=True)
      (2): ReLU()
    )
    """
    if leaf.kind_of(module) is not None:
        module = nn.Sequential(module)
    _refuse_hooks(module)
    links = _links(module)
    used = Counter(name for name, part in links if leaf.kind_of(part) in _WEIGHTED)
    for name, count in used.items():
        if count > 1:
            raise BadInputError(f"layer {name!r} is used twice; make it two layers")
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    flat = False
    for name, part in links:
        kind = leaf.kind_of(part)
        if any(tensor.is_meta for tensor in (*part.parameters(), *part.buffers())):
            raise BadInputError(f"layer {name!r} has no values yet; load the model's weights first")
        if isinstance(part, NORMS):
            fold(name, part, layers)
            continue
        assert kind is not None
        if not (kind is nn.Flatten and flat):
            spec = leaf.spec(name, part, kind)
            weights = _parameters(part, copy) if kind in _WEIGHTED else ()
            layers[_free(name, layers, () if weights else used)] = leaf.make(spec, *weights)
        flat = flat or kind in (nn.Flatten, nn.Linear)  # what comes after is flat, too
    found = nn.Sequential(layers)
    check(found)
    return found


def _free(name: str, layers: OrderedDict[str, nn.Module], reserved: Any) -> str:
    """Give a name that no layer has: a module without weights may be used several times."""
    base = key = name.replace(".", "/")  # a module's name may not hold a dot
    count = 1
    taken = {*layers, *(other.replace(".", "/") for other in reserved)}
    while key in taken or hasattr(nn.Sequential(), key):
        count += 1
        key = f"{base}/{count}"
    return key


def _refuse_hooks(module: nn.Module) -> None:
    """Refuse what runs in a forward and is not seen by following it."""
    for name, part in module.named_modules():
        hooks = (*part._forward_pre_hooks.values(), *part._forward_hooks.values())
        if not all(isinstance(hook, BasePruningMethod) for hook in hooks):
            where = f"layer {name!r}" if name else "the model"
            raise BadInputError(
                f"{where} has a forward hook, which would be lost; remove it or make it a layer"
            )


def _parameters(part: nn.Module, copy: bool) -> tuple[Tensor | None, ...]:
    """Give the weight and the bias as they are used, masks applied."""
    tensors = []
    for kind in ("weight", "bias"):
        tensor = leaf.used(part, kind)
        if tensor is not None:
            tensor = tensor.detach().to("cpu", torch.float32, copy=copy).contiguous()
        tensors.append(tensor)
    return tuple(tensors)


class _Tracer(fx.Tracer):
    """Stops at what can be read as a layer, and remembers in which module it fails."""

    failed = ""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        known = leaf.kind_of(m) is not None or any(leaf.computes(m, kind) for kind in NORMS)
        return known or super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        try:
            return super().call_module(m, forward, args, kwargs)
        except Exception:
            self.failed = self.failed or self.path_of_module(m)
            raise


def _links(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """Follow the forward: the name of each link that does something, and a module that does it."""
    tracer = _Tracer()
    try:
        with evaluating(module):
            graph = tracer.trace(module)
    except Exception as error:
        reason = str(error).partition("\n")[0]
        where = f" of {tracer.failed!r}" if tracer.failed else ""
        raise BadInputError(
            f"the model's forward{where} cannot be followed ({reason}); {SUPPORTED}"
        ) from None
    links = []
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
                f"{SUPPORTED}"
            )
        elif node.op != "output":
            part = _part(node, module)
            if part is None:
                raise BadInputError(f"{_describe(node, module)} is not supported; {SUPPORTED}")
            if not isinstance(part, nn.Identity):
                links.append((str(node.target if node.op == "call_module" else node.name), part))
            before = node
    return links


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
        return leaf.describe(str(node.target), module.get_submodule(str(node.target)))
    return f"the operation {node.name!r}"


def _part(node: fx.Node, module: nn.Module) -> nn.Module | None:
    """Give the module that does what a link of the chain does, or None if there is none."""
    if node.op == "call_module":
        part = module.get_submodule(str(node.target))
        known = (*leaf.KINDS, *NORMS, nn.Identity)
        return part if any(leaf.computes(part, kind) for kind in known) else None
    if node.target in _FUNCTIONS:
        kind, names = _FUNCTIONS[node.target]
        given = dict(zip(names, node.args[1:], strict=False)) | node.kwargs
        return kind(**{name: value for name, value in given.items() if name in names})
    if node.target in (torch.flatten, "flatten"):
        return nn.Flatten(_argument(node, "start_dim", 1, 0), _argument(node, "end_dim", 2, -1))
    if node.target in ("view", "reshape", torch.reshape):
        # x.view(-1, features) or x.view(x.size(0), -1): one row for each example
        sizes = node.args[1:]
        if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)):
            sizes = tuple(sizes[0])
        rows, columns = sizes if len(sizes) == 2 else (None, None)
        flat = isinstance(columns, int) and (rows == -1 or isinstance(rows, fx.Node))
        return nn.Flatten() if flat else None
    if node.target in (F.dropout, torch.dropout):
        name = "training" if node.target is F.dropout else "train"
        p = _argument(node, "p", 1, 0.5)
        return nn.Dropout(p) if _argument(node, name, 2, True) is False else None
    return None
