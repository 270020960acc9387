"""One engine of `cycles.py` and what it does: built once, run on one program after the other."""

from __future__ import annotations

from dataclasses import dataclass
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

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Executor
    from pathlib import Path

    from numpy.typing import NDArray

    from secateur.network import Network
    from secateur.program import Program
    from secateur.progress import Progress

__all__ = ["BuiltEngine", "covering", "measure"]


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
        options = {"technology": BARE} if bare else {}
        design = InstrumentedEngine(spec, layers=layers, **options)
        sources = bare_sources(folder) if bare else []
        executable = build_fast(design, folder=folder, cache=cache, sources=sources)
        return cls(design=design, executable=executable)


def measure(
    engine: BuiltEngine,
    network: Network,
    x: NDArray[np.int64],
    *,
    alone: int,
    warm: int,
    folder: Path,
    modelled: int,
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
    warm : int
        Inputs that follow each other before the cycles from one to the next count.
    folder : Path
        Gets what the simulation reads and writes.
    modelled : int
        Inputs that follow each other in the cycle model, the first ones.
    models : Executor
        What the cycle model is computed by.
    progress : callable
        Told how far the simulation is.

    Returns
    -------
    dict
        JSON values, means over the inputs.

    Raises
    ------
    CheckFailedError
        If an output differs.
    """
    spec = engine.design.spec
    progress(0, 0, "encoding")
    program = encode(network, spec)
    every = np.concatenate([x[:alone], x])
    folder.mkdir(parents=True, exist_ok=True)
    run = run_fast(
        engine.executable,
        engine.design,
        program,
        every,
        alone=alone,
        folder=folder,
        progress=progress,
    )
    progress(0, 0, "comparing, and the cycle model")
    modelling = models.submit(_model, program, network, x, alone, modelled)
    wrong = (run.y != network.compute(every)).any(axis=1)
    if wrong.any():
        raise CheckFailedError(
            f"{network.name}: {wrong.sum()} of {len(every)} outputs of the simulated engine differ "
            f"from the network's, the first of them that of input {wrong.argmax()}"
        )
    layout = counters_layout(spec, engine.design.layers)
    at = [layout.from_bits(bits) for bits in run.counters]
    period = _period(run.ends[alone:], warm)
    latency = float((run.ends - run.starts + 1)[:alone].mean())
    useful = _multiplications(network, x)
    ideal = useful.sum(axis=1) / spec.pes
    found = {
        "spec": spec.to_dict(),
        "inputs": len(x),
        "compared": int(run.y.size),
        "weights": sum(layer.weights.size for layer in network.layers),
        "nonzeros": sum(int(np.count_nonzero(layer.weights)) for layer in network.layers),
        "padding": sum(layer.padding for layer in program.layers)
        / sum(layer.entries for layer in program.layers),
    }
    for way, cycles, inputs, before, after in (
        ("alone", latency, slice(alone), at[0], at[1]),
        ("following", period, slice(warm, None), at[1], at[2]),
    ):
        layers = [
            _layer(before.layers[index], after.layers[index], spec.pes)
            for index in range(len(network.layers))
        ]
        count = alone if way == "alone" else len(x)
        counted = [layer["multiplications"] for layer in layers]
        expected = useful[:count].sum(axis=0).tolist()
        if counted != expected:
            raise CheckFailedError(
                f"{network.name}: the engine's multiplications {counted}, by layer, are not those "
                f"of the network, {expected}"
            )
        mean = float(ideal[inputs].mean())
        found[way] = {
            "cycles": cycles,
            "ideal": mean,
            "use": mean / cycles,
            "shares": _shares(before, after, layers, spec.pes),
            "layers": [
                {
                    "name": network.layers[index].name,
                    **{key: value / count for key, value in layer.items()},
                    "ideal": layer["multiplications"] / count / spec.pes,
                }
                for index, layer in enumerate(layers)
            ],
        }
    latencies, by_layer, followed_ends = modelling.result()
    found["alone"] |= {"model": float(latencies.mean()), "measured": latency}
    for layer, cycles in zip(found["alone"]["layers"], by_layer, strict=True):
        layer["model"] = float(cycles.mean())
    found["following"] |= {
        "model": _period(followed_ends, warm),
        "measured": _period(run.ends[alone:][:modelled], warm),
    }
    return found


def _model(
    program: Program, network: Network, x: NDArray[np.int64], alone: int, following: int
) -> tuple[NDArray[np.int64], list[NDArray[np.int64]], NDArray[np.int64]]:
    """Give the cycle model's latencies, those of the layers, and when each y ends."""
    latencies, layers = model(program, network, x[:alone])
    return latencies, [layer.cycles for layer in layers], followed(program, network, x[:following])


def _period(ends: NDArray[np.int64], warm: int) -> float:
    """Cycles from one y to the next, when ``warm`` of them have passed."""
    return float((ends[-1] - ends[warm - 1]) / (len(ends) - warm))


def _multiplications(network: Network, x: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count where neither weight nor activation is zero: int64[inputs, layers].

    What belongs to dead neurons is never stored, and no multiplication.
    """
    reduction = remove_dead(network)
    activations = reduction.network.activations(x[:, reduction.kept[0]])
    counts = [
        (values != 0) @ np.count_nonzero(layer.weights, axis=0)
        for layer, values in zip(reduction.network.layers, activations, strict=False)
    ]
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
