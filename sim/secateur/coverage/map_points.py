"""What random programs must have met on engines with maps, one sentence each.

What both kinds of engine have alike (queues, entries, products, requantisation, the loader) is in
:mod:`secateur.coverage.points`.
"""

from __future__ import annotations

from secateur.format import AVERAGE_BITS, LOOPS

__all__ = ["LEAST", "MAP_POINTS"]

#: The least value of each field of a layer's word that only engines with maps have.
LEAST = {
    "source_base": 0,
    **{f"count{loop}": 0 for loop in range(LOOPS)},
    **{f"step{loop}": 0 for loop in range(LOOPS)},
    "target_base": 0,
    **dict.fromkeys(("target_turn", "target_column", "target_row"), 0),
    "output_words": 1,
    "average": 0,
    "average_shift": 0,
}

#: Every point, and what happens in a cycle in which it is seen.
MAP_POINTS: dict[str, str] = {
    # Positions
    "sets-all": "all sets of accumulators are in use",
    "sets-none": "no set of accumulators is in use while a layer is under way",
    "tag-first": "a word of a position with tag 0 is passed",
    "tag-last": "a word of a position with the last tag is passed",
    "position-waits": "a position waits because no set is free",
    "position-follows": "a position begins as the one before ends",
    "position-unknown": "a position has ended before it is known where the next one is",
    "position-one-word": "a position has a single word",
    "position-zero": "all activations of a position are zero",
    "patch-first-lane": "a word is passed of a patch that begins in the first bank",
    "patch-last-lane": "a word is passed of a patch that begins in the last bank",
    "word-zero": "all activations of a word are zero",
    "word-dense": "no activation of a word is zero",
    "walk-blocked": "a full queue holds the walker up",
    "queue-empty": "a PE's queue is empty and it multiplies nothing, while the walker passes words",
    # Drain and pool
    "drain-waits": "the drain waits for the products of a position",
    "drain-follows": "the rows of a position are read as those of the one before end",
    "drain-stops": "the drain has no room for another row",
    "drain-holds": "a PE has to wait because its accumulators are read",
    "drain-beside": "a PE goes on while another memory of its accumulators is read",
    "drain-while-walking": "rows are read while the walker passes words",
    "drain-behind": "rows are read of a layer whose words were all passed",
    "pool-none": "rows are written that are not pooled",
    "pool-max": "rows of the largest of a window are written",
    "pool-average": "rows of a window's average are written",
    "pool-most": f"rows of an average of 2 to {AVERAGE_BITS} activations are written",
    "pool-keeps": "rows are kept until their window is complete",
    "pool-turns": "rows are kept of a window that takes turns",
    # y
    "y-held-walking": "y is held up while the walker passes words",
    "y-held-waiting": "y is held up while a position waits for a set of accumulators",
    "y-held-multiplying": "y is held up while a PE multiplies",
    "y-held-drain-stops": "y is held up and the drain has no room for another row",
    "y-held-last": "the last word of y is held up",
    "y-held-more": "a word of y that is not the last is held up",
    "y-held-loading": "y is held up while bytes of an image come",
    "y-held-committing": "y is held up and a program waits to be exchanged",
    "y-held-x-held": "y is held up and so is x",
    # x
    "x-pauses": "an x has begun and its next word is not offered",
    "x-without-program": "x waits while no program is in use",
    "x-behind-layers": "x waits until the inference under way has ended",
    "x-behind-program": "x waits because another program does",
    # Programs
    "commit-waits": "a complete image waits for the inference under way",
    "commit-inside-x": "a complete image waits for the rest of an x",
    "commit-first": "a program comes into use where there was none",
    "commit-again": "a program comes into use in the place of another",
    "clear": "a word of the maps is cleared",
    # Layer table
    **{f"{field}-least": f"a layer starts whose `{field}` is {at}" for field, at in LEAST.items()},
    **{
        f"{field}-more": f"a layer starts whose `{field}` is more than {at}"
        for field, at in LEAST.items()
    },
}
