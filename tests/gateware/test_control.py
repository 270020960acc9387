"""Control against what a layer table asks for, among parts that take as long as they like."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from secateur.bench.program_changes import ProgramBench, run_bench
from secateur.engine import EngineSpec
from secateur.format import Section, memories
from secateur.gateware.control import Control
from secateur.technology import Memory

if TYPE_CHECKING:
    from amaranth.hdl import Signal

#: Processing elements that report the ends of jobs.
PES = 3
#: Words of the inputs that are drawn.
LENGTHS = range(1, 5)


def spec_of(codebook_bits: int = 0, **fields: int) -> EngineSpec:
    """Make a small engine."""
    codes = {"codebook_bits": codebook_bits, "entry_width": codebook_bits + 4}
    return EngineSpec(
        pes=1,
        lanes=1,
        **{"row_depth": 2, "layer_depth": 4, "activation_depth": 16, "bias_depth": 16},
        **(codes if codebook_bits else {}),
        **fields,
    )


def table(spec: EngineSpec, layers: int, seed: int) -> list[dict[str, int]]:
    """Draw a layer table; only the last of ``layers`` is marked, and what follows is garbage."""
    rng = random.Random(seed)
    fields = memories(spec)[Section.LAYERS].record.fields
    words = [
        {field.name: rng.getrandbits(field.width) for field in fields}
        for _ in range(spec.layer_depth)
    ]
    words[0]["source_words"] = rng.choice(LENGTHS)
    for index, word in enumerate(words[:layers]):
        word["rows_words"] = rng.choice(LENGTHS)
        word["last"] = int(index == layers - 1)
    return words


@dataclass
class Job:
    """A layer of an inference, as the bench expects it."""

    inference: int
    layer: int
    word: dict[str, int]
    tag: int
    made: int  # words of its output
    last: bool
    left: int  # words of its input to be walked
    ended: set[int] = field(default_factory=set)  # PEs that have stored its products
    drained: int = 0  # words of its output


@dataclass
class Hold:
    """What stands still."""

    walk: bool = False
    pes: bool = False
    drain: bool = False
    y: bool = False


@dataclass
class Pace:
    """Probability of a step in a cycle: of x, the walker, a PE's report, the drain."""

    x: float = 0.5
    walk: float = 0.5
    pe: float = 0.3
    drain: float = 0.5


