"""A network that runs layer by layer, while the next layer's weights are loaded."""

from pathlib import Path

import numpy as np
import pytest

from secateur.bench.fast import build_fast
from secateur.bench.networks import random_inputs, random_network
from secateur.bench.streamed import load_cycles, one_by_one, run_streamed
from secateur.cycles import followed
from secateur.encode import encode, fit
from secateur.errors import BadInputError
from secateur.instrument import InstrumentedEngine

CACHE = Path(__file__).resolve().parents[2] / "build" / "cosim"


@pytest.mark.cosim
def test_layers_are_loaded_while_others_compute(tmp_path: Path) -> None:
    """The bits of the whole network, and every cycle of a load that is hidden or not."""
    network = random_network(1, [80, 60, 20], codebook=True)
    layers = one_by_one(network)
    spec = fit(layers[0], pes=4)
    with pytest.raises(
        BadInputError,
        match=r"^the weights need 282 words of a PE and the engine has 256; prune more or use "
        r"more PEs or set weight_depth to 512$",
    ):
        encode(network, spec)
    programs = [encode(layer, spec) for layer in layers]
    design = InstrumentedEngine(spec, layers=1)
    executable = build_fast(design, folder=tmp_path, cache=CACHE)

    x = random_inputs(2, network, 16)
    activations = network.activations(x)
    hidden = {}
    for batch in (1, 2, 8):
        steps = run_streamed(executable, design, network, x, batch=batch, folder=tmp_path)
        assert [step.layer for step in steps] == [0, 1] * (len(x) // batch)
        assert np.array_equal(np.concatenate([step.y for step in steps[1::2]]), network.compute(x))
        for number, step in enumerate(steps):
            first = number // 2 * batch
            fed = activations[step.layer][first : first + batch]
            ends = followed(programs[step.layer], layers[step.layer], fed)
            # A cycle later the engine knows that it is done.
            assert step.computing == ends[-1] + 1
            assert step.loading == load_cycles(programs[1 - step.layer])
            # Both are offered in the same cycle, and x may begin a cycle after the image.
            assert step.waiting == max(0, step.loading - step.computing - 2)
            # At least the accumulators of all jobs are cleared, and the codebooks copied.
            codes = spec.layer_depth << spec.codebook_bits
            assert step.changing >= max(spec.row_depth * spec.jobs, codes)
        loading, waiting = (sum(getattr(s, at) for s in steps) for at in ("loading", "waiting"))
        hidden[batch] = 1 - waiting / loading
    assert 0 < hidden[1] < hidden[2] < hidden[8]
    # The smaller layer's load is all hidden behind eight inputs.
    assert [step.waiting == 0 for step in steps] == [True, False] * 2
