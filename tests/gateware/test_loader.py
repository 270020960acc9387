"""Loader against the words that `read_image` finds, and against every way to damage an image."""

from __future__ import annotations

import random
import struct
import zlib
from typing import Any, NamedTuple

import numpy as np
import pytest
from amaranth.sim import Simulator

from secateur.engine import EngineSpec
from secateur.format import IMAGE_HEADER, SECTION_HEADER, LoadError, Section, memories
from secateur.gateware.layout import words
from secateur.gateware.loader import Loader
from secateur.image import (
    IncompleteImageError,
    RefusedImageError,
    parse_image,
    read_image,
    write_image,
)

SMALL = {"activation_depth": 4, "bias_depth": 2, "column_depth": 4, "weight_depth": 4}
SPEC = EngineSpec(
    pes=2,
    lanes=1,
    codebook_bits=1,
    entry_width=5,
    count_width=2,
    row_depth=2,
    layer_depth=2,
    **SMALL,
)
#: Words of all sizes, among them some of a single byte.
SPECS = [
    SPEC,
    EngineSpec(
        pes=1, lanes=1, row_depth=2, layer_depth=2, banks=1, index_width=1, entry_width=9, **SMALL
    ),
    EngineSpec(
        pes=4,
        lanes=2,
        accumulator_width=48,
        bias_width=45,
        count_width=13,
        layer_depth=4,
        weight_width=16,
        entry_width=20,
        **SMALL,
    ),
]

Word = tuple[Section, int, int, int]


class Outcome(NamedTuple):
    """What a loader did with some bytes."""

    writes: list[Word]  # section, PE, address, bits
    commits: list[int]  # CRC-32
    error: LoadError
    loading: bool
    cycles: int  # from the first byte offered to the last one taken


class Bench:
    """Offers bytes to a loader and plays the engine's part."""

    def __init__(self, ctx: Any, dut: Loader) -> None:
        self.ctx, self.dut, self.spec = ctx, dut, dut.spec
        self.rng = random.Random(1)
        self.widths = {kind: memory.record.width for kind, memory in memories(dut.spec).items()}

    async def send(
        self,
        sent: bytes,
        *,
        first: bool = True,
        source: float = 1,
        begun: float = 1,
        committed: float = 1,
        drain: int = 6,
    ) -> Outcome:
        """Send bytes, the first one marked; then see what comes in ``drain`` quiet cycles."""
        ctx, dut, rng = self.ctx, self.dut, self.rng
        writes: list[Word] = []
        commits: list[int] = []
        index = cycles = quiet = 0
        offered = False
        waiting = {"begin": False, "commit": False}
        answered = False
        for cycle in range(40 * len(sent) + 400):
            offered = index < len(sent) and (offered or rng.random() < source)
            ctx.set(dut.i.valid, offered)
            ctx.set(dut.i.payload.data, sent[index] if offered else rng.getrandbits(8))
            ctx.set(dut.i.payload.first, first and index == 0 if offered else rng.getrandbits(1))
            ready = ctx.get(dut.i.ready)
            assert not (ready and (waiting["begin"] or waiting["commit"])), "takes while it waits"
            for name, share in (("begin", begun), ("commit", committed)):
                asserted = ctx.get(getattr(dut, name))
                answer = rng.random() < share
                if name == "commit":  # answered by a strobe, and held for a cycle more
                    answer = answer and asserted and not answered
                ctx.set(getattr(dut, "begun" if name == "begin" else "committed"), answer)
                assert asserted or not waiting[name], f"{name} was taken back"
                waiting[name] = bool(asserted) and not answer
                if name == "commit":
                    assert asserted or not answered
                    waiting[name] &= not answered
                    answered = bool(asserted) and answer
                    if answered:
                        commits.append(ctx.get(dut.id))
            assert not (commits and ctx.get(dut.loading) and index == len(sent))
            if ctx.get(dut.write_valid):
                write = ctx.get(dut.write)
                section = Section(write.section)
                bits = write.word & ((1 << self.widths[section]) - 1)
                writes.append((section, write.pe, write.address, bits))
                assert not waiting["begin"], "writes before the engine is ready"
            await ctx.tick()
            if offered and ready:
                offered = False
                index += 1
                cycles = cycle + 1
            quiet = quiet + 1 if index == len(sent) and not any(waiting.values()) else 0
            if quiet > drain:
                break
        else:
            raise AssertionError(f"{index} of {len(sent)} bytes were taken")
        error = LoadError(ctx.get(dut.error))
        return Outcome(writes, commits, error, bool(ctx.get(dut.loading)), cycles)