class Bench(ProgramBench):
    """Plays the engine around a control, and checks whatever it starts.

    Whatever the control does is compared with the order in which it may do it. Nothing here knows
    how many cycles the control takes.
    """

    PATIENCE = 12_000

    dut: Control

    def __init__(
        self, ctx: Any, dut: Control, tables: list[Any], reset: Signal, seed: int, pace: Pace
    ) -> None:
        self.pace, self.hold = pace, Hold()
        super().__init__(ctx, dut, tables, reset, seed)

    def restart(self) -> None:
        """Begin as after reset."""
        super().restart()
        self.walked: list[tuple[int, int]] = []  # inference and layer of each job
        self.offered = 0  # words of x to come
        self.position = 0  # words of an incomplete x
        self.x_there = self.hidden_there = 0  # words
        self.whole_x = 0  # complete inputs, less those that an inference was begun for
        self.completed = False
        self.jobs: list[Job] = []  # not drained, in order
        self.pending: list[tuple[Job, int]] = []  # jobs whose outputs will be walked
        self.finished: set[tuple[int, int]] = set()
        # Those of the cycles before; how many inputs were complete, and how many inferences landed.
        self.before: deque[tuple[set[tuple[int, int]], int, int]] = deque(maxlen=3)
        self.started = self.launched = self.landed = 0
        self.walking: Job | None = None
        self.draining: Job | None = None
        self.ended = [[0] * self.spec.jobs for _ in range(PES)]  # bits of the PEs' tags
        self.seen: tuple[bool, bool] | None = None  # what a choice certainly knew
        self.layer_words: deque[dict[str, int]] = deque(
            [self.tables[0][-1]] * Memory.LATENCY, Memory.LATENCY
        )

    # What the program says.

    def rows_of(self, word: dict[str, int], *, last: bool) -> int:
        room = self.spec.activation_depth // self.spec.jobs
        return max(1, word["rows_words"] if last else min(room, word["rows_words"]))

    def is_last(self, layer: int, word: dict[str, int]) -> bool:
        return bool(word["last"]) or layer == self.spec.layer_depth - 1

    @property
    def input_words(self) -> int:
        return max(1, self.program[0]["source_words"])

    @property
    def layers(self) -> int:
        program = self.program
        return 1 + next(n for n, word in enumerate(program) if self.is_last(n, word))

    @property
    def in_flight(self) -> int:
        return self.launched - self.landed

    # Cycles.

    async def _step(self) -> None:
        ctx, dut = self.ctx, self.dut
        ctx.set(dut.walk_done, self.walking is None)
        ctx.set(dut.drain_done, self.draining is None or self.draining.drained == self._made())
        tags = range(self.spec.jobs)
        ctx.set(dut.all_ones, sum(all(pe[tag] for pe in self.ended) << tag for tag in tags))
        ctx.set(dut.all_zeros, sum((not any(pe[tag] for pe in self.ended)) << tag for tag in tags))
        ctx.set(dut.x_begun, self.position > 0 or self.x_there > 0)
        ctx.set(dut.x_complete, self.completed)
        ctx.set(dut.layer, self.layer_words[0])
        self._ask()
        self.before.append((self.finished.copy(), self.whole_x + self.launched, self.landed))
        self.whole_x += self.completed
        self._look_at_programs()
        if self.draining is not None and self.draining.drained == self._made():
            self._drained(self.draining)
        walk = self._look_at_walk()
        drain = self._look_at_drain()
        assert ctx.get(dut.running) >= (self.in_flight > 0)
        assert len(self.jobs) <= self.spec.jobs
        for tag, job in ((job.tag, job) for job in self.jobs):
            if job is not walk:
                assert ctx.get(dut.tag_busy) >> tag & 1
                assert ctx.get(dut.tag_layers[tag]) == job.layer
            if len(self.spec.code_widths) > 1:
                assert ctx.get(dut.splits[tag]) == job.word["code_extra"], "another job's split"

        # The others' steps at this edge.
        put_hidden = self._step_drain(drain)
        self._step_x(put_hidden)
        self._step_pes()
        self._step_walk(walk)
        bank, address = ctx.get(dut.bank), ctx.get(dut.layer_address)
        await ctx.tick()
        self.layer_words.append(self.tables[bank][address])

    def _made(self) -> int:
        assert self.draining is not None
        return self.draining.made

    def _look_at_programs(self) -> None:
        super()._look_at_programs()
        ctx, dut = self.ctx, self.dut
        if ctx.get(dut.ready):
            last = self.layers - 1
            assert ctx.get(dut.input_words) == self.input_words
            assert ctx.get(dut.output_words) == self.rows_of(self.program[last], last=True)

    def _assert_quiet(self) -> None:
        assert not self.ctx.get(self.dut.running)
        assert not self.ctx.get(self.dut.x_open)
        assert (self.jobs, self.position, self.x_there, self.in_flight) == ([], 0, 0, 0)

    def _look_at_walk(self) -> Job | None:
        ctx, dut, spec = self.ctx, self.dut, self.spec
        if not ctx.get(dut.walk_start):
            return None
        assert self.walking is None
        assert ctx.get(dut.running)
        asked = ctx.get(dut.walk_job)
        program = self.program
        if asked.hidden:
            before, words = self.pending[0]
            inference, layer = before.inference, before.layer + 1
        else:
            inference, layer, words = self.launched, 0, self.input_words
            assert self.in_flight < spec.jobs
        self._check_choice(bool(asked.hidden))
        word = program[layer]
        last = self.is_last(layer, word)
        job = Job(
            inference=inference,
            layer=layer,
            word=word,
            tag=self.started % spec.jobs,
            made=self.rows_of(word, last=last),
            last=last,
            left=words,
        )
        assert not any(other.tag == job.tag for other in self.jobs), "the tag is in use"
        assert not ctx.get(dut.tag_busy) >> job.tag & 1
        assert {name: asked[name] for name in ("tag", "words", "column", "weight", "signed")} == {
            "tag": job.tag,
            "words": words,
            "column": word["column_base"],
            "weight": word["weight_base"],
            "signed": word["input_signed"],
        }, f"inference {inference}, layer {layer}"
        if asked.hidden:
            self.pending.pop(0)
        else:
            self.launched += 1
            self.whole_x -= 1
        if not last:
            self.pending.append((job, job.made))
        self.started += 1
        self.jobs.append(job)
        self.walked.append((inference, layer))
        return job

    def _check_choice(self, hidden: bool) -> None:
        """Compare a choice with what was there at the last start, and so when it was made."""
        there = self._there()
        hidden_before, x_before = self.seen or (False, False)
        if hidden_before:
            assert hidden, "a complete hidden output has to wait"
        elif x_before and hidden:
            assert there[0], "a whole x has to wait for a hidden output that comes"
        if not hidden and self.whole_x <= 0:
            assert not self.pending, "hidden outputs wait for an x that comes"

    def _there(self) -> tuple[bool, bool]:
        """Whether the oldest hidden output is complete, and whether a whole x may be begun."""
        complete = bool(self.pending) and self._key(self.pending[0][0]) in self.finished
        return complete, self.whole_x > 0 and self.in_flight < self.spec.jobs

    @staticmethod
    def _key(job: Job) -> tuple[int, int]:
        return job.inference, job.layer

    def _look_at_drain(self) -> Job | None:
        ctx, dut = self.ctx, self.dut
        if self.draining is not None:
            job = self.draining
        elif ctx.get(dut.drain_start):
            job = self.jobs[0]
            assert job is not self.walking
            assert len(job.ended) == PES, "drained before its products are stored"
        else:
            return None
        if ctx.get(dut.drain_start):
            assert self.draining is None
        drawn = ctx.get(dut.drain_layer)
        word = {**job.word, "last": int(job.last), "rows_words": job.made}
        assert {name: drawn[name] for name in word} == word
        assert ctx.get(dut.drain_tag) == job.tag
        return job

    def _drained(self, job: Job) -> None:
        assert self.jobs.pop(0) is job
        self.finished.add(self._key(job))
        self.landed += job.last
        self.draining = None

    def _step_drain(self, job: Job | None) -> bool:
        if job is None:
            return False
        if self.draining is None:
            self.draining = job
            return False
        held = self.hold.drain or (job.last and self.hold.y)
        if job.drained == job.made or held or self.rng.random() >= self.pace.drain:
            return False
        job.drained += 1
        if job.last:
            return False
        assert self.hidden_there < self.spec.activation_depth, "no room for hidden outputs"
        self.hidden_there += 1
        return True

    def _step_x(self, put_hidden: bool) -> None:
        may = self.ctx.get(self.dut.x_open) or self.position > 0
        room = self.x_there < self.spec.activation_depth and not put_hidden
        self.completed = False
        if may and room and self.offered and self.rng.random() < self.pace.x:
            self.offered -= 1
            self.x_there += 1
            self.position += 1
            if self.position == self.input_words:
                self.position, self.completed = 0, True

    def _step_pes(self) -> None:
        """Each PE ends its jobs in their order, at its own pace."""
        for index, pe in enumerate(self.ended):
            job = next((job for job in self.jobs if index not in job.ended), None)
            if job is None or job.left or self.hold.pes:
                continue
            if self.rng.random() < self.pace.pe:
                job.ended.add(index)
                pe[job.tag] ^= 1

    def _step_walk(self, started: Job | None) -> None:
        if started is not None:
            self.walking = started
            # It takes two cycles until a choice looks at what was counted.
            finished, x, landed = self.before[0]
            hidden, x_there = self._there()
            self.seen = (
                hidden and self._key(self.pending[0][0]) in finished,
                x_there and x > self.launched and self.launched - landed < self.spec.jobs,
            )
            return
        job = self.walking
        if job is None or self.hold.walk or self.rng.random() >= self.pace.walk:
            return
        if job.layer and self.hidden_there:
            self.hidden_there -= 1
        elif not job.layer and self.x_there:
            self.x_there -= 1
        else:
            return
        job.left -= 1
        if not job.left:
            self.walking = None

    # What tests ask for.

    def offer(self, inputs: int) -> None:
        """Offer whole inputs."""
        self.offered += inputs * self.input_words

    @property
    def idle(self) -> bool:
        waiting = self.offered or self.position or self.x_there or self.pending
        return not (waiting or self.jobs or self.ctx.get(self.dut.running))

    async def settle(self) -> None:
        """Wait for all that was offered; nothing comes afterwards."""
        await self.until(lambda: self.idle)
        done = len(self.walked)
        await self.step(20)
        assert len(self.walked) == done
        assert self.launched == self.landed
        assert (self.x_there, self.hidden_there, self.whole_x) == (0, 0, 0)

    def recount(self) -> None:
        """Number inferences from 0 again."""
        self.launched = self.landed = 0
        self.finished.clear()
        self.before.clear()

    async def infer(self, inputs: int) -> None:
        """Offer inputs and see every layer of each of them, once."""
        self.recount()
        layers = self.layers
        self.offer(inputs)
        await self.settle()
        walked = self.take_walked()
        for layer in range(layers):
            assert [n for n, mine in walked if mine == layer] == [*range(inputs)]
        assert len(walked) == inputs * layers

    def take_walked(self) -> list[tuple[int, int]]:
        walked, self.walked = self.walked, []
        return walked


