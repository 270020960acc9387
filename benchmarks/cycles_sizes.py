"""EIE's layers on engines of other lanes and queues, by the cycle model alone."""

from __future__ import annotations

from concurrent.futures import as_completed
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cycles_networks import EIE, eie_layer

from secateur.cycles import followed, model
from secateur.encode import encode

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from secateur.engine import EngineSpec
    from secateur.progress import Progress

__all__ = ["SIZES", "sizes"]

#: Lanes, and columns in a queue.
SIZES = ((4, 11), (4, 27), (8, 11), (8, 59), (16, 27))
#: With fewer lanes there are more words of columns; with more there are fewer groups, and more rows
#: in each.
DEPTHS = {"column_depth": 1 << 13, "row_depth": 1 << 12, "count_width": 10}
#: Inputs that follow each other. The cycles between the ends of the second and the last but one
#: count.
INPUTS = 4


def sizes(spec: EngineSpec, models: Executor, progress: Progress) -> dict[str, Any]:
    """Model every layer on every engine; ``spec`` gives all but the sizes.

    Returns
    -------
    dict
        ``sizes``: for each its ``lanes`` and ``queue_depth``, and for each of ``layers`` the useful
        multiplications per PE and cycle, ``alone`` and ``following``.
    """
    found: dict[tuple[int, int], dict[str, Any]] = {size: {} for size in SIZES}
    futures = {
        models.submit(_use, name, spec, *size): (size, name) for name in EIE for size in SIZES
    }
    try:
        for done, future in enumerate(as_completed(futures)):
            size, name = futures[future]
            found[size][name] = future.result()
            progress(done + 1, len(futures), "layers, by the cycle model")
    except BaseException:
        for future in futures:
            future.cancel()
        raise
    return {
        "sizes": [
            {"lanes": lanes, "queue_depth": depth, "layers": {name: layers[name] for name in EIE}}
            for (lanes, depth), layers in found.items()
        ]
    }


def _use(name: str, spec: EngineSpec, lanes: int, queue_depth: int) -> dict[str, float]:
    """Model one layer on one engine."""
    network, x = eie_layer(name, INPUTS)
    spec = replace(spec, lanes=lanes, queue_depth=queue_depth, **DEPTHS)
    program = encode(network, spec)
    latencies, (layer,) = model(program, network, x[:1])
    second, *_, last = followed(program, network, x)[1:-1]
    period = (last - second) / (INPUTS - 3)
    ideal = float(layer.ideal[0])
    return {"alone": ideal / float(latencies[0]), "following": ideal / float(period)}