def run(spec: EngineSpec, body: Any) -> None:
    """Run ``body(bench)``."""
    dut = Loader(spec)

    async def testbench(ctx: Any) -> None:
        await body(Bench(ctx, dut))

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()


def random_image(spec: EngineSpec, seed: int) -> bytes:
    """Fill every memory to a random height, one of them to the top, one not at all."""
    rng = np.random.default_rng(seed)
    contents = {}
    for kind, memory in memories(spec).items():
        for pe in range(spec.pes if memory.per_pe else 1):
            count = int(rng.integers(1, memory.depth + 1)) if kind != Section.BIASES else seed % 2
            if kind == Section.LAYERS:
                count = memory.depth
            fields = {}
            for field in memory.record.fields:
                low = -(1 << (field.width - 1)) if field.signed else 0
                fields[field.name] = rng.integers(low, low + (1 << field.width), count)
            contents[kind, pe] = fields
    return write_image(spec, contents)


def expected(spec: EngineSpec, image: bytes) -> list[Word]:
    """List the words of an image in its order."""
    return [
        (section, pe, address, word)
        for (section, pe), fields in read_image(spec, image).items()
        for address, word in enumerate(words(memories(spec)[section].record, fields))
    ]


def by_hand(spec: EngineSpec, *sections: tuple[int, int, int, bytes]) -> bytes:
    """Pack an image from section, PE, count and bytes, right but for what is asked for."""
    image = b"SCTR" + struct.pack("<BI", 2, spec.fingerprint)
    for section, pe, count, content in sections:
        image += struct.pack("<BBI", section, pe, count) + content
    image += struct.pack("<BBI", 0, 0, 0)
    return image + struct.pack("<I", zlib.crc32(image))


def crc(image: bytes) -> int:
    return int.from_bytes(image[-4:], "little")


@pytest.mark.parametrize("spec", SPECS, ids=["codebook", "one bank", "wide"])
@pytest.mark.parametrize(
    "stalls",
    [{}, {"source": 0.3}, {"begun": 0.1, "committed": 0.1}, {"source": 0.6, "committed": 0.3}],
    ids=["none", "source", "engine", "both"],
)
def test_writes_each_word_once(spec: EngineSpec, stalls: dict[str, float]) -> None:
    async def body(bench: Bench) -> None:
        for seed in range(3):
            image = random_image(spec, seed)
            got = await bench.send(image, **stalls)  # pyright: ignore[reportArgumentType]
            assert got.writes == expected(spec, image)
            assert (got.commits, got.error, got.loading) == ([crc(image)], LoadError.NONE, False)

    run(spec, body)


def test_bytes_by_hand() -> None:
    """The format written a second way: fields of the headers, words in whole bytes."""
    entry = bytes([0b0_0101_1])  # code 1, zeros 5
    column = bytes([0b10_11])  # 3 entries of PE 0, 2 of PE 1
    image = by_hand(
        SPEC, (2, 1, 2, entry * 2), (3, 0, 1, column), (2, 0, 0, b""), (5, 0, 1, b"\x81")
    )

    async def body(bench: Bench) -> None:
        got = await bench.send(image)
        assert got.writes == [
            (Section.WEIGHTS, 1, 0, 0b01011),
            (Section.WEIGHTS, 1, 1, 0b01011),
            (Section.COLUMNS, 0, 0, 0b1011),
            (Section.CODEBOOKS, 0, 0, 0x81),
        ]
        assert got.commits == [crc(image)]

    run(SPEC, body)