def run(
    spec: EngineSpec,
    tables: list[Any],
    body: Any,
    *,
    loaded: bool,
    seed: int = 1,
    pace: Pace | None = None,
) -> None:
    """Run ``body(bench)``."""
    dut = Control(spec, loaded=loaded)
    run_bench(dut, lambda ctx, reset: Bench(ctx, dut, tables, reset, seed, pace or Pace()), body)


def clears(spec: EngineSpec) -> list[tuple[Any, ...]]:
    codes = spec.layer_depth << spec.codebook_bits if spec.codebook_bits else 0
    return [("clear", at) for at in range(max(spec.row_depth * spec.jobs, codes))]


#: Everything at once and everything in its own time; each part the slowest.
PACES = [
    Pace(1, 1, 1, 1),
    Pace(),
    Pace(x=0.05),
    Pace(x=1, walk=0.05),
    Pace(x=1, walk=1, pe=0.02),
    Pace(x=1, walk=1, drain=0.05),
]


@pytest.mark.parametrize("pace", PACES, ids=["none", "all", "x", "walk", "pes", "drain"])
@pytest.mark.parametrize("jobs", [1, 2, 4, 8])
@pytest.mark.parametrize(
    ("layers", "codebook_bits", "fields"),
    [(1, 0, {}), (2, 1, {}), (3, 0, {"index_width": 4, "entry_width": 10}), (4, 3, {})],
)
def test_layers_in_turn(
    layers: int, codebook_bits: int, fields: dict[str, int], jobs: int, pace: Pace
) -> None:
    """Every layer of every input is walked and drained once, with its own tag, in an order that
    the rules allow."""
    spec = spec_of(codebook_bits, jobs=jobs, **fields)
    tables = [table(spec, layers, layers + jobs)]

    async def body(bench: Bench) -> None:
        await bench.ready()
        assert bench.take() == clears(spec)
        await bench.step(10)
        assert bench.take_walked() == []
        await bench.infer(1)
        await bench.infer(12)
        assert bench.take() == []

    run(spec, tables * 2, body, loaded=True, pace=pace)


