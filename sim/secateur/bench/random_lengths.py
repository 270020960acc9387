"""Random lengths of layers that an engine's memories just hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from secateur.engine import EngineSpec

__all__ = ["THEMES", "cut_up", "random_lengths"]

#: What a network is made for.
THEMES = {
    "any": "any number of layers of any sizes and densities",
    "one": "one layer with one weight",
    "columns": "one layer, whose columns fill their memory",
    "column": "a last layer that reads the last word of columns",
    "rows": "a last layer with as many rows as any",
    "biases": "a last layer with the last word of biases",
    "weights": "a last layer whose entries are the last words of the weight memories",
    "layers": "as many layers as the table holds",
    "dense": "no zero, and as many rows as a PE can have entries in a column",
    "tall": "few weights in many rows, far from each other",
    "bounds": "sums that are the lowest and the highest number of an accumulator",
    "hidden": "a hidden layer that fills its share of the activation memory",
}


def random_lengths(spec: EngineSpec, theme: str, rng: np.random.Generator) -> list[int]:
    """Draw the lengths of the input and of each layer, for one of the :data:`THEMES`.

    What is as long as it may be fills whole words, or lacks some of the last one.
    """
    # Words of rows that the engine holds, of all layers and of one; of a hidden one.
    all_rows = spec.bias_depth * spec.drain_lanes // spec.lanes
    rows = min(spec.row_depth * spec.groups // spec.lanes, all_rows)
    hidden = min(rows, spec.activation_depth // spec.jobs)
    columns = spec.column_depth

    def below(most: int) -> int:
        """Draw from 1 to ``most``; all orders of magnitude are as likely."""
        return int(np.exp(rng.uniform(0, np.log(most + 1))))

    def layers(count: int) -> list[int]:
        """Draw any words of so many layers; what is too much becomes less."""
        words = [below(columns), *(below(hidden) for _ in range(count - 1)), below(rows)]
        while sum(words[:-1]) > columns or sum(words[1:]) > all_rows:
            largest = int(np.argmax(words))
            words[largest] = max(1, words[largest] // 2)
        return words

    words = {
        "any": lambda: layers(int(rng.integers(1, spec.layer_depth + 1))),
        "one": lambda: [below(columns), below(rows)],
        "columns": lambda: [columns, below(rows)],
        "column": lambda: [columns - 1, 1, below(rows)],
        "rows": lambda: [below(columns), rows],
        "biases": lambda: [1, *cut_up(all_rows - 1, hidden), 1],
        "weights": lambda: [columns - hidden - 1, hidden, 1, 1],
        "layers": lambda: layers(spec.layer_depth),
        "dense": lambda: [below(2), rows],
        "tall": lambda: [below(columns), rows],
        "bounds": lambda: [columns, -(-3 // spec.lanes)],
        "hidden": lambda: [below(4), hidden, below(rows)],
    }[theme]()
    words[-1] = min(words[-1], all_rows - sum(words[1:-1]))
    ragged = rng.random() < 0.5 and theme not in ("bounds", "dense", "weights")
    lengths = [each * spec.lanes - ragged * int(rng.integers(spec.lanes)) for each in words]
    if theme == "dense":
        lengths[-1] = min(lengths[-1], ((1 << spec.count_width) - 1) * spec.groups)
    return lengths


def cut_up(total: int, most: int) -> list[int]:
    """Cut a number into parts of at most ``most``.

    Examples
    --------
    >>> cut_up(20, 8)
    [8, 8, 4]
    """
    return [*[most] * (total // most), *[total % most] * (total % most > 0)]