def test_cycles() -> None:
    """One byte a cycle, two more after the image's header and four after each section's."""

    async def body(bench: Bench) -> None:
        for seed in range(3):
            image = random_image(SPEC, seed)
            sections = len(read_image(SPEC, image)) + 1  # the end included
            got = await bench.send(image)
            assert got.cycles == len(image) + 2 + 4 * sections

    run(SPEC, body)


@pytest.mark.parametrize("spec", SPECS[:2], ids=["codebook", "one bank"])
def test_refuses(spec: EngineSpec) -> None:
    """Every rule, at its limit; nothing is committed, and what follows is discarded."""
    good = random_image(spec, 1)
    entry, column = (
        bytes(memories(spec)[kind].record.size) for kind in (Section.WEIGHTS, Section.COLUMNS)
    )
    pes, depth = spec.pes, spec.weight_depth
    layers = memories(spec)[Section.LAYERS]
    last = good[-5:-4]
    cases = [
        (b"SCTS" + good[4:], LoadError.MAGIC),
        (b"\0" * len(good), LoadError.MAGIC),
        (good[:4] + b"\0" + good[5:], LoadError.VERSION),
        (good[:4] + b"\1" + good[5:], LoadError.VERSION),
        (good[:4] + b"\3" + good[5:], LoadError.VERSION),
        (good[:5] + bytes([good[5] ^ 1]) + good[6:], LoadError.ENGINE),
        (good[:8] + bytes([good[8] ^ 128]) + good[9:], LoadError.ENGINE),
        (by_hand(spec, (6, 0, 1, b"\0")), LoadError.SECTION),
        (by_hand(spec, (255, 0, 1, b"\0")), LoadError.SECTION),
        (by_hand(spec, (2, pes, 1, entry)), LoadError.SECTION),
        (by_hand(spec, (3, 1, 1, column)), LoadError.SECTION),
        (by_hand(spec, (2, 255, 1, entry)), LoadError.SECTION),
        (by_hand(spec, (1, 1, 1, bytes(layers.record.size))), LoadError.SECTION),
        (by_hand(spec, (4, 1, 0, b"")), LoadError.SECTION),
        (by_hand(spec, (2, 0, depth + 1, entry * (depth + 1))), LoadError.SIZE),
        (by_hand(spec, (2, 0, 0xFFFFFFFF, entry)), LoadError.SIZE),
        (by_hand(spec, (2, 0, 1 << 24, entry)), LoadError.SIZE),
        (by_hand(spec, (1, 0, 3, bytes(3 * layers.record.size))), LoadError.SIZE),
        (by_hand(spec, (2, 0, 1, entry), (9, 0, 1, entry)), LoadError.SECTION),
        (good[:-1] + bytes([good[-1] ^ 128]), LoadError.CRC),
        (good[:-4] + good[-1:-5:-1], LoadError.CRC),
        (good[:-5] + bytes([last[0] ^ 1]) + good[-4:], LoadError.CRC),
    ]
    if not spec.codebook_bits:
        cases.append((by_hand(spec, (5, 0, 1, b"\0")), LoadError.SECTION))

    async def body(bench: Bench) -> None:
        for image, error in cases:
            with pytest.raises(RefusedImageError) as refusal:
                parse_image(spec, image)
            assert refusal.value.error == error
            got = await bench.send(image)
            assert (got.commits, got.error, got.loading) == ([], error, False), image
            # Neither the rest of it nor a good image that is not marked changes that.
            got = await bench.send(good, first=False)
            assert got[:4] == ([], [], error, False)
            # The next one's first byte does.
            got = await bench.send(good[:1])
            assert got[:4] == ([], [], LoadError.NONE, True)
            got = await bench.send(good[1:], first=False, source=0.7)
            assert got.writes == expected(spec, good)
            assert got[1:4] == ([crc(good)], LoadError.NONE, False)

    run(spec, body)