def test_several_inferences_are_under_way() -> None:
    """As many as there are tags, and no more; y that is held up stops them all in the end."""
    for jobs in (1, 2, 4, 8):
        spec = spec_of(jobs=jobs)

        async def body(bench: Bench, jobs: int = jobs) -> None:
            await bench.ready()
            bench.hold.y = True
            bench.offer(3 * jobs)
            most = 0
            for _ in range(600):
                await bench.step()
                most = max(most, bench.in_flight)
            assert (most, bench.in_flight, len(bench.jobs)) == (jobs, jobs, jobs)
            bench.hold.y = False
            await bench.settle()
            assert bench.landed == 3 * jobs

        for layers in (1, 3):
            run(spec, [table(spec, layers, 3)] * 2, body, loaded=True)


def test_a_layer_begins_before_its_input_is_complete() -> None:
    """With nothing else to do: x as soon as it has begun, a hidden layer even before that."""
    spec = spec_of()
    tables = [table(spec, 2, 1)] * 2
    for word in tables[0]:
        word["source_words"] = 3

    async def body(bench: Bench) -> None:
        await bench.ready()
        bench.offered = 1
        await bench.until(lambda: bench.walked == [(0, 0)])
        await bench.step(100)
        assert bench.walked == [(0, 0)]
        bench.hold.pes = True
        bench.offered = 2
        await bench.until(lambda: bench.walked == [(0, 0), (0, 1)])
        assert bench.jobs[0].drained == 0
        bench.hold.pes = False
        await bench.settle()

    run(spec, tables, body, loaded=True)


