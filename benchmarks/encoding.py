"""Time and memory of encoding the largest layer of AlexNet: `python benchmarks/encoding.py`.

9216 x 4096 weights at a density of 9 % for 64 PEs, with random weights of 8 bits. The last line is
JSON. Peak memory is that of the process, the dense matrix of 302 MB included.
"""

import json
import resource
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from secateur.decode import decode
from secateur.encode import encode, fit
from secateur.fixed import NumberFormat, Requant
from secateur.network import Layer, Network

ROWS, COLUMNS, DENSITY, PES = 4096, 9216, 0.09, 64


def network() -> Network:
    """Make a network of that one layer."""
    rng = np.random.default_rng(1)
    weights = np.zeros((ROWS, COLUMNS), dtype=np.int64)
    kept = rng.choice(weights.size, round(DENSITY * weights.size), replace=False, shuffle=False)
    weights.ravel()[kept] = rng.integers(1, 128, kept.size) * rng.choice((-1, 1), kept.size)
    unsigned = NumberFormat(width=8, signed=False)
    layer = Layer(
        name="fc6",
        weights=weights,
        bias=np.zeros(ROWS, dtype=np.int64),
        weight_width=8,
        input=unsigned,
        requant=Requant(shift=10, output=unsigned, relu=True),
    )
    return Network(name="alexnet-fc6", layers=(layer,))


def main() -> None:
    """Measure each step once."""
    figures: dict[str, float] = {}

    def timed(name: str, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        result = call(*args, **kwargs)
        figures[f"{name}_s"] = round(time.perf_counter() - start, 2)
        figures[f"{name}_peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        return result

    net = network()
    spec = timed("fit", fit, net, pes=PES)
    program = timed("encode", encode, net, spec)
    ((weights, _),) = timed("decode", decode, program)
    used = net.layers[0].weights.any(axis=0)
    assert np.array_equal(weights, net.layers[0].weights[:, used]), (
        "decoded is not what was encoded"
    )

    table = Table("step", "seconds", "peak memory so far, MiB")
    for name in ("fit", "encode", "decode"):
        table.add_row(name, str(figures[f"{name}_s"]), str(figures[f"{name}_peak_mib"]))
    Console().print(table)
    print(json.dumps({**figures, "bits_per_weight": round(program.bits_per_weight, 2)}))


if __name__ == "__main__":
    main()
