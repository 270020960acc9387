"""What random programs must have met: the points of functional coverage, one sentence each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from secateur.format import Section, memories

if TYPE_CHECKING:
    from secateur.engine import EngineSpec

__all__ = ["FIELDS", "MEMORIES", "POINTS", "field_ends"]

#: Fields of a layer's word. The multiplier is left out: it must be 1.
FIELDS = (
    "source_words",
    "rows_words",
    "column_base",
    "weight_base",
    "bias_base",
    "shift",
    "code_extra",
    "input_signed",
    "output_signed",
    "relu",
    "last",
)
#: Memories that an image fills, by the name that a point has: those of engines without positions,
#: whose points these are; :mod:`secateur.coverage.map_points` has the others'.
MEMORIES = {
    section: section.name.lower()
    for section in Section
    if section not in (Section.END, Section.OFFSETS)
}

#: Every point, and what happens in a cycle in which it is seen.
POINTS: dict[str, str] = {
    # Walker and queues
    "queue-full": "a PE's queue has no room for what may still come",
    "queue-full-alone": "one PE's queue has no room and all others have",
    "queue-brim": "a queue holds as many columns as its memory has words",
    "queue-empty": "a PE's queue is empty and it multiplies nothing, while the walker passes words",
    "walk-blocked": "the walker has a word and a full queue holds it up",
    "walk-waits-x": "the walker waits for a word of x",
    "walk-waits-hidden": "the walker waits for a word of the layer before",
    "walk-streams-x": "the walker passes a word of an x that is incomplete",
    "walk-streams-hidden": "the walker passes a hidden word while the drain delivers others",
    "word-zero": "all activations of a word are zero",
    "word-dense": "no activation of a word is zero",
    "job-one-word": "a job has a single word",
    "job-zero": "all activations of a job's words were zero",
    # Columns and entries
    "column-empty": "no PE of a lane has an entry in a column",
    "column-missed": "a column that is not zero has entries in one PE of its lane, none in another",
    "column-fullest": "an active column has as many entries in a PE as its count can say",
    "end-idle": "a job's last column reaches a PE that has nothing to multiply in it",
    "end-works": "a job's last column reaches a PE that has entries in it",
    "padding": "an entry is padding, or a weight of zero",
    "padding-chain": "a padding entry follows another in the next cycle",
    "gap-none": "an entry that is not its column's first follows the accumulator before",
    "gap-longest": "an entry that is not padding skips as many accumulators as its index can say",
    "row-first": "a product goes to a PE's accumulator 0",
    "row-last": "a product goes to a PE's last accumulator",
    **{
        f"row-again-{cycles}": f"two products {cycles} cycles apart are for the same accumulator"
        for cycles in range(1, 5)
    },
    # Arithmetic
    "product-lowest-lowest": "the lowest weight multiplies the lowest signed activation",
    "product-lowest-highest": "the lowest weight multiplies the highest unsigned activation",
    "product-highest-lowest": "the highest weight multiplies the lowest signed activation",
    "product-highest-highest": "the highest weight multiplies the highest unsigned activation",
    "sum-lowest": "an accumulator gets the lowest value of its width",
    "sum-highest": "an accumulator gets the highest value of its width",
    "total-lowest": "sum and bias together are the lowest value of an accumulator",
    "total-highest": "sum and bias together are the highest value of an accumulator",
    "saturate-highest-signed": "an output is saturated to the highest signed activation",
    "saturate-highest-unsigned": "an output is saturated to the highest unsigned activation",
    "saturate-lowest-signed": "an output is saturated to the lowest signed activation",
    "saturate-zero-unsigned": "a negative result becomes zero because outputs are unsigned",
    "saturate-zero-relu": "ReLU makes a negative result zero where outputs are signed",
    # Jobs and drain
    "jobs-all": "as many jobs are under way as the engine can have",
    "jobs-same-layer": "two inferences are in the same layer",
    "jobs-other-layers": "jobs of different layers are under way",
    "drain-stops": "the drain has no room for another row",
    "drain-holds": "a PE has to wait because its accumulators are read",
    "drain-beside": "a PE goes on while the other memory of its accumulators is read",
    "drain-while-walking": "the drain is at work while the walker passes words of another job",
    "hidden-full": "the queue of the words between layers is full",
    # y
    "y-held-walking": "y is held up while the walker passes words",
    "y-held-blocked": "y is held up while a full queue holds the walker up",
    "y-held-waiting": "y is held up while the walker waits for a word",
    "y-held-standing": "y is held up while the walker has no job",
    "y-held-multiplying": "y is held up while a PE multiplies",
    "y-held-idle": "y is held up while no PE multiplies and the walker has no job",
    "y-held-drain-stops": "y is held up and the drain has no room for another row",
    "y-held-jobs-all": "y is held up and no further job can begin",
    "y-held-last": "the last word of y is held up",
    "y-held-more": "a word of y that is not the last is held up",
    "y-held-loading": "y is held up while bytes of an image come",
    "y-held-committing": "y is held up and a program waits to be exchanged",
    "y-held-x-comes": "y is held up while a word of x is taken",
    "y-held-x-held": "y is held up and so is x",
    # x
    "x-pauses": "an x has begun and its next word is not offered",
    "x-without-program": "x waits while no program is in use",
    "x-full": "x waits because its queue is full",
    "x-behind-hidden": "x waits for a cycle because a hidden word is stored",
    "x-behind-program": "x waits because another program does",
    # Programs
    "load-pauses": "an image has begun and its next byte is not offered",
    "load-held": "a byte of an image is held up",
    "load-walking": "a byte of an image is taken while the walker passes words",
    "load-waits": "with one bank, an image waits for the inferences under way",
    "commit-waits": "a complete image waits for the inferences under way",
    "commit-inside-x": "a complete image waits for the rest of an x",
    "commit-first": "a program comes into use where there was none",
    "commit-bank-0": "bank 0 is exchanged for bank 1",
    "commit-bank-1": "bank 1 is exchanged for bank 0",
    **{
        f"fills-{name}": f"an image fills the last word of {section.name}"
        for section, name in MEMORIES.items()
    },
    # Layer table
    **{
        f"{field}-{end}": f"a layer is drained whose `{field}` is the {end} of any program"
        for field in FIELDS
        for end in ("lowest", "highest")
    },
    # Reset
    "reset-loading": "reset while an image comes",
    "reset-committing": "reset while a complete image waits, or its program is being prepared",
    "reset-x": "reset inside an x",
    "reset-walking": "reset while the walker passes words",
    "reset-multiplying": "reset while a PE multiplies",
    "reset-draining": "reset while the drain is at work",
    "reset-y": "reset while a word of y is offered",
}


def field_ends(spec: EngineSpec) -> dict[str, tuple[int, int]]:
    """Give the lowest and highest value of each of :data:`FIELDS` in any program for an engine.

    Examples
    --------
    >>> from secateur.engine import EngineSpec
    >>> field_ends(EngineSpec(pes=4, lanes=2, row_depth=8, column_depth=32))["rows_words"]
    (1, 8)
    """
    parts = spec.lanes // spec.drain_lanes
    ends: dict[str, tuple[int, int]] = dict.fromkeys(FIELDS, (0, 1))
    ends["source_words"] = (1, spec.column_depth)
    rows = min(spec.row_depth * spec.groups // spec.lanes, spec.bias_depth // parts)
    ends["rows_words"] = (1, rows)
    ends["column_base"] = (0, spec.column_depth - 1)
    ends["weight_base"] = (0, spec.weight_depth - 1)
    ends["bias_base"] = (0, spec.bias_depth - parts)
    ends["shift"] = (0, 47)
    ends["code_extra"] = (0, len(spec.code_widths) - 1)
    known = {field.name for field in memories(spec)[Section.LAYERS].record.fields}
    return {name: each for name, each in ends.items() if name in known}
