"""One engine of `cycles.py` and what it does: built once, run on one program after the other."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from secateur.bench.fast import build_fast, run_fast
from secateur.bench.fast_memory import BARE, bare_sources
from secateur.cycles import followed, model
from secateur.dead import remove_dead
from secateur.encode import encode
from secateur.engine import EngineSpec
from secateur.errors import CheckFailedError
from secateur.instrument import (
    COUNTER,
    PES_COUNTER,
    STATES,
    InstrumentedEngine,
    counters_layout,
)
from secateur.progress import silent
from secateur.technology import PORTABLE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Executor
    from pathlib import Path

    from numpy.typing import NDArray

    from secateur.network import Layer, Network
    from secateur.program import Program
    from secateur.progress import Progress

__all__ = ["BuiltEngine", "covering", "measure"]

#: Inputs at the beginning and at the end of those that follow each other which do not count.
WARM = 2


def covering(specs: Sequence[EngineSpec]) -> EngineSpec:
    """Give the smallest engine that is in no field smaller than any of these."""
    fields = [spec.to_dict() for spec in specs]
    return EngineSpec(**{name: max(spec[name] for spec in fields) for name in fields[0]})


@dataclass(frozen=True, kw_only=True)
class BuiltEngine:
    """A simulation of an engine, ready to take programs.

    Parameters
    ----------
    design : InstrumentedEngine
    executable : Path
    """

    design: InstrumentedEngine
    executable: Path

    @classmethod
    def build(
        cls, spec: EngineSpec, layers: int, *, bare: bool, folder: Path, cache: Path
    ) -> BuiltEngine:
        """Compile an engine.

        Parameters
        ----------
        spec : EngineSpec
        layers : int
            Layers of the programs that it will run, at most.
        bare : bool
            Whether its memories are written without their zeros; see
            :mod:`secateur.bench.fast_memory`.
        folder, cache : Path
            As in :func:`secateur.bench.fast.build_fast`.
        """
        folder.mkdir(parents=True, exist_ok=True)
        design = InstrumentedEngine(spec, layers=layers, technology=BARE if bare else PORTABLE)
        sources = bare_sources(folder) if bare else []
        executable = build_fast(design, folder=folder, cache=cache, sources=sources)
        return cls(design=design, executable=executable)


def measure(
    engine: BuiltEngine,
    network: Network,
    x: NDArray[np.int64],
    *,
    alone: int,
    modelled: int,
    folder: Path,
    models: Executor,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Run a network, and compare every output with ``network.compute()``.

    Parameters
    ----------
    engine : BuiltEngine
    network : Network
    x : int64[inputs, network.inputs]
        All of them run one right behind the other, after the first ones have each run alone.
    alone : int
        How many those are.
    modelled : int
        Inputs that follow each other in the cycle model too, the first ones.
    folder : Path
        Gets what the simulation reads and writes.
    models : Executor
        What the cycle model is computed by.
    progress : callable
        Told how far the simulation is.

    Returns
    -------
    dict
        JSON values, means over the inputs; ``off`` is the largest part by which the cycle model is
        off, of any input.

    Raises
    ------
    CheckFailedError
        If an output differs, or the multiplications are not those of the network.
    """
    spec = engine.design.spec
    progress(0, 0, "encoding")
    program = encode(network, spec)
    modelling = models.submit(_model, program, network, x[:alone], x[:modelled])
    every = np.concatenate([x[:alone], x[:modelled], x])
    folder.mkdir(parents=True, exist_ok=True)
    run = run_fast(
        engine.executable,
        engine.design,
        program,
        every,
        bursts=[*[1] * alone, modelled, len(x)],
        folder=folder,
        progress=progress,
    )
    progress(0, 0, "comparing, and the cycle model")
    wrong = (run.y != network.compute(every)).any(axis=1)
    if wrong.any():
        raise CheckFailedError(
            f"{network.name}: {wrong.sum()} of {len(every)} outputs of the simulated engine differ "
            f"from the network's, the first of them that of input {wrong.argmax()}"
        )
    layout = counters_layout(spec, engine.design.layers)
    at = [layout.from_bits(bits) for bits in run.counters]
    useful = _multiplications(network, x)
    ideal = useful.sum(axis=1) / spec.pes
    latencies = (run.ends - run.starts + 1)[:alone]
    ends = run.ends[alone:] - run.starts[alone] + 1
    steady = slice(WARM, len(x) - WARM)
    periods = np.diff(ends[modelled:])[WARM - 1 : len(x) - WARM - 1]
    ways = {
        "alone": (latencies, ideal[:alone], useful[:alone], at[0], at[alone]),
        "following": (periods, ideal[steady], useful, at[-2], at[-1]),
    }
    found = {
        "spec": spec.to_dict(),
        "inputs": len(x),
        "compared": int(run.y.size),
        "dense": sum(map(_all_multiplications, network.layers)),
        "nonzeros": sum(int(np.count_nonzero(layer.weights)) for layer in network.layers),
        "padding": sum(layer.padding for layer in program.layers)
        / sum(layer.entries for layer in program.layers),
        **{way: _way(network, spec.pes, *given) for way, given in ways.items()},
    }

    models_latencies, models_layers, models_ends = modelling.result()
    found["alone"] |= _compared(latencies, models_latencies)
    found["following"] |= _compared(ends[:modelled], models_ends)
    for index, (layer, cycles) in enumerate(
        zip(found["alone"]["layers"], models_layers, strict=True)
    ):
        counted = [counters.layers[index]["cycles"] for counters in at[: alone + 1]]
        measured = [_since(*pair) for pair in pairwise(counted)]
        layer |= _compared(np.array(measured), cycles)
    return found


