# amaranth: UnusedElaboratable=no
"""The checker among PEs that the tests play, and in an engine whose weights are flipped."""

from __future__ import annotations

import random
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from amaranth.hdl import Module, Shape, signed
from amaranth.sim import Simulator

from secateur.bench.networks import random_inputs
from secateur.bench.session import Pair, Session, answers, check, delivered, pairs, session
from secateur.checksum import checksums
from secateur.engine import EngineSpec
from secateur.format import Section, memories
from secateur.gateware.check import Checker, cycles_per_entry
from secateur.gateware.control import Control
from secateur.gateware.engine import Engine
from secateur.image import read_image
from secateur.technology import PORTABLE, Memory

if TYPE_CHECKING:
    from secateur.program import Program

#: PEs and bits of an entry.
SIZES = [(1, 3), (2, 8), (4, 9), (5, 16), (17, 12)]


def zeros_behind(value: int, width: int) -> bytes:
    """Give the bytes of an entry in an image."""
    return value.to_bytes(-(-width // 8), "little")


@pytest.mark.parametrize("late", [False, True], ids=["at once", "late"])
@pytest.mark.parametrize(("pes", "width"), SIZES)
def test_sums(pes: int, width: int, late: bool) -> None:
    """Any counts, of any PE: each answer is zlib's, and nothing is passed but what is read."""
    widths = {"weight_width": width - 1, "index_width": 1, "entry_width": width}
    spec = EngineSpec(pes=pes, lanes=1, weight_depth=8, **widths)
    rng = random.Random(width)
    memory = [[rng.getrandbits(width) for _ in range(8)] for _ in range(pes)]
    asked = [(pes, 3), (pes - 1, 0), (255, 16)]
    asked += [(rng.randrange(pes), count) for count in (1, 8, 2, 8, 11, 3)]
    asked += [(0, 16 + 3)]  # modulo twice the depth
    dut = Checker(spec)

    async def bench(ctx: Any) -> None:
        for pe, count in asked:
            passed, cycles = 0, 0
            coming: list[tuple[int, int]] = []  # when, and from where
            ctx.set(dut.i.payload, {"pe": pe, "count": count})
            ctx.set(dut.i.valid, 1)
            wait = rng.randrange(1, 30) if late else 0
            for _ in range(wait):
                await ctx.tick()
                assert ctx.get(dut.wanted)
                assert not ctx.get(dut.scan)
            ctx.set(dut.granted, 1)
            while not ctx.get(dut.o.valid):
                assert ctx.get(dut.wanted)
                if ctx.get(dut.scan):
                    assert ctx.get(dut.scan_first) == (passed == 0)
                    # As long as the PEs take, or as nobody does.
                    coming.append((cycles + (rng.randrange(9) if late else 8), passed % 8))
                    passed += 1
                there = [address for at, address in coming if at == cycles]
                selected = ctx.get(dut.selected)
                for index in range(pes):
                    entry = memory[index][there[0]] if there else rng.getrandbits(width)
                    ctx.set(dut.entries[index], entry * (selected >> index & 1))
                ctx.set(dut.there, bool(there))
                assert ctx.get(dut.done) == ctx.get(dut.i.ready)
                taken = ctx.get(dut.i.ready)
                await ctx.tick()
                if taken:
                    ctx.set(dut.i.valid, rng.random() < 0.5)
                    ctx.set(dut.granted, 0)
                cycles += 1
                assert cycles < 2000
            assert passed == count % 16
            if not late:
                assert cycles == 2 + passed * cycles_per_entry(spec)
            words = [memory[pe][n % 8] if pe < pes else 0 for n in range(passed)]
            want = zlib.crc32(b"".join(zeros_behind(word, width) for word in words))
            for _ in range(rng.randrange(9)):
                assert (ctx.get(dut.o.valid), ctx.get(dut.o.payload)) == (1, want)
                assert not ctx.get(dut.wanted)
                await ctx.tick()
            assert ctx.get(dut.o.payload) == want
            ctx.set(dut.o.ready, 1)
            await ctx.tick()
            ctx.set(dut.o.ready, 0)
            assert not ctx.get(dut.o.valid)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def test_checksums() -> None:
    """Of what the image has, PE by PE, and of nothing behind it."""
    program = pairs(1, (6, 7, 4), pes=4)[0].program
    contents = read_image(program.spec, program.image)
    width = program.spec.entry_width
    assert width > 8
    sums = checksums(program)
    assert [one.pe for one in sums] == [0, 1, 2, 3]
    for one in sums:
        entries = contents[Section.WEIGHTS, one.pe]["entry"]
        assert one.count == len(entries) > 0
        assert one.crc == zlib.crc32(b"".join(zeros_behind(int(word), width) for word in entries))


class Reachable(Memory):
    """A memory whose words the tests can change; those of the latest engine, by their shapes."""

    made: ClassVar[list[tuple[Any, Any]]] = []

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        self.made.append((self.shape, m.submodules.memory.data))
        return m


def checked(spec: EngineSpec, program: Program | None = None) -> Engine:
    """Make an engine whose weights can be checked, and whose memories can be reached."""
    Reachable.made.clear()
    technology = replace(PORTABLE, name="reachable", memory=Reachable, large_memory=Reachable)
    return Engine(spec, program=program, checked=True, technology=technology)


def weights_of(spec: EngineSpec) -> list[Any]:
    """Give the weight memories, PE by PE."""
    return [words for shape, words in Reachable.made if shape is spec.entry_width]


def sums_of(spec: EngineSpec) -> list[Any]:
    """Give the memories of accumulators."""
    kind = signed(spec.accumulator_width)
    return [words for shape, words in Reachable.made if isinstance(shape, Shape) and shape == kind]


def ask(s: Session, pe: int, count: int) -> None:
    """Ask for a check."""
    s.ctx.set(s.dut.i_check.payload, {"pe": pe, "count": count})
    s.ctx.set(s.dut.i_check.valid, 1)


async def answer(s: Session) -> int:
    """Wait for its answer, while the streams go on."""
    for _ in range(3000):
        if s.ctx.get(s.dut.o_crc.valid):
            crc = s.ctx.get(s.dut.o_crc.payload)
            s.ctx.set(s.dut.o_crc.ready, 1)
            await s.step()
            s.ctx.set(s.dut.o_crc.ready, 0)
            return crc
        taken = s.ctx.get(s.dut.i_check.ready)
        await s.step()
        if taken:
            s.ctx.set(s.dut.i_check.valid, 0)
    raise AssertionError("the check has no end")


async def wrong(s: Session, pair: Pair) -> list[int]:
    """List the PEs whose weights are not those of the program."""
    found = []
    for one in checksums(pair.program):
        ask(s, one.pe, one.count)
        if await answer(s) != one.crc:
            found.append(one.pe)
    return found


#: PEs, lanes, jobs, memories of accumulators, codebook, bits of codes, banks, lengths.
ENGINES = [
    (1, 1, 2, 1, False, (), 2, (5, 4)),
    (4, 2, 4, 2, True, (2, 4), 1, (4, 9, 5)),
    (5, 1, 1, 1, False, (3, 6), 1, (6, 7, 3)),
    (6, 2, 2, 2, False, (), 2, (5, 7)),
]


@pytest.mark.parametrize("index", range(len(ENGINES)))
def test_a_flipped_bit_is_found(index: int) -> None:
    """Of any PE, entry and place; nothing is found before, between and after."""
    pes, lanes, jobs, sums, codebook, code_widths, banks, lengths = ENGINES[index]
    pair = pairs(
        1,
        lengths,
        seed=index,
        codebook=codebook,
        code_widths=code_widths,
        pes=pes,
        lanes=lanes,
        jobs=jobs,
        accumulator_memories=sums,
        banks=banks,
    )[0]
    program, spec = pair.program, pair.program.spec
    bank = (banks - 1) * spec.weight_depth  # the one that the first program is loaded into
    rng = random.Random(index)
    x = random_inputs(index, pair.network, 2)

    async def body(s: Session) -> None:
        s.send(program.image)
        await s.until(lambda: s.status("loaded"))
        await s.infer(pair, x)
        assert await wrong(s, pair) == []
        for _ in range(4):
            one = rng.choice(checksums(program))
            words = weights_of(spec)[one.pe]
            address = bank + rng.randrange(one.count)
            word = s.ctx.get(words[address])
            s.ctx.set(words[address], word ^ 1 << rng.randrange(spec.entry_width))
            assert await wrong(s, pair) == [one.pe]
            s.ctx.set(words[address], word)
            await s.infer(pair, x)
        assert await wrong(s, pair) == []

    session(checked(spec), body)
    assert len(weights_of(spec)) == pes


@pytest.mark.parametrize(("jobs", "memories"), [(1, 1), (2, 1), (4, 2)])
def test_no_sum_changes(jobs: int, memories: int) -> None:
    """Not even those that a program has left where it drains nothing."""
    pair = pairs(1, (6, 7, 4), pes=2, jobs=jobs, accumulator_memories=memories)[0]
    spec = pair.program.spec

    def sums(s: Session) -> list[int]:
        return [s.ctx.get(words[n]) for words in sums_of(spec) for n in range(len(words.init))]

    async def body(s: Session) -> None:
        await s.until(lambda: s.status("loaded") and not s.status("committing"))
        await s.infer(pair, random_inputs(1, pair.network, 3))
        rng = random.Random(1)
        for words in sums_of(spec):
            for n in range(len(words.init)):
                s.ctx.set(words[n], rng.randrange(-99, 99))
        before = sums(s)
        assert len(before) == 2 * jobs * spec.row_depth
        assert await wrong(s, pair) == []
        await s.step(20)
        assert sums(s) == before

    session(checked(spec, pair.program), body)


@pytest.mark.parametrize("stalls", ["none", "both"])
def test_a_check_waits_and_x_goes_on(stalls: str) -> None:
    """Asked for at any time among inferences: all outputs are right, and so are the sums."""
    pair = pairs(1, (6, 7, 4), pes=4, jobs=2)[0]
    one = checksums(pair.program)[2]
    rng = random.Random(1)
    amid = 0

    async def body(s: Session) -> None:
        nonlocal amid
        for trial in range(6):
            x = random_inputs(trial, pair.network, 12)
            s.ask(pair.program, x)
            await s.step(rng.randrange(60, 200))
            waits = s.status("busy")
            ask(s, one.pe, one.count)
            assert await answer(s) == one.crc
            amid += bool(waits and not s.x.finished)
            await s.settle()
            check(pair, x, s.take())

    session(checked(pair.program.spec, pair.program), body, stalls=stalls)
    assert amid >= 4


def test_nothing_is_passed_while_an_inference_runs() -> None:
    """The first column of a check comes when the last output has gone, and the next x behind."""
    pair = pairs(1, (6, 7, 4), pes=2)[0]
    one = checksums(pair.program)[0]
    x = random_inputs(1, pair.network, 4)

    async def body(s: Session) -> None:
        s.hold_y = True
        s.ask(pair.program, x)
        await s.until(lambda: s.ctx.get(s.dut.o_y.valid))
        ask(s, one.pe, one.count)
        for _ in range(300):
            assert not s.ctx.get(s.dut.o_crc.valid)
            assert not s.ctx.get(s.dut.i_check.ready)
            await s.step()
        s.hold_y = False
        assert await answer(s) == one.crc
        await s.settle()
        check(pair, x, s.take())

    session(checked(pair.program.spec, pair.program), body)


@pytest.mark.parametrize("banks", [1, 2])
def test_after_other_programs(banks: int) -> None:
    """What a longer program has left behind the entries of a shorter one does not count."""
    long, short = sorted(
        pairs(2, (6, 7, 4), pes=2, banks=banks),
        key=lambda pair: -checksums(pair.program)[0].count,
    )
    ends = [checksums(pair.program)[0].count for pair in (long, short)]
    assert ends[0] > ends[1]
    spec = long.program.spec

    async def body(s: Session) -> None:
        ask(s, 0, 1)
        await s.step(50)
        assert not s.ctx.get(s.dut.i_check.ready), "there is no program"
        s.send(short.program.image)
        await answer(s)
        for pair in (short, long, short, long, long, short, short):
            s.send(pair.program.image)
            await s.settle()
            assert s.status("program") == pair.program.id
            assert await wrong(s, pair) == []
            await s.infer(pair, random_inputs(1, pair.network, 2))
        for bank in range(banks):
            assert s.ctx.get(weights_of(spec)[0][bank * spec.weight_depth + ends[1]]), "not older"

    session(checked(spec), body)


def test_an_image_is_complete_as_a_check_ends() -> None:
    """In any cycle about it, with an x that waits: the sum is the old program's, all is right.

    The first of two x finds the old program or the new one, and the second none that is older.
    """
    known = pairs(2, (6, 5), pes=2)
    x = random_inputs(3, known[0].network, 2)
    found = set()

    async def body(s: Session) -> None:
        s.send(known[0].program.image)
        await s.settle()
        for offset in range(-26, -9):  # the loader pauses for so long while an image comes
            old, new = known[:: -1 if s.status("program") == known[1].program.id else 1]
            one = checksums(old.program)[1]
            ahead = len(new.program.image) - one.count * cycles_per_entry(old.program.spec)
            if ahead > 0:
                s.send(new.program.image)
                await s.step(ahead + offset)
            ask(s, one.pe, one.count)
            if ahead <= 0:
                await s.step(offset - ahead)
                s.send(new.program.image)
            else:
                await s.step(2)  # x is shut by now
            s.ask(old.program, x)
            assert await answer(s) == one.crc
            await s.settle()
            got = delivered(old.program, s.take())
            was, now = answers(old, x), answers(new, x)
            assert (was != now).any(axis=1).all()
            kinds = [(one == was[n]).all() + 2 * (one == now[n]).all() for n, one in enumerate(got)]
            found.add(tuple(map(int, kinds)))
            assert s.status("program") == new.program.id
            assert await wrong(s, new) == []

    session(checked(known[0].program.spec), body)
    assert found == {(1, 1), (1, 2), (2, 2)}


def test_a_program_that_is_given_up() -> None:
    """With one bank, an image waits for a check that came before it, and a check for the image."""
    old, new = sorted(pairs(2, (6, 5), pes=2, banks=1), key=lambda p: checksums(p.program)[1].count)
    one = checksums(old.program)[1]
    assert one.count <= checksums(new.program)[1].count
    words = read_image(new.program.spec, new.program.image)[Section.WEIGHTS, one.pe]["entry"]
    record = memories(new.program.spec)[Section.WEIGHTS].record
    later = zlib.crc32(record.pack({"entry": words[: one.count]}).tobytes())
    assert later != one.crc
    found = []

    async def body(s: Session) -> None:
        for offset in range(0, 20, 3):
            s.send(old.program.image)
            await s.settle()
            s.send(new.program.image)
            await s.step(offset)
            ask(s, one.pe, one.count)
            found.append(await answer(s))
            await s.settle()
            assert await wrong(s, new) == []
            await s.infer(new, random_inputs(offset, new.network, 1))

    session(checked(old.program.spec), body)
    assert {*found} == {one.crc, later}
    assert found == sorted(found, key=lambda crc: crc == later)


def test_reset_amid_a_check() -> None:
    """Whenever it comes, no answer does; the next check and the next inference are right."""
    pair = pairs(1, (6, 7, 4), pes=2)[0]
    one = checksums(pair.program)[1]
    rng = random.Random(1)
    amid = 0

    async def body(s: Session) -> None:
        nonlocal amid
        await s.until(lambda: not s.status("committing"))
        for trial in range(8):
            ask(s, one.pe, one.count)
            await s.step(rng.randrange(4, 5 + one.count * cycles_per_entry(pair.program.spec)))
            amid += not s.ctx.get(s.dut.o_crc.valid)
            s.ctx.set(s.dut.i_check.valid, 0)
            await s.reset(rng.randrange(1, 3))
            for _ in range(60):
                assert not s.ctx.get(s.dut.o_crc.valid)
                await s.step()
            if trial % 2:
                await s.infer(pair, random_inputs(trial, pair.network, 1))
            assert await wrong(s, pair) == []
        await s.infer(pair, random_inputs(9, pair.network, 2))

    session(checked(pair.program.spec, pair.program), body)
    assert amid >= 6


@pytest.mark.parametrize("banks", [1, 2])
def test_no_x_begins_between_check_and_program(banks: int) -> None:
    """An image that is complete in any cycle about the end of a check is used as without one."""
    spec = EngineSpec(pes=1, lanes=1, row_depth=2, layer_depth=2, jobs=1, banks=banks)

    async def bench(ctx: Any) -> None:
        offered = dut.commit if banks == 2 else dut.begin
        taken = dut.committed if banks == 2 else dut.begun
        for offset in range(-4, 9):
            for _ in range(50):
                await ctx.tick()
            assert ctx.get(dut.x_open)
            ctx.set(dut.check, 1)
            opens = [True]
            while not ctx.get(dut.checking):
                assert len(opens) < 9
                opens.append(bool(ctx.get(dut.x_open)))
                await ctx.tick()
            assert not any(opens[-2:]), "an x may have begun"
            granted, shut = 0, False
            for cycle in range(-6, 40):
                ctx.set(dut.checked, cycle == 0)
                ctx.set(dut.check, cycle <= 0)
                if cycle == offset:
                    ctx.set(offered, 1)
                assert ctx.get(dut.checking) == (cycle <= 0)
                takes = ctx.get(offered) and ctx.get(taken)
                # Also what is open now lets an x begin, a cycle later.
                shut = bool(shut or takes)
                assert not (shut and ctx.get(dut.x_open)), f"offset {offset}, cycle {cycle}"
                if takes:
                    assert cycle > 0
                    granted += 1
                    await ctx.tick()
                    ctx.set(offered, 0)
                else:
                    await ctx.tick()
                shut = shut and not ctx.get(dut.ready)
                if cycle <= 0:
                    assert not ctx.get(dut.x_open)
            assert granted == 1
            if banks == 1:  # the image is complete, too
                ctx.set(dut.commit, 1)
                for _ in range(9):
                    await ctx.tick()
                    if ctx.get(dut.committed):
                        break
                assert ctx.get(dut.committed)
                await ctx.tick()
                ctx.set(dut.commit, 0)

    dut = Control(spec, loaded=True, checked=True)
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def test_without_the_check_nothing_is_there() -> None:
    """By default none of its ports."""
    engine = Engine(EngineSpec(pes=1, lanes=1))
    assert not {"i_check", "o_crc"} & {*engine.signature.members}