def test_a_whole_x_comes_before_a_hidden_output_that_comes() -> None:
    """What comes is chosen when the walker has nothing to do, and not ahead of that."""
    spec = spec_of()

    async def body(bench: Bench) -> None:
        await bench.ready()
        for _ in range(3):
            bench.recount()
            bench.hold = Hold(walk=True, pes=True)
            bench.offer(1)
            await bench.until(lambda: bench.walking is not None)
            await bench.step(40)
            bench.offer(1)
            await bench.step(40)
            bench.hold = Hold(pes=True)
            await bench.until(lambda: len(bench.walked) == 2)
            bench.hold = Hold()
            await bench.settle()
            assert bench.take_walked() == [(0, 0), (1, 0), (0, 1), (1, 1)]
            bench.finished.clear()

    run(spec, [table(spec, 2, 7)] * 2, body, loaded=True, pace=Pace(x=1, walk=1, pe=1, drain=1))


@pytest.mark.parametrize("offset", range(-3, 4))
def test_a_complete_hidden_output_comes_before_a_whole_x(offset: int) -> None:
    """Whichever is complete first, with the last words of both in cycles next to each other."""
    spec = spec_of(jobs=4)
    tables = [table(spec, 2, 7)] * 2
    for word in tables[0]:
        word["source_words"] = 1

    async def body(bench: Bench) -> None:
        await bench.ready()
        # The walker is kept in the second input's first layer, so that the choice waits.
        bench.hold = Hold(walk=True, pes=True)
        bench.offer(2)
        await bench.step(40)
        bench.hold = Hold(pes=True)
        await bench.until(lambda: bench.walked == [(0, 0), (1, 0)])
        bench.hold = Hold(walk=True, pes=True)
        await bench.step(20)
        bench.hold = Hold(walk=True, drain=True)
        await bench.until(lambda: bench.draining is not None)
        job = bench.jobs[0]
        bench.hold.drain = False
        await bench.until(lambda: job.drained == job.made - 1)
        bench.hold.drain = True
        finished = completed = -1
        for cycle in range(20):
            bench.hold.drain = cycle != 10
            if cycle == 10 + offset:
                bench.offer(1)
            await bench.step()
            if bench.finished and finished < 0:
                finished = cycle
            if bench.whole_x and completed < 0:
                completed = cycle
        assert (bench.in_flight, bench.walking is not None) == (2, True)
        bench.hold = Hold()
        await bench.until(lambda: len(bench.walked) == 3)
        differences.append(completed - finished)
        assert bench.walked[2] == ((0, 1) if finished <= completed else (2, 0))
        await bench.settle()

    differences: list[int] = []
    run(spec, tables, body, loaded=True, pace=Pace(1, 1, 1, 1))
    # Hidden outputs go first into the memory.
    assert differences == [offset or 1]


def test_a_table_without_a_last_layer_ends() -> None:
    spec = spec_of()
    words = table(spec, 1, 1)
    for word in words:
        word["last"] = 0

    async def body(bench: Bench) -> None:
        await bench.ready()
        assert bench.layers == 4
        await bench.infer(5)

    run(spec, [words, words], body, loaded=True)


@pytest.mark.parametrize("jobs", [1, 2, 4, 8])
@pytest.mark.parametrize("seed", range(3))
def test_garbage_does_not_hang(seed: int, jobs: int) -> None:
    """A table of any bits, and one of zeros: what is walked is what was made, and fits."""
    spec = spec_of(jobs=jobs, column_depth=16, codebook_bits=seed)
    rng = random.Random(seed)
    fields = memories(spec)[Section.LAYERS].record.fields
    words = [
        {field.name: rng.getrandbits(field.width) if seed else 0 for field in fields}
        for _ in range(spec.layer_depth)
    ]

    async def body(bench: Bench) -> None:
        await bench.ready()
        await bench.infer(7)

    run(spec, [words, words], body, loaded=True, pace=Pace(1, 1, 1, 1))