def test_limits_are_accepted() -> None:
    """The last PE and the full depth."""
    sections = []
    for kind, memory in memories(SPEC).items():
        pe = SPEC.pes - 1 if memory.per_pe else 0
        sections.append((kind, pe, memory.depth, bytes(memory.depth * memory.record.size)))
    image = by_hand(SPEC, *sections)

    async def body(bench: Bench) -> None:
        got = await bench.send(image)
        assert got.writes == [
            (kind, pe, address, 0) for kind, pe, depth, _ in sections for address in range(depth)
        ]
        assert (got.commits, got.error) == ([crc(image)], LoadError.NONE)

    run(SPEC, body)


def test_first_restarts() -> None:
    """After any number of bytes of an image, another one is taken from its beginning."""
    images = [random_image(SPEC, seed) for seed in (2, 3)]

    async def body(bench: Bench) -> None:
        # Before any image, and without one.
        assert (await bench.send(images[0], first=False))[:4] == ([], [], LoadError.NONE, False)
        for cut in range(1, len(images[0])):
            got = await bench.send(images[0][:cut], drain=cut % 3)
            assert got[1:4] == ([], LoadError.NONE, True), f"cut after {cut} bytes"
            got = await bench.send(images[1])
            assert got.writes[-len(expected(SPEC, images[1])) :] == expected(SPEC, images[1])
            assert got[1:4] == ([crc(images[1])], LoadError.NONE, False), f"cut after {cut} bytes"

    run(SPEC, body)


def test_bytes_after_the_end_are_ignored() -> None:
    image = random_image(SPEC, 3)

    async def body(bench: Bench) -> None:
        got = await bench.send(image + image[:40], committed=0.2)
        assert got.writes == expected(SPEC, image)
        assert got[1:4] == ([crc(image)], LoadError.NONE, False)
        got = await bench.send(image, first=False)
        assert got[:4] == ([], [], LoadError.NONE, False)

    run(SPEC, body)


def test_damaged_bytes_are_never_committed() -> None:
    """One bit of each byte, and runs of bytes: always the error that `parse_image` finds."""
    good = random_image(SPEC, 5)
    rng = random.Random(6)
    cases = []
    for index in range(len(good)):
        cases.append(
            good[:index] + bytes([good[index] ^ 1 << rng.randrange(8)]) + good[index + 1 :]
        )
    for _ in range(120):
        start = rng.randrange(len(good))
        damage = rng.randbytes(rng.choice((1, 2, 4, 20)))[: len(good) - start]
        cases.append(good[:start] + damage + good[start + len(damage) :])
    for _ in range(30):  # bytes lost, or twice
        start, end = sorted(rng.choices(range(len(good) + 1), k=2))
        cases.append(good[:start] + good[end:] if rng.random() < 0.5 else good[:end] + good[start:])

    async def body(bench: Bench) -> None:
        errors = set()
        for image in cases:
            if not image:
                continue
            error, incomplete, size = LoadError.NONE, False, 0
            try:
                size = parse_image(SPEC, image)[1]
            except RefusedImageError as refusal:
                error = refusal.error
            except IncompleteImageError:
                incomplete = True
            got = await bench.send(image, drain=5)
            assert (got.error, got.loading) == (error, incomplete), image
            assert bool(got.commits) == (size > 0 and image[:size] == good), image
            errors.add(error)
        assert errors == {*LoadError}

    run(SPEC, body)


def test_record_sizes() -> None:
    """What `by_hand` takes for granted."""
    assert (IMAGE_HEADER.size, SECTION_HEADER.size) == (9, 6)
