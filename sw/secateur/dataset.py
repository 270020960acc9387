"""A set of examples: real-valued inputs and labels, in the three parts that everything uses."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from secateur.errors import BadInputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["PARTS", "Dataset", "Split"]

#: Parts of a set of examples.
PARTS = ("train", "validation", "test")

#: Training examples that are watched where there is no validation split.
WATCHED = 10_000


@dataclass(frozen=True, eq=False)
class Split:
    """Examples and what they are.

    Parameters
    ----------
    x : float32[n, *shape]
        Inputs in real units: [n, features], or images [n, channels, height, width].
    labels : int64[n]
        Classes, from 0.
    """

    x: NDArray[np.float32]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def flat(self) -> NDArray[np.float32]:
        """The inputs as the integer network takes them, float32[n, features]."""
        return self.x.reshape(len(self), math.prod(self.x.shape[1:]))

    def head(self, count: int | None) -> Split:
        """Take the first ``count`` examples, all of them for None."""
        return Split(self.x[:count], self.labels[:count])

    def accuracy(self, outputs: NDArray) -> float:
        """Part of the examples whose largest output is that of their class.

        Parameters
        ----------
        outputs : number[n, classes]
            Floats or integers; of equal outputs, the first one counts.

        Raises
        ------
        BadInputError
            If there is not one row of outputs for each example, or no example.

        Examples
        --------
        >>> split = Split(np.zeros((2, 1), np.float32), np.array([0, 1]))
        >>> split.accuracy(np.array([[3, 3, 1], [2, 2, 2]]))
        0.5
        """
        if len(self) == 0 or outputs.shape[:-1] != self.labels.shape:
            raise BadInputError(
                f"outputs must be one row for each of {len(self)} examples, at least one, "
                f"not {outputs.shape}"
            )
        return float(np.mean(outputs.argmax(axis=1) == self.labels))


@dataclass(frozen=True, eq=False)
class Dataset:
    """A named set of examples in three parts.

    The training split is learnt from and calibrates, the validation split, which may be empty, is
    watched, and the test split is used for nothing but the figures that are reported.
    """

    name: str
    train: Split
    validation: Split
    test: Split

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one input: (features,), or (channels, height, width)."""
        return self.train.x.shape[1:]

    @property
    def features(self) -> int:
        """Numbers in one input."""
        return math.prod(self.shape)

    @property
    def classes(self) -> int:
        """Number of classes."""
        return int(self.train.labels.max()) + 1

    @property
    def watched(self) -> Split:
        """What learning and pruning are judged by as they go on; never the test split.

        The validation split, or, where it is empty, the first 10,000 training examples: their
        accuracy is that of examples that were learnt from.
        """
        return self.validation if len(self.validation) else self.train.head(WATCHED)