@pytest.mark.parametrize("seed", range(4))
def test_two_banks(seed: int) -> None:
    """A program waits for inputs that are there or have begun; banks are exchanged, not before."""
    spec = spec_of(jobs=2 << seed % 2)
    tables = [table(spec, 2, 10), table(spec, 3, 11)]
    for words in tables:
        words[0]["source_words"] = 3
    rng = random.Random(seed)

    async def body(bench: Bench) -> None:
        ctx, dut = bench.ctx, bench.dut
        await bench.step(40)
        assert not ctx.get(dut.loaded)
        assert not ctx.get(dut.ready)
        assert not ctx.get(dut.x_open)
        in_use = 0
        waited = set()
        for trial in range(12):
            bench.take()
            # The last input begins, and comes to its end only when a program waits already.
            inputs = trial % 3 if trial else 0
            bench.recount()
            if inputs:
                bench.offered = 3 * inputs - 1 - rng.randrange(2)
                await bench.until(lambda: not bench.offered)
                await bench.step(rng.randrange(1, 30))
            bench.begin = True
            await bench.step()
            assert not bench.begin, "two banks: begin is answered at once"
            bench.commit = True
            await bench.step(2)
            if bench.commit:
                assert not ctx.get(dut.x_open), "an input may begin while a program waits"
            if inputs:
                await bench.step(100)
                assert bench.commit, "exchanged while an input has begun"
                waited.add(bench.landed)
                bench.offered = 3 - bench.position
            await bench.until(lambda: not bench.commit)
            assert bench.landed == inputs
            assert not ctx.get(dut.x_open), "an input may begin before its length is known"
            assert not ctx.get(dut.ready)
            in_use = 1 - in_use
            assert bench.take() == [("begun",), ("committed", in_use)]
            assert (ctx.get(dut.bank), ctx.get(dut.loaded)) == (in_use, 1)
            await bench.ready()
            assert bench.take() == clears(spec)
            bench.take_walked()
            await bench.infer(3)
        assert waited == {0, 1}

    run(spec, tables, body, loaded=False, seed=seed)


