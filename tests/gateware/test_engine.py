# amaranth: UnusedElaboratable=no
"""The engine against Network.compute and Reference, in the Amaranth simulator."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from secateur.bench.hostile import HOSTILE
from secateur.bench.networks import random_inputs, random_network
from secateur.bench.session import (
    Pair,
    Session,
    answers,
    check,
    delivered,
    load_payloads,
    pairs,
    session,
    x_payloads,
)
from secateur.bench.stream import STALLS, run
from secateur.bench.streamed import load_cycles
from secateur.encode import encode, fit
from secateur.engine import EngineSpec
from secateur.errors import BadInputError
from secateur.fixed import NumberFormat, Requant
from secateur.format import LoadError, Section, memories
from secateur.gateware.engine import Engine
from secateur.image import read_image, write_image
from secateur.network import Layer, Network
from secateur.program import Program
from secateur.reference import Reference
from secateur.technology import PORTABLE

LENGTHS = [
    (1, 1),
    (1, 1, 1, 1),
    (30, 1),
    (1, 30, 1),
    (5, 9),
    (24, 30, 10),
    (17, 3, 21, 4),
    (8, 8, 8, 8, 8),
    (29, 13),
    (3, 26, 2, 6),
]
#: Streams that pause at random: none, each alone, some together, all.
PAUSES = ("none", "i_load", "i_x", "o_y", "source", "both")


@pytest.mark.parametrize("seed", range(24))
def test_random_networks(seed: int) -> None:
    """Sizes, densities, formats and engines at random; x after x, with random stalls."""
    rng = random.Random(seed)
    lengths = LENGTHS[seed % len(LENGTHS)]
    pes = 16 if seed == 20 else 12 if seed == 11 else (1, 2, 3, 4, 8)[(seed + seed // 5) % 5]
    network = random_network(
        seed,
        lengths,
        density=(0.05, 0.3, 1)[(seed + seed // 10) % 3],
        dead=rng.choice((0, 0.3)),
        codebook=seed % 3 == 1,
        width=rng.choice((4, 8, 8, 12)),
        code_widths=rng.choice(((), (), (2, 6), (5, 3, 4))),
    )
    spec = fit(
        network,
        pes=pes,
        banks=rng.choice((1, 2)),
        index_width=rng.choice((1, 2, 4)),
        queue_depth=rng.choice((4, 11)),
        lanes=rng.choice([lanes for lanes in (1, 2, 4, 8) if pes % lanes == 0]),
        jobs=(jobs := rng.choice((1, 4, 8))),
        accumulator_memories=min(jobs, rng.choice((1, 2))),
    )
    pair = Pair(network, encode(network, spec))
    program = pair.program
    x = random_inputs(seed, network, 4)
    x[-1] = network.layers[0].input.lowest
    x[-2] = network.layers[0].input.highest
    got = run(
        Engine(spec, technology=(PORTABLE, HOSTILE)[seed % 2]),
        {"i_load": load_payloads(program.image), "i_x": x_payloads(program, x)},
        {"o_y": len(x) * program.output_words},
        stalls=STALLS[(seed + seed // 4) % 4],
        seed=seed,
        drain=60,
        patience=5000,
    )
    check(pair, x, got["o_y"])


@pytest.mark.parametrize("lanes", [1, 2])
def test_each_queue_fills_alone(lanes: int) -> None:
    """One PE after the other has all entries of many columns: it holds others up, and ends last."""
    pes, rows_each, block = 4, 8, 20
    groups = pes // lanes
    weights = np.zeros((groups * rows_each, pes * block), dtype=np.int64)
    rng = np.random.default_rng(1)
    for pe in range(pes):
        group, lane = divmod(pe, lanes)
        columns = slice(pe * block, (pe + 1) * block)
        # The other lanes' columns of the same words have a single entry.
        weights[group, columns] = 1
        columns = slice(pe * block + lane, (pe + 1) * block, lanes)
        weights[group::groups, columns] = rng.integers(1, 128, (rows_each, block // lanes))
    kind = NumberFormat(width=8, signed=True)
    layer = Layer(
        name="blocks",
        weights=weights,
        bias=rng.integers(-99, 99, groups * rows_each),
        weight_width=8,
        input=kind,
        requant=Requant(shift=9, output=kind, relu=False),
    )
    network = Network(name="blocks", layers=(layer,))
    spec = fit(network, pes=pes, lanes=lanes, queue_depth=4)
    pair = Pair(network, encode(network, spec))
    # Every group has its own rows.
    order = np.array(pair.program.output_order).reshape(rows_each, groups) % groups
    assert (order == order[0]).all()
    assert sorted(order[0]) == [*range(groups)]
    x = rng.integers(1, 128, (5, pes * block)) * rng.choice((-1, 1), (5, pes * block))
    held_up = 0

    async def body(s: Session) -> None:
        nonlocal held_up
        s.ask(pair.program, x)
        while not s.x.finished or s.status("busy"):
            held_up += s.ctx.get(s.dut.monitor.blocked)
            await s.step()
        await s.settle()
        check(pair, x, s.take())

    session(Engine(spec, program=pair.program), body)
    assert held_up > pes * block // lanes


@pytest.mark.parametrize("banks", [1, 2])
@pytest.mark.parametrize(
    ("stalls", "codebook"), [*((kind, False) for kind in PAUSES), ("both", True)]
)
def test_programs_are_exchanged_between_inputs(stalls: str, banks: int, codebook: bool) -> None:
    """A program arrives while inferences run: each x is computed by one of both, in order."""
    old, new = pairs(2, (6, 7, 4), codebook=codebook, pes=2, banks=banks)
    rng = random.Random(banks)

    async def body(s: Session) -> None:
        s.send(old.program.image)
        await s.until(lambda: s.status("loaded"))
        changed = set()
        for trial in range(2):
            before, after = (old, new) if trial % 2 == 0 else (new, old)
            count = 16
            x = random_inputs(trial, old.network, count)
            s.ask(before.program, x)
            await s.step(rng.randrange(150))
            s.send(after.program.image)
            await s.settle()
            got = delivered(old.program, s.take())
            want = answers(before, x), answers(after, x)
            assert len(got) == count
            splits = [
                k
                for k in range(count + 1)
                if (got[:k] == want[0][:k]).all() and (got[k:] == want[1][k:]).all()
            ]
            assert splits, f"trial {trial}: neither or both in turn"
            changed.add(0 < splits[0] < count)
            assert s.status("program") == after.program.id
            await s.infer(after, x[:3])
        assert True in changed, "no program was exchanged between two inputs of a row"

    session(Engine(old.program.spec), body, stalls=stalls)


def test_programs_of_other_shapes() -> None:
    """Other numbers of layers, inputs and outputs, on an engine that has room for all of them."""
    networks = [
        random_network(seed, lengths, density=0.4)
        for seed, lengths in enumerate([(9, 5, 3), (2, 12), (14, 6, 6, 1), (1, 1)])
    ]
    specs = [fit(network, pes=3).to_dict() for network in networks]
    spec = EngineSpec(**{name: max(fields[name] for fields in specs) for name in specs[0]})
    made = [Pair(network, encode(network, spec)) for network in networks]

    async def body(s: Session) -> None:
        for index in (0, 1, 2, 3, 0, 2, 1):
            pair = made[index]
            s.send(pair.program.image)
            await s.until(lambda pair=pair: s.status("program") == pair.program.id)
            await s.settle()
            assert s.status("input_words") == pair.program.input_words
            assert s.status("output_words") == pair.program.output_words
            await s.infer(pair, random_inputs(index, pair.network, 3))

    session(Engine(spec), body)


@pytest.mark.parametrize("codebook", [False, True])
def test_sections_in_the_other_order(codebook: bool) -> None:
    """The weights first: a later section that reached a PE's memory would spoil them."""
    (pair,) = pairs(1, (6, 7, 4), codebook=codebook, pes=2)
    contents = dict(reversed(read_image(pair.program.spec, pair.program.image).items()))
    assert next(iter(contents))[0] == Section.WEIGHTS
    image = write_image(pair.program.spec, contents)
    turned = Pair(pair.network, replace(pair.program, image=image))

    async def body(s: Session) -> None:
        s.send(image)
        await s.until(lambda: s.status("program") == turned.program.id)
        await s.infer(turned, random_inputs(1, pair.network, 4))

    session(Engine(pair.program.spec), body)


