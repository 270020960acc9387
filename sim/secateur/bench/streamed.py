"""A network that runs layer by layer, the next layer's weights loaded while one computes.

The host's half of it, on the Verilog of an engine with two banks that holds any one of the layers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from secateur.bench.fast_bursts import Burst, run_bursts
from secateur.encode import encode
from secateur.errors import CheckFailedError
from secateur.image import read_image
from secateur.instrument import COUNTER, counters_layout
from secateur.progress import silent

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from secateur.instrument import InstrumentedEngine
    from secateur.network import Network
    from secateur.program import Program
    from secateur.progress import Progress

__all__ = ["Step", "load_cycles", "one_by_one", "run_streamed"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Step:
    """A layer of a batch, and the load of the next layer meanwhile. All times are in cycles.

    ``cycles`` is ``computing + waiting + changing``.

    Parameters
    ----------
    layer : int
    y : int64[batch, rows]
        The layer's outputs.
    cycles : int
        From the first word of x that is offered to that of the next step.
    loading : int
        In which a byte of the next layer's image was offered.
    computing : int
        With an inference under way.
    waiting : int
        In which only the load went on.
    """

    layer: int
    y: NDArray[np.int64]
    cycles: int
    loading: int
    computing: int
    waiting: int

    @property
    def changing(self) -> int:
        """The rest: the programs are exchanged and the accumulators cleared."""
        return self.cycles - self.computing - self.waiting


def one_by_one(network: Network) -> list[Network]:
    """Make a network of each layer."""
    return [
        replace(network, name=f"{network.name}-{layer.name}", layers=(layer,))
        for layer in network.layers
    ]


def load_cycles(program: Program) -> int:
    """Count the cycles that an image takes if nothing holds it up.

    A byte a cycle; the loader stands still for two behind the header and for four behind that of
    each section and of the end.
    """
    sections = len(read_image(program.spec, program.image))
    return len(program.image) + 2 + 4 * (sections + 1)


def run_streamed(
    executable: Path,
    design: InstrumentedEngine,
    network: Network,
    x: NDArray[np.int64],
    *,
    batch: int,
    folder: Path,
    progress: Progress = silent,
) -> list[Step]:
    """Run a network layer by layer, batch after batch.

    A layer gets what the layer before gave: its outputs of the whole batch are there before the
    first word of the next layer's x is offered. While the last layer computes, the first is loaded
    again for the next batch; so every step is like those of a network that never ends.

    Parameters
    ----------
    executable, design, folder, progress
        As in :func:`secateur.bench.fast_bursts.run_bursts`.
    network : Network
    x : int64[inputs, network.inputs]
    batch : int
        Inputs for which a layer is loaded; divides ``inputs``.

    Returns
    -------
    list of Step
        Layer by layer of the first batch, then of the next.

    Raises
    ------
    BadInputError
        If the engine does not hold one of the layers.
    CheckFailedError
        If a layer's outputs are not those that the network computes.
    """
    programs = [encode(layer, design.spec) for layer in one_by_one(network)]
    activations = network.activations(x)
    bursts = [Burst(program=programs[0], x=x[:0], image=programs[0].image)]
    expected = [activations[1][:0]]
    for at in range(0, len(x), batch):
        part = slice(at, at + batch)
        for index, program in enumerate(programs):
            image = programs[(index + 1) % len(programs)].image
            bursts.append(Burst(program=program, x=activations[index][part], image=image))
            expected.append(activations[index + 1][part])
    runs = run_bursts(executable, design, bursts, folder=folder, progress=progress)
    # What is equal here, layer after layer, is what the next layer was fed with.
    for number, (run, y) in enumerate(zip(runs, expected, strict=True)):
        if not np.array_equal(run.y, y):
            raise CheckFailedError(
                f"{network.name}: the outputs of burst {number} differ from the network's"
            )
    layout = counters_layout(design.spec, design.layers)
    busy = [layout.from_bits(run.counters).busy for run in runs]
    return [
        Step(
            layer=number % len(programs),
            y=run.y,
            cycles=run.end - before.end,
            loading=run.sending,
            computing=(busy[number + 1] - busy[number]) % (1 << COUNTER),
            waiting=run.waiting,
        )
        for number, (before, run) in enumerate(pairwise(runs))
    ]