def _model(
    program: Program, network: Network, alone: NDArray[np.int64], following: NDArray[np.int64]
) -> tuple[NDArray[np.int64], list[NDArray[np.int64]], NDArray[np.int64]]:
    """Give the cycle model's latencies, those of the layers, and when each y ends."""
    latencies, layers = model(program, network, alone)
    return latencies, [layer.cycles for layer in layers], followed(program, network, following)


def _compared(measured: NDArray[np.int64], modelled: NDArray[np.int64]) -> dict[str, float]:
    """Say how far the cycle model is off."""
    return {
        "model": float(modelled.mean()),
        "measured": float(measured.mean()),
        "off": float(abs(modelled / measured - 1).max()),
    }


def _way(
    network: Network,
    pes: int,
    cycles: NDArray[np.int64],
    ideal: NDArray[np.float64],
    useful: NDArray[np.int64],
    before: Any,
    after: Any,
) -> dict[str, Any]:
    """Put together one way of running.

    Parameters
    ----------
    network : Network
    pes : int
    cycles : int64[counted]
        Of each input that counts.
    ideal : float64[counted]
        The same, if every PE multiplied in every cycle.
    useful : int64[inputs, layers]
        Multiplications between both moments, as they should be.
    before, after : View
        The counters at two moments.
    """
    layers = [
        _layer(before.layers[index], after.layers[index], pes)
        for index in range(len(network.layers))
    ]
    counted = [layer["multiplications"] for layer in layers]
    if counted != (expected := useful.sum(axis=0).tolist()):
        raise CheckFailedError(
            f"{network.name}: the engine's multiplications {counted}, by layer, are not those of "
            f"the network, {expected}"
        )
    return {
        "cycles": float(cycles.mean()),
        "ideal": float(ideal.mean()),
        "use": float(ideal.mean() / cycles.mean()),
        "shares": _shares(before, after, layers, pes),
        "layers": [
            {
                "name": layer.name,
                **{key: value / len(useful) for key, value in counts.items()},
                "ideal": counts["multiplications"] / len(useful) / pes,
            }
            for layer, counts in zip(network.layers, layers, strict=True)
        ],
    }


def _all_multiplications(layer: Layer) -> int:
    """Count what a dense engine multiplies for an input."""
    positions = 1 if layer.convolution is None else math.prod(layer.convolution.positions)
    return layer.weights.size * positions


def _multiplications(network: Network, x: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count where neither weight nor activation is zero: int64[inputs, layers].

    What belongs to dead neurons is never stored, and no multiplication.
    """
    reduction = remove_dead(network)
    activations = reduction.network.activations(x[:, reduction.kept[0]])
    counts = []
    for layer, values in zip(reduction.network.layers, activations, strict=False):
        used, active = (layer.weights != 0).astype(np.int64), (values != 0).astype(np.int64)
        if layer.convolution is None:
            counts.append(active @ used.sum(axis=0))
        else:
            sums = layer.convolution.sums(active, used)
            counts.append(sums.reshape(len(x), -1).sum(axis=1))
    return np.stack(counts, axis=1)


def _since(before: int, after: int) -> int:
    """Count on, over a counter's end."""
    return (after - before) % (1 << COUNTER)


def _layer(before: Any, after: Any, pes: int) -> dict[str, int]:
    """Add up the counts of a layer between two moments."""
    found = {name: _since(before[name], after[name]) for name in ("cycles", *STATES[:-1])}
    for name in ("multiplications", "padding"):
        found[name] = sum(_since(before[name][pe], after[name][pe]) for pe in range(pes))
    return found


def _shares(before: Any, after: Any, layers: list[dict[str, int]], pes: int) -> dict[str, float]:
    """Divide the cycles of all PEs by what they were for; the sum is 1."""
    cycles = {
        "useful": sum(layer["multiplications"] for layer in layers),
        "padding": sum(layer["padding"] for layer in layers),
        **{
            state: (after.idle[state] - before.idle[state]) % (1 << PES_COUNTER) for state in STATES
        },
    }
    total = _since(before.busy, after.busy) * pes
    assert sum(cycles.values()) == total, (cycles, total)
    return {name: count / total for name, count in cycles.items()}
