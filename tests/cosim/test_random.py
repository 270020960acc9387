"""Random programs, resets and flipped bits on the Verilog of engines of several kinds."""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from secateur.bench.cover import ENGINES, RESETS, cover
from secateur.bench.fast import build_fast
from secateur.bench.fast_bursts import Burst, run_bursts
from secateur.bench.flips import flipped, may_differ
from secateur.bench.random_programs import random_case
from secateur.bench.resets import run_resets
from secateur.coverage.covered import CoveredEngine
from secateur.coverage.points import POINTS
from secateur.errors import CheckFailedError
from secateur.format import LoadError, Section
from secateur.image import read_image
from secateur.network import Network
from secateur.reference import Reference

CACHE = Path(__file__).resolve().parents[2] / "build" / "cosim"


@pytest.mark.cosim
def test_every_point_is_covered(tmp_path: Path) -> None:
    """Every output is the network's, also behind a reset in any cycle, and nothing was missed."""
    coverage = cover(tmp_path, CACHE)
    assert coverage.missed == []
    assert [*coverage.cycles] == [*POINTS]
    assert (coverage.programs, coverage.inputs) == (36 * 6, 36 * 6 * 8)
    assert coverage.outputs > 10_000
    assert coverage.resets == RESETS * len(ENGINES) == 504


@pytest.mark.cosim
def test_what_is_wrong_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An output that is not the network's; one behind a reset; a program that reset brought."""
    spec = ENGINES["1x1 direct"]
    design = CoveredEngine(spec)
    executable = build_fast(design, folder=tmp_path, cache=CACHE)
    compute = Network.compute
    monkeypatch.setattr("secateur.bench.cover.ENGINES", {"1x1 direct": spec})
    monkeypatch.setattr("secateur.bench.cover.THEMES", {"rows": ""})
    with monkeypatch.context() as patch:
        patch.setattr(Network, "compute", lambda network, x: compute(network, x) + 1)
        with pytest.raises(
            CheckFailedError,
            match=r"^engine 1x1 direct, seed 0, program '\w+': output 0 of input 0 is (-?\d+) "
            r"instead of (-?\d+), and \d+ more differ$",
        ):
            cover(tmp_path, CACHE)
        with pytest.raises(
            CheckFailedError, match=r"^reset 0 in cycle \d+: an output behind it is wrong$"
        ):
            run_resets(executable, design, count=2, seed=0, folder=tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(
            "secateur.bench.resets.run_bursts",
            lambda *given, **named: [
                replace(run, program=run.program ^ (at == 3))
                for at, run in enumerate(run_bursts(*given, **named))
            ],
        )
        with pytest.raises(
            CheckFailedError, match=r"^reset 1 in cycle \d+: the program in use is 0x[0-9a-f]+$"
        ):
            run_resets(executable, design, count=2, seed=0, folder=tmp_path)


@pytest.mark.cosim
@pytest.mark.parametrize("engine", ["2x2 codebook", "3x2 direct"])
def test_a_flipped_bit_changes_what_depends_on_it(engine: str, tmp_path: Path) -> None:
    """The engine runs on with an altered entry, and then with the entry as it should be."""
    spec = ENGINES[engine]
    design = CoveredEngine(spec)
    executable = build_fast(design, folder=tmp_path, cache=CACHE)
    rng = np.random.default_rng(1)
    outputs: Counter[str] = Counter()
    for seed, theme in enumerate(("any", "rows", "hidden", "layers", "tall", "weights")):
        case = random_case(spec, theme, seed, count=6)
        program, want = case.program, case.network.compute(case.x)
        contents = read_image(spec, program.image)
        places = [
            (pe, address)
            for pe in range(spec.pes)
            for address in range(contents[Section.WEIGHTS, pe]["entry"].size)
        ]
        bits = [
            (*places[rng.integers(len(places))], int(rng.integers(spec.entry_width)))
            for _ in range(20)
        ]
        bursts = [Burst(program=program, x=case.x[:0], image=program.image)]
        for pe, address, bit in bits:
            altered = flipped(program, pe=pe, address=address, bit=bit)
            bursts.append(Burst(program=program, x=case.x, image=altered.image))
            bursts.append(Burst(program=altered, x=case.x, image=program.image))
        runs = run_bursts(executable, design, bursts, folder=tmp_path)
        for (pe, address, bit), burst, before, run in zip(
            bits, bursts[2::2], runs[1::2], runs[2::2], strict=True
        ):
            what = f"{theme}: PE {pe}, entry {address}, bit {bit}"
            np.testing.assert_array_equal(before.y, want, err_msg=f"before {what}")
            may = may_differ(program, pe=pe, address=address, bit=bit)
            np.testing.assert_array_equal(run.y[:, ~may], want[:, ~may], err_msg=what)
            if bit < spec.code_widths[0]:  # another weight, which the golden model knows
                reference = Reference(spec)
                assert reference.load(burst.program.image) == LoadError.NONE
                with contextlib.suppress(OverflowError):
                    words = reference.infer(program.arrange(case.x))
                    np.testing.assert_array_equal(run.y, program.restore(words), err_msg=what)
                    outputs["known"] += 1
            outputs["may"] += int(may.sum())
            outputs["may not"] += int((~may).sum())
            outputs["differ"] += int((run.y != want).any(axis=0).sum())
    assert outputs["known"] > 40
    assert outputs["differ"] > 20
    assert outputs["may not"] > outputs["may"] > outputs["differ"]
