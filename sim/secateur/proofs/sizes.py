"""The engines of the proofs."""

import dataclasses

from secateur.engine import EngineSpec

__all__ = ["MAPS", "SPEC"]

#: The smallest engine: a proof's size is the number of its registers.
SPEC = EngineSpec(
    pes=2,
    lanes=2,
    activation_width=4,
    weight_width=2,
    index_width=1,
    entry_width=3,
    accumulator_width=6,
    bias_width=6,
    queue_depth=4,
    weight_depth=4,
    column_depth=4,
    row_depth=4,
    activation_depth=4,
    bias_depth=2,
    layer_depth=2,
    banks=1,
)
#: Likewise with maps.
MAPS = dataclasses.replace(SPEC, jobs=1, positions=2)
