"""Drive and observe the streams of a component in the Amaranth simulator."""

from __future__ import annotations

import random
import zlib
from typing import TYPE_CHECKING, Any

from amaranth.lib import data
from amaranth.sim import Simulator

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from amaranth.hdl import Elaboratable

__all__ = ["STALLS", "run"]

#: Which side of the streams pauses at random.
STALLS = ("none", "source", "sink", "both")


def plain(value: Any) -> Any:
    """Turn a sampled payload into an int, or a dict or list of such, which compare and print."""
    if not isinstance(value, data.Const):
        return int(value)
    layout = value.shape()
    if isinstance(layout, data.ArrayLayout):
        return [plain(value[index]) for index in range(layout.length)]
    return {name: plain(value[name]) for name, _ in layout}


def pauses(stalled: bool, name: str, seed: int) -> Iterator[bool]:
    """Tell cycle by cycle whether to go on: always, or at random in every second cycle."""
    rng = random.Random(zlib.crc32(name.encode()) ^ seed)
    while True:
        yield not stalled or rng.random() < 0.5


class Source:
    """What is offered on a stream that the component takes."""

    def __init__(self, name: str, stream: Any, payloads: Sequence[Any], go: Iterator[bool]) -> None:
        self.name, self.stream, self.payloads, self.go = name, stream, payloads, go
        self.signals = (stream.ready,)  # what :meth:`after` is told
        self.taken = 0
        self.offered = False

    @property
    def finished(self) -> bool:
        """Whether everything has been taken."""
        return self.taken == len(self.payloads)

    def before(self, ctx: Any) -> None:
        """Drive the stream for the next edge: what is offered stays until it is taken."""
        if not self.offered and not self.finished and next(self.go):
            ctx.set(self.stream.payload, self.payloads[self.taken])
            self.offered = True
        ctx.set(self.stream.valid, self.offered)

    def after(self, ready: int) -> bool:
        """Note what happened at the edge; tell whether there was a transfer."""
        transfer = bool(self.offered and ready)
        self.taken += transfer
        self.offered = self.offered and not transfer
        return transfer


class Sink:
    """What is delivered on a stream that the component drives."""

    def __init__(self, name: str, stream: Any, count: int, go: Iterator[bool]) -> None:
        self.name, self.stream, self.count, self.go = name, stream, count, go
        self.signals = (stream.valid, stream.payload)  # what :meth:`after` is told
        self.got: list[Any] = []
        self.ready = False
        self.held: Any = None

    @property
    def finished(self) -> bool:
        """Whether everything has been delivered."""
        return len(self.got) >= self.count

    def before(self, ctx: Any) -> None:
        """Drive ready for the next edge; what it says must not show in valid and payload."""
        self.ready = next(self.go)
        seen = []
        for ready in (not self.ready, self.ready):
            ctx.set(self.stream.ready, ready)
            seen.append((ctx.get(self.stream.valid), plain(ctx.get(self.stream.payload))))
        (valid, payload), (other_valid, other_payload) = seen
        assert valid == other_valid, f"{self.name}.valid depends on ready"
        assert not valid or payload == other_payload, f"{self.name}.payload depends on ready"

    def after(self, valid: int, payload: Any) -> bool:
        """Check the transfer rules at the edge; tell whether there was a transfer."""
        payload = plain(payload)
        if self.held is not None:
            assert valid, f"{self.name}.valid was taken back before the transfer"
            assert payload == self.held, (
                f"{self.name}.payload changed before the transfer, from {self.held} to {payload}"
            )
        self.held = payload if valid and not self.ready else None
        if valid and self.ready:
            self.got.append(payload)
        return bool(valid and self.ready)


def run(
    dut: Elaboratable,
    inputs: Mapping[str, Sequence[Any]],
    counts: Mapping[str, int],
    *,
    stalls: str = "none",
    seed: int = 0,
    settings: Mapping[str, int] | None = None,
    drain: int = 32,
    patience: int = 1000,
) -> dict[str, list[Any]]:
    """Push ``inputs`` through a component and return what it delivers.

    Checks the data transfer rules of Amaranth's streams on the way: valid stays and the payload
    holds until the transfer, and neither depends on ready.

    Parameters
    ----------
    dut : component
        With a member for each name of ``inputs`` (stream, in) and ``counts`` (stream, out).
    inputs : mapping of str to sequence
        The payloads of each stream, ints or what its layout can be set from.
    counts : mapping of str to int
        Payloads that each stream must deliver; one more, before ``drain`` cycles without any
        transfer have passed, is an error, as one less is.
    stalls : str
        Of :data:`STALLS`: which sides pause at random.
    seed : int
        Of the pauses.
    settings : mapping of str to int, optional
        Values of other inputs, by name.
    drain, patience : int
        Cycles without a transfer after which a run that delivered everything ends, and a run that
        did not fails.

    Returns
    -------
    dict of str to list
        The payloads of each stream: ints, or dicts and lists of ints where it has a layout.

    Raises
    ------
    AssertionError
        If a transfer rule is broken, a number of payloads is wrong or an input is not taken.
    """
    assert stalls in STALLS, f"stalls must be one of {STALLS}, not {stalls!r}"
    sources = [
        Source(name, getattr(dut, name), payloads, pauses(stalls in ("source", "both"), name, seed))
        for name, payloads in inputs.items()
    ]
    sinks = [
        Sink(name, getattr(dut, name), count, pauses(stalls in ("sink", "both"), name, seed))
        for name, count in counts.items()
    ]
    ends = [*sources, *sinks]

    async def bench(ctx: Any) -> None:
        for name, value in (settings or {}).items():
            ctx.set(getattr(dut, name), value)
        idle = 0
        while idle < (drain if all(end.finished for end in ends) else patience):
            for end in ends:
                end.before(ctx)
            _, _, *sampled = await ctx.tick().sample(*(s for end in ends for s in end.signals))
            values = iter(sampled)
            transfers = [end.after(*(next(values) for _ in end.signals)) for end in ends]
            idle = 0 if any(transfers) else idle + 1
            if any(len(sink.got) > sink.count for sink in sinks):
                return

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    for source in sources:
        assert source.finished, (
            f"{source.name} took {source.taken} payloads, not {len(source.payloads)}"
        )
    for sink in sinks:
        assert len(sink.got) == sink.count, (
            f"{sink.name} delivered {len(sink.got)} payloads, not {sink.count}"
        )
    return {sink.name: sink.got for sink in sinks}