@pytest.mark.parametrize("seed", range(6))
def test_a_program_comes_at_any_time(seed: int) -> None:
    """Inputs are offered all the time: each is computed by one program, none by both."""
    spec = spec_of(banks=1 + seed % 2, jobs=2 << seed // 2 % 2)
    tables = [table(spec, 1 + seed % 3, 20 + seed), table(spec, 3, 11)]
    rng = random.Random(seed)

    async def body(bench: Bench) -> None:
        await bench.ready()
        for _ in range(12):
            bench.take()
            bench.offered = 1000
            await bench.step(rng.randrange(60))
            bench.begin = True
            await bench.until(lambda: not bench.begin)
            if spec.banks == 1:
                assert not bench.ctx.get(bench.dut.loaded)
            await bench.step(rng.randrange(40))
            bench.commit = True
            # `Bench` asserts that nothing is under way or has begun.
            await bench.until(lambda: not bench.commit)
            assert [event for event in bench.take() if event[0] != "clear"][-1][0] == "committed"
            assert bench.launched == bench.landed
        bench.offered = 0
        await bench.ready()
        bench.offered = bench.input_words - bench.position if bench.position else 0
        await bench.settle()

    run(spec, tables, body, loaded=True, seed=seed, pace=Pace(x=(0.1, 0.5, 1)[seed % 3]))


@pytest.mark.parametrize("banks", [1, 2])
@pytest.mark.parametrize("words", [1, 3])
def test_a_program_comes_as_an_x_begins(words: int, banks: int) -> None:
    """One of them is first, also where both come in the same cycle."""
    spec = spec_of(banks=banks)
    tables = [table(spec, 1, 4)] * 2
    tables[0][0]["source_words"] = words
    first = set()

    async def body(bench: Bench) -> None:
        for offset in range(-6, 7):
            for what in ("begin", "commit")[2 - banks :]:
                await bench.ready()
                bench.recount()
                for cycle in range(20):
                    if cycle == 10:
                        bench.offered = 1
                    if cycle == 10 + offset:
                        setattr(bench, what, True)
                    await bench.step()
                bench.offered += words - 1
                # `Bench` asserts that no x has begun.
                await bench.until(lambda what=what: not getattr(bench, what))
                first.add(bench.landed)
                if what == "begin":
                    bench.commit = True
                    await bench.until(lambda: not bench.commit)
                await bench.settle()
                assert bench.landed == 1

    run(spec, tables, body, loaded=True, pace=Pace(1, 1, 1, 1))
    assert first == {0, 1}


def test_one_bank() -> None:
    """The old program ends when a new one begins, which waits for what is under way."""
    spec = spec_of(banks=1)
    tables = [table(spec, 2, 3)]
    tables[0][0]["source_words"] = 2

    async def body(bench: Bench) -> None:
        ctx, dut = bench.ctx, bench.dut
        await bench.ready()
        bench.offer(1)
        await bench.step(2)
        bench.begin = True
        await bench.step(4)
        assert bench.begin
        assert not ctx.get(dut.x_open)
        await bench.until(lambda: not bench.begin)
        assert bench.take() == [*clears(spec), ("begun",)]
        assert (bench.launched, bench.landed) == (1, 1)
        await bench.step()
        assert (ctx.get(dut.loaded), ctx.get(dut.x_open), ctx.get(dut.ready)) == (0, 0, 0)
        await bench.step(30)
        assert (ctx.get(dut.loaded), ctx.get(dut.x_open), ctx.get(dut.ready)) == (0, 0, 0)
        bench.commit = True
        await bench.until(lambda: not bench.commit)
        await bench.ready()
        assert bench.take() == [("committed", 0), *clears(spec)]
        assert (ctx.get(dut.loaded), ctx.get(dut.bank), ctx.get(dut.write_bank)) == (1, 0, 0)
        bench.take_walked()
        await bench.infer(2)
        bench.offered = 1
        await bench.step(20)
        bench.begin = True
        await bench.step(30)
        assert bench.begin, "an image begins while an input has"
        bench.offered = 1
        await bench.until(lambda: not bench.begin)

    run(spec, tables, body, loaded=True)


@pytest.mark.parametrize("codebook_bits", [0, 2])
@pytest.mark.parametrize("loaded", [False, True])
def test_reset(loaded: bool, codebook_bits: int) -> None:
    """Accumulators are cleared again; the program in use and its bank stay."""
    spec = spec_of(codebook_bits)
    tables = [table(spec, 2, 5), table(spec, 3, 6)]

    async def body(bench: Bench) -> None:
        ctx, dut = bench.ctx, bench.dut
        await bench.step(40)
        bench.commit = True
        await bench.until(lambda: not bench.commit)
        bank = ctx.get(dut.bank)
        for cycle in range(100):
            if cycle % 5:  # otherwise while it clears and reads the table
                await bench.ready()
            bench.offer(3)
            bench.hold = Hold(y=cycle % 7 == 3)
            bench.commit = cycle % 3 == 2
            await bench.step(cycle * 3 // 2)
            # Programs may change in the very cycle of the reset.
            bank, bench.commit = ctx.get(dut.bank) ^ ctx.get(dut.committed), False
            await bench.reset()
            bench.hold = Hold()
            assert (ctx.get(dut.running), ctx.get(dut.x_open), ctx.get(dut.ready)) == (0, 0, 0)
            assert (ctx.get(dut.bank), ctx.get(dut.loaded)) == (bank, 1)
            assert ctx.get(dut.tag_busy) == 0
            await bench.ready()
            assert bench.take() == clears(spec)
            await bench.infer(3)

    run(spec, tables, body, loaded=loaded)


def test_table_is_garbage_behind_the_last_layer() -> None:
    """What `table` promises, so that a control that reads on is noticed."""
    spec = EngineSpec(pes=1, lanes=1, layer_depth=16)
    assert [word["last"] for word in table(spec, 2, 3)[:2]] == [0, 1]
    assert {word["last"] for word in table(spec, 2, 3)[2:]} == {0, 1}