@pytest.mark.parametrize("banks", [1, 2])
def test_refused_image(banks: int) -> None:
    """With two banks the old program answers on; with one it does until the header is accepted."""
    old, new = pairs(2, (5, 4, 3), pes=2, banks=banks)
    image = new.program.image
    spec = old.program.spec
    damaged = [
        b"X" + image[1:],
        image[:4] + b"\x09" + image[5:],
        image[:6] + bytes([image[6] ^ 4]) + image[7:],
        image[:9] + b"\x77" + image[10:],
        image[:11] + b"\xff\xff" + image[13:],
        image[:60] + bytes([image[60] ^ 1]) + image[61:],
        image[:-1] + bytes([image[-1] ^ 1]),
        image[: len(image) // 2],
    ]

    async def body(s: Session) -> None:
        reference = Reference(spec)
        for number, bad in enumerate(damaged):
            s.send(old.program.image)
            reference.load(old.program.image)
            await s.until(lambda: s.status("program") == old.program.id)
            x = random_inputs(number, old.network, 9)
            s.ask(old.program, x)
            # The first two are on their way; the others come while the image does.
            await s.step(12)
            s.send(bad)
            await s.until(lambda: s.load.finished)
            await s.step(200)
            error = reference.load(bad)
            assert s.status("error") == error, f"image {number}"
            assert s.status("program") == (reference.program or 0), f"image {number}"
            assert s.status("loaded") == (reference.program is not None), f"image {number}"
            assert s.status("loading") == (number == len(damaged) - 1)
            if reference.program is not None:
                await s.settle()
                check(old, x, s.take())
            else:
                # What was taken before is answered, by the old program; the rest has to wait.
                done = s.x.taken // old.program.input_words
                assert done < len(x)
                assert s.x.taken % old.program.input_words == 0
                check(old, x[:done], s.take())
                s.send(new.program.image)
                reference.load(new.program.image)
                await s.settle()
                check(new, x[done:], s.take())

    session(Engine(spec), body)


def test_status() -> None:
    """Every field, from reset over load and inference to a second program."""
    first, second = pairs(2, (6, 5, 4), pes=2)
    names = ("loaded", "busy", "loading", "committing", "error", "program")

    async def body(s: Session) -> None:
        def state() -> list[int]:
            return [s.status(name) for name in names]

        assert state() == [0, 0, 0, 0, 0, 0]
        s.ask(first.program, random_inputs(1, first.network, 1))
        await s.step(50)
        assert s.x.taken == 0, "x is taken without a program"
        s.send(first.program.image[:40])
        await s.step(60)
        assert state() == [0, 0, 1, 0, 0, 0]
        s.load.payloads = [*s.load.payloads, *load_payloads(first.program.image)[40:]]
        s.hold_y = True
        await s.step(len(first.program.image) + 100)
        # The inference waits with y.
        assert state() == [1, 1, 0, 0, 0, first.program.id]
        s.send(second.program.image)
        await s.step(len(second.program.image) + 100)
        assert state() == [1, 1, 0, 1, 0, first.program.id]
        s.hold_y = False
        await s.settle()
        assert state() == [1, 0, 0, 0, 0, second.program.id]
        check(first, random_inputs(1, first.network, 1), s.take())
        s.send(b"nonsense!")
        await s.step(30)
        assert state() == [1, 0, 0, 0, LoadError.MAGIC, second.program.id]
        s.send(second.program.image[:1])
        await s.step(3)
        assert state() == [1, 0, 1, 0, 0, second.program.id]

    session(Engine(first.program.spec), body)


def bad_images(program: Program) -> list[bytes]:
    """Images that keep every rule of the loader and are no program that an encoder makes."""
    spec = program.spec
    contents = read_image(spec, program.image)
    table = contents[Section.LAYERS, 0]
    one_row = {**table, "rows_words": np.minimum(table["rows_words"], 1)}
    endless = {**table, "last": np.zeros_like(table["last"])}
    nothing = {name: np.zeros_like(values) for name, values in table.items()}
    kept = [
        write_image(spec, {**contents, (Section.LAYERS, 0): layers})
        for layers in (one_row, endless, nothing)
    ]
    return [*kept, write_image(spec, {}), *(garbage(spec, seed) for seed in range(3))]


def garbage(spec: EngineSpec, seed: int) -> bytes:
    """Fill every memory with bits at random."""
    rng = np.random.default_rng(seed)
    contents = {}
    for kind, memory in memories(spec).items():
        for pe in range(spec.pes if memory.per_pe else 1):
            low = {f.name: -(f.signed << (f.width - 1)) for f in memory.record.fields}
            contents[kind, pe] = {
                f.name: rng.integers(low[f.name], low[f.name] + (1 << f.width), memory.depth)
                for f in memory.record.fields
            }
    return write_image(spec, contents)


@pytest.mark.parametrize("bad", range(7))
@pytest.mark.parametrize("banks", [1, 2])
def test_a_bad_program_leaves_nothing_behind(banks: int, bad: int) -> None:
    """Whatever it did with an x, the program after it gives what it should."""
    networks = (random_network(seed, (6, 9, 5), density=0.7) for seed in range(100))
    # Outputs that tell: many, and neither zero nor saturated.
    network, x = next(
        (network, x)
        for network in networks
        for x in [random_inputs(3, network, 4)]
        if len(np.unique(network.compute(x))) > 10
    )
    good = Pair(network, encode(network, fit(network, pes=2, banks=banks)))

    async def body(s: Session) -> None:
        s.send(good.program.image)
        await s.infer(good, x)
        s.send(bad_images(good.program)[bad])
        await s.settle()
        assert s.status("error") == LoadError.NONE
        assert s.status("program") != good.program.id
        # As many words as this program takes, and a y of any length.
        words = max(1, s.status("input_words"))
        s.x.payloads, s.x.taken = [[127] * good.program.spec.lanes] * words, 0
        await s.settle()
        s.take()
        s.send(good.program.image)
        await s.settle()
        await s.infer(good, x)

    session(Engine(good.program.spec), body)


def test_the_shape_is_known_before_a_program_is_in_use() -> None:
    """While `loaded` and not `committing`, the lengths in the status are those of the program."""
    first, second = [
        Pair(network, encode(network, EngineSpec(pes=2, lanes=2, row_depth=16)))
        for network in (
            random_network(seed, lengths, density=1.0)
            for seed, lengths in enumerate([(6, 5, 4), (13, 7)])
        )
    ]

    async def body(s: Session) -> None:
        for pair in (first, second, first):
            s.send(pair.program.image)
            lengths = pair.program.input_words, pair.program.output_words
            await s.until(lambda: s.status("program") == pair.program.id)  # noqa: B023
            known = 0
            for _ in range(40):
                if s.status("loaded") and not s.status("committing"):
                    assert (s.status("input_words"), s.status("output_words")) == lengths
                    known += 1
                await s.step()
            assert known > 0
        await s.reset()
        await s.until(lambda: not s.status("committing"))
        assert (s.status("input_words"), s.status("output_words")) == lengths

    session(Engine(first.program.spec), body)


def test_a_partly_taken_x_delays_a_program() -> None:
    """The input that has begun belongs to the old program, however late its last word comes."""
    old, new = pairs(2, (6, 5, 4), pes=2)
    x = random_inputs(3, old.network, 3)

    async def body(s: Session) -> None:
        s.send(old.program.image)
        await s.until(lambda: s.status("loaded"))
        await s.step(10)
        words = x_payloads(old.program, x)
        s.ask(old.program, x)
        s.x.payloads = words[:2]
        s.send(new.program.image)
        await s.step(len(new.program.image) + 60)
        assert (s.status("committing"), s.status("busy"), s.x.taken) == (1, 1, 2)
        s.x.payloads = words
        await s.settle()
        got = s.take()
        check(old, x[:1], got[: old.program.output_words])
        check(new, x[1:], got[old.program.output_words :])

    session(Engine(old.program.spec), body)


def test_a_program_comes_as_an_x_begins() -> None:
    """Whichever is first, each x is computed by one program, and the next one too."""
    known = pairs(2, (6, 5), pes=2)
    x = random_inputs(3, known[0].network, 3)[1:]
    by_new = []

    async def body(s: Session) -> None:
        s.send(known[0].program.image)
        await s.settle()
        before = s.cycle
        s.send(known[1].program.image)
        await s.until(lambda: s.status("committing"))
        more = s.cycle - before - len(known[1].program.image)
        await s.settle()
        for offset in range(-5, 6):
            old, new = known[:: -1 if s.status("program") == known[1].program.id else 1]
            s.send(new.program.image)
            await s.step(len(new.program.image) + more + offset)
            s.ask(old.program, x)
            await s.settle()
            got = delivered(old.program, s.take())
            was, now = answers(old, x), answers(new, x)
            assert (got[1] == now[1]).all() or (got == was).all()
            assert (got[0] == was[0]).all() or (got == now).all()
            by_new.append((got[0] == now[0]).all())

    session(Engine(known[0].program.spec), body)
    assert {*by_new} == {True, False}
    assert by_new == sorted(by_new)


@pytest.mark.parametrize("jobs", [1, 2, 4, 8])
@pytest.mark.parametrize("lengths", [(6, 4), (6, 5, 4), (6, 5, 4, 7)])
def test_y_held_up(lengths: tuple[int, ...], jobs: int) -> None:
    """Inferences wait with y and for their tags, inputs in the memory; no other is taken."""
    pair = pairs(1, lengths, pes=2, jobs=jobs)[0]
    spec = pair.program.spec
    words = jobs * pair.program.input_words + spec.activation_depth
    x = random_inputs(1, pair.network, words // pair.program.input_words + 3)

    async def body(s: Session) -> None:
        s.hold_y = True
        s.ask(pair.program, x)
        await s.step(600)
        assert s.x.taken == words
        assert s.ctx.get(s.dut.monitor.tag_busy) == (1 << jobs) - 1
        s.hold_y = False
        await s.settle()
        check(pair, x, s.take())

    session(Engine(pair.program.spec, program=pair.program), body)


@pytest.mark.parametrize("banks", [1, 2])
@pytest.mark.parametrize("codebook", [False, True], ids=["direct", "codebook"])
def test_initial_contents(banks: int, codebook: bool) -> None:
    """A program that is there from the start answers, also after reset, until another is loaded."""
    first, second = pairs(2, (7, 6, 5), pes=4, banks=banks, codebook=codebook)

    async def body(s: Session) -> None:
        assert s.status("loaded")
        await s.until(lambda: not s.status("committing"))
        assert s.status("program") == first.program.id
        await s.infer(first, random_inputs(1, first.network, 3))
        await s.reset()
        assert s.status("program") == first.program.id
        await s.infer(first, random_inputs(2, first.network, 3))
        s.send(second.program.image)
        await s.until(lambda: s.status("program") == second.program.id)
        await s.infer(second, random_inputs(3, first.network, 3))
        await s.reset(3)
        assert s.status("program") == second.program.id
        await s.infer(second, random_inputs(4, first.network, 3))

    session(Engine(first.program.spec, program=first.program), body)


def test_rejects_a_program_for_another_engine() -> None:
    program = pairs(1, (3, 2), pes=1)[0].program
    spec = EngineSpec(**(program.spec.to_dict() | {"queue_depth": 16}))
    with pytest.raises(
        BadInputError,
        match=r"^the program was encoded for another engine; encode it for this one$",
    ):
        Engine(spec, program=program)


# Reset.


async def after_reset(s: Session, known: list[Pair], number: int) -> None:
    """Check that the program that status names answers; load one if there is none."""
    assert not s.status("busy"), "an input survives reset"
    assert not s.status("loading"), "an image survives reset"
    # The program in use is prepared again; an image that waited to be is forgotten.
    await s.until(lambda: not s.status("committing"), 200)
    if not s.status("loaded"):
        assert s.spec.banks == 1, "reset forgets the program"
        s.send(known[number % 2].program.image)
        await s.until(lambda: s.status("loaded") and not s.status("committing"))
    pair = next(pair for pair in known if pair.program.id == s.status("program"))
    await s.infer(pair, random_inputs(number, pair.network, 2)[::-1])


@pytest.mark.parametrize("codebook", [False, True], ids=["direct", "codebook"])
def test_reset_in_every_cycle_of_an_inference(codebook: bool) -> None:
    """Nothing of the inputs before is left, in whatever they were interrupted."""
    known = pairs(1, (5, 4, 3), pes=2, codebook=codebook)
    pair = known[0]
    states = set()
    under_way = set()
    cut_y = set()

    async def body(s: Session) -> None:
        at = 0
        finished = False
        while not finished:
            s.hold_y = at % 3 == 1
            x = random_inputs(at, pair.network, 3)[1:] | 1 & pair.network.layers[0].input.highest
            s.ask(pair.program, x)
            await s.step(at)
            finished = s.x.finished and not s.status("busy")
            monitor = s.ctx.get(s.dut.monitor)
            states.update(name for name in ("walking", "waiting", "standing") if monitor[name])
            under_way.add(monitor.tag_busy)
            cut_y.add(len(s.y.got) % pair.program.output_words != 0)
            await s.reset(1 + at % 2)
            s.hold_y = False
            await after_reset(s, known, at)
            at += 1
        assert at > 60

    session(Engine(pair.program.spec, program=pair.program), body)
    assert states >= {"walking", "standing", "waiting"}
    assert under_way == {0, 1, 2, 3}
    assert cut_y == {True, False}


@pytest.mark.parametrize("codebook", [False, True], ids=["direct", "codebook"])
@pytest.mark.parametrize("banks", [1, 2])
def test_reset_while_a_program_is_loaded(banks: int, codebook: bool) -> None:
    """The program in use is the old one or the new one, and never half of each."""
    known = pairs(2, (4, 3, 2), pes=2, banks=banks, codebook=codebook)
    size = len(known[0].program.image)
    seen = set()

    async def body(s: Session) -> None:
        s.send(known[0].program.image)
        await s.until(lambda: s.status("loaded"))
        before = s.status("program")
        # Exchanged at once, cycle by cycle; exchanged between inputs, or waiting for y, in steps.
        cases = [(load_cycles(known[0].program) + at, False) for at in range(20)]
        cases += [(at, True) for at in (*range(0, size, 18), *range(size, size + 260, 13))]
        for number, (at, busy) in enumerate(cases):
            new = next(pair for pair in known if pair.program.id != before)
            s.send(new.program.image)
            s.ask(new.program, random_inputs(number, new.network, 40 * busy))
            s.hold_y = number % 5 == 3
            await s.step(at)
            state = [name for name in ("loading", "committing", "loaded") if s.status(name)]
            await s.reset()
            s.hold_y = False
            now = s.status("program")
            seen.add((*state, "old" if now == before else "new" if now else "none"))
            await after_reset(s, known, number)
            before = s.status("program")

    session(Engine(known[0].program.spec), body)
    assert {"old", "new"} <= {state[-1] for state in seen}
    if banks == 2:
        assert ("committing", "loaded", "old") in seen
        assert ("loading", "loaded", "old") in seen
    else:
        assert ("loading", "none") in seen


# Everything at once.


async def exchange(s: Session, rng: random.Random, known: list[Pair], number: int) -> None:
    """Ask for inferences with the program in use, and for the other program somewhere between."""
    before, after = known if s.status("program") == known[0].program.id else known[::-1]
    x = random_inputs(number, before.network, rng.randrange(1, 8))
    s.ask(before.program, x)
    await s.step(rng.randrange(200))
    s.send(after.program.image)
    await s.settle()
    got = delivered(before.program, s.take())
    assert len(got) == len(x)
    old, new = ((got == answers(pair, x)).all(axis=(1, 2)) for pair in (before, after))
    assert any(old[:k].all() and new[k:].all() for k in range(len(x) + 1)), "neither, or both"
    assert s.status("program") == after.program.id


#: PEs, lanes, jobs, memories of accumulators, codebook, bits of codes, banks, lengths.
ENGINES = [
    (1, 1, 2, 1, False, (), 2, (5, 4)),
    (2, 1, 4, 2, False, (3, 6), 1, (6, 7, 3)),
    (2, 2, 2, 2, True, (2, 4), 2, (4, 9, 2, 5)),
    (3, 1, 4, 1, True, (), 1, (7, 5)),
    (4, 4, 2, 1, False, (), 2, (9, 6, 6, 6, 3)),
    (4, 2, 4, 2, False, (2,), 2, (1, 8, 2)),
    (4, 1, 2, 2, True, (1, 3), 1, (5, 8, 5)),
    (6, 2, 4, 1, False, (4, 8), 2, (6, 13)),
    (8, 8, 2, 2, False, (), 1, (10, 4, 9)),
    (8, 4, 4, 1, True, (), 2, (12, 17, 6)),
    (12, 4, 2, 1, False, (5, 2), 2, (8, 12, 5)),
    (16, 4, 4, 2, True, (2, 3, 4), 2, (8, 12, 9, 3)),
    (2, 1, 1, 1, True, (2, 3), 1, (6, 7, 3)),
    (4, 4, 1, 1, False, (), 2, (9, 6, 6, 6, 3)),
]


@pytest.mark.parametrize("index", range(len(ENGINES)))
def test_anything_at_any_time(index: int) -> None:
    """Inferences, other programs and resets, one after the other at random, under stalls."""
    pes, lanes, jobs, sums, codebook, code_widths, banks, lengths = ENGINES[index]
    rng = random.Random(index)
    known = pairs(
        2,
        lengths,
        seed=100 * index,
        codebook=codebook,
        code_widths=code_widths,
        pes=pes,
        lanes=lanes,
        jobs=jobs,
        accumulator_memories=sums,
        banks=banks,
        queue_depth=rng.choice((4, 11)),
    )
    most = 0

    async def body(s: Session) -> None:
        nonlocal most
        s.send(known[0].program.image)
        await s.until(lambda: s.status("loaded"))
        for number in range(5 if pes < 8 else 2):
            await exchange(s, rng, known, number)
            pair = next(pair for pair in known if pair.program.id == s.status("program"))
            s.ask(pair.program, random_inputs(number, pair.network, 9))
            s.hold_y = number % 3 == 2
            for _ in range(rng.randrange(150)):
                most = max(most, s.ctx.get(s.dut.monitor.tag_busy).bit_count())
                await s.step()
            if rng.random() < 0.5:
                s.send(known[number % 2].program.image)
                await s.step(rng.randrange(len(pair.program.image)))
            await s.reset(rng.randrange(1, 4))
            s.hold_y = False
            await after_reset(s, known, number)

    engine = Engine(known[0].program.spec, technology=(PORTABLE, HOSTILE)[index % 2])
    session(engine, body, stalls=PAUSES[index % len(PAUSES)])
    assert most >= min(jobs, 2), "no two jobs were under way at once"
