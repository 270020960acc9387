"""Convolutional networks on the Verilog of their engines: every output, every cycle, any stall."""

from pathlib import Path

import numpy as np
import pytest

from secateur.bench.convolutions import random_convolutional_network
from secateur.bench.fast import build_fast
from secateur.bench.fast_bursts import Burst, run_bursts
from secateur.bench.networks import random_inputs, random_network
from secateur.cycles import followed, model
from secateur.encode import encode, fit
from secateur.engine import EngineSpec
from secateur.instrument import InstrumentedEngine, counters_layout
from secateur.network import Network

CACHE = Path(__file__).resolve().parents[2] / "build" / "cosim"

#: Networks, PEs and what else is given of the engine: odd sizes, groups, pooling of both kinds,
#: windows that take turns, padding, strides, codebooks, one lane and several, rows that are drained
#: in several rounds.
CASES = {
    "one PE": (random_convolutional_network(5, (1, 5, 5), lengths=[3]), {"pes": 1}),
    "two lanes": (
        random_convolutional_network(4, (2, 8, 8), convolutions=3, lengths=[9, 4], codebook=True),
        {"pes": 6, "lanes": 2, "positions": 4},
    ),
    "four lanes": (
        random_convolutional_network(9, (3, 7, 7), convolutions=2, lengths=[5], codebook=True),
        {"pes": 12, "lanes": 4, "accumulator_memories": 2, "banks": 1, "queue_depth": 4},
    ),
    "averages and borders": (
        random_convolutional_network(29, (2, 9, 8), convolutions=2, lengths=[5], codebook=True),
        {"pes": 8, "lanes": 2},
    ),
    "windows take turns": (
        random_convolutional_network(437, (1, 20, 24), convolutions=2, lengths=[6], codebook=True),
        {"pes": 8, "lanes": 2},
    ),
    "y is a map": (
        random_convolutional_network(8, (2, 10, 10), convolutions=2, codebook=True),
        {"pes": 4, "lanes": 4, "positions": 2},
    ),
    "fully connected": (
        random_network(3, [40, 23, 9], codebook=True),
        {"pes": 8, "lanes": 2, "positions": 8},
    ),
}


@pytest.mark.cosim
@pytest.mark.parametrize("name", CASES)
def test_a_network(name: str, tmp_path: Path) -> None:
    network, given = CASES[name]
    second = _other(network)
    both = [fit(each, **given).to_dict() for each in (network, second)]
    spec = EngineSpec(**{field: max(each[field] for each in both) for field in both[0]})
    program, other = encode(network, spec), encode(second, spec)
    design = InstrumentedEngine(spec, layers=len(network.layers))
    executable = build_fast(design, folder=tmp_path, cache=CACHE)
    x = random_inputs(2, network, 6)
    others = random_inputs(4, second, 2)
    want = network.compute(x)
    rng = np.random.default_rng(1)
    latency, layers = model(program, network, x)
    resets = rng.integers(1, int(latency.max()) + 20, 5).tolist()
    bursts = [
        Burst(program=program, x=x[:0], image=program.image),
        Burst(program=program, x=x[:1]),
        Burst(program=program, x=x[1:]),
        Burst(program=program, x=x, pauses=(0, 0.7, 0.8)),
        # Broken off at any time; what comes next finds clean accumulators and maps.
        *(
            burst
            for cycle in resets
            for burst in (
                Burst(program=program, x=x[:1], reset=cycle),
                Burst(program=program, x=x[1:3]),
            )
        ),
        # Another program's maps lie elsewhere, and its values where this one's zeros are.
        Burst(program=other, x=others[:0], image=other.image),
        Burst(program=other, x=others),
        Burst(program=program, x=x[:0], image=program.image),
        Burst(program=program, x=x),
    ]
    runs = run_bursts(executable, design, bursts, folder=tmp_path)
    alone, behind, stalled = runs[1:4]
    assert np.array_equal(np.concatenate([alone.y, behind.y]), want)
    assert np.array_equal(stalled.y, want)
    for run in runs[5 : 4 + 2 * len(resets) : 2]:
        assert np.array_equal(run.y, want[1:3])
    assert np.array_equal(runs[-3].y, second.compute(others))
    assert np.array_equal(runs[-1].y, want)

    assert (alone.ends - alone.starts + 1).tolist() == latency[:1].tolist()
    ended = behind.ends - behind.starts[0] + 1
    assert ended.tolist() == followed(program, network, x[1:]).tolist()
    counters = [counters_layout(spec, len(layers)).from_bits(run.counters) for run in runs[:2]]
    for index, layer in enumerate(layers):
        before, after = (each.layers[index] for each in counters)
        counted = [after.multiplications[pe] - before.multiplications[pe] for pe in range(spec.pes)]
        assert counted == layer.multiplications[0].tolist()
        assert after.cycles - before.cycles == layer.cycles[0]


def _other(network: Network) -> Network:
    """Make a network with other maps, full of activations, for the same engine."""
    book = network.layers[0].codebook is not None
    if network.layers[0].convolution is None:
        return random_network(7, [network.inputs, 30, 11], codebook=book)
    return random_convolutional_network(
        31, (2, 9, 9), convolutions=2, lengths=[7], codebook=book, density=0.9
    )
