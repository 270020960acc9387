"""Random networks that an engine just holds, and inputs that drive them to their bounds.

A layer without a weight is no layer (:class:`secateur.network.Layer` refuses it), so density 0
means one weight in the whole layer.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from secateur.bench.random_lengths import cut_up, random_lengths
from secateur.encode import encode
from secateur.errors import BadInputError
from secateur.fixed import NumberFormat, Requant
from secateur.network import Layer, Network
from secateur.placement import place
from secateur.words import Words

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from secateur.engine import EngineSpec
    from secateur.program import Program

__all__ = ["Case", "random_case"]

#: Of the weights that are not dead.
DENSITIES = (0, 0.03, 0.2, 0.5, 0.9, 1)
#: Changes of a network until it fits.
TRIES = 200


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """A program, the network that it is, and inputs: x is int64[count, network.inputs]."""

    theme: str
    network: Network
    program: Program
    x: NDArray[np.int64]


def random_case(spec: EngineSpec, theme: str, seed: int, *, count: int) -> Case:
    """Make a network of one of the :data:`THEMES`, its program and ``count`` inputs."""
    maker = _Maker(spec, theme, np.random.default_rng(seed))
    network, program = maker.fitted()
    return Case(theme=theme, network=network, program=program, x=maker.inputs(network, count))


class _Maker:
    """All that is drawn for one network."""

    kinds: list[NumberFormat]
    sample: NDArray[np.int64]

    def __init__(self, spec: EngineSpec, theme: str, rng: np.random.Generator) -> None:
        self.spec, self.theme, self.rng = spec, theme, rng
        #: Nothing may be dead, so that the lengths stay what they are.
        self.alive = theme not in ("any", "one", "tall")
        self.extreme = bool(rng.random() < 0.4)
        self.failed = 0

    # Layers.

    def _all_weights(self) -> list[NDArray[np.int64]]:
        """Draw the weights of each layer, of which there may be too many."""
        lengths = random_lengths(self.spec, self.theme, self.rng)
        shapes = [*zip(lengths[1:], lengths, strict=False)]
        signs = self.rng.random(len(lengths)) < 0.5
        # An even bound is no multiple of the highest unsigned activation.
        signs[0] |= self.theme == "bounds"
        width = self.spec.activation_width
        self.kinds = [NumberFormat(width=width, signed=bool(sign)) for sign in signs]
        self.sample = self._values(self.kinds[0], (32, lengths[0]))
        weights = [self._weights(*shape, last=shape is shapes[-1]) for shape in shapes]
        if self.theme == "bounds":
            self._bound(weights[0], self.kinds[0])
        return weights

    def _network(self, matrices: list[NDArray[np.int64]]) -> Network:
        """Draw biases and shifts with which something is left to see of the sums."""
        x, layers = self.sample, []
        for index, weights in enumerate(matrices):
            kind, relu = self.kinds[index], bool(self.rng.random() < 0.5)
            slack = self._narrow(weights, kind)
            sums = x @ weights.T
            bias = self._bias(sums, slack)
            requant = Requant(shift=self._shift(sums), output=self.kinds[index + 1], relu=relu)
            layers.append(self._layer(f"fc{index + 1}", weights, bias, kind, requant))
            x = layers[-1].compute(x)
        return Network(name=self.theme, layers=tuple(layers))

    def _narrow(self, weights: NDArray[np.int64], kind: NumberFormat) -> int:
        """Halve weights, in place, until the accumulators hold their sums; return what is left."""
        top = (1 << (self.spec.accumulator_width - 1)) - 1
        while True:
            positive = np.maximum(weights, 0).sum(axis=1)
            negative = np.minimum(weights, 0).sum(axis=1)
            highest = int((positive * kind.highest + negative * kind.lowest).max())
            lowest = int((positive * kind.lowest + negative * kind.highest).min())
            slack = top - max(highest, -1 - lowest)
            if slack >= 0:
                return slack
            weights[:] = np.sign(weights) * np.maximum(abs(weights) >> 1, weights != 0)

    def _layer(
        self,
        name: str,
        weights: NDArray[np.int64],
        bias: NDArray[np.int64],
        kind: NumberFormat,
        requant: Requant,
    ) -> Layer:
        """Make a layer in as few bits as its weights need."""
        spec = self.spec
        values = np.unique(np.append(weights, 0))
        least = max(2, *(int(value if value > 0 else ~value).bit_length() + 1 for value in values))
        return Layer(
            name=name,
            weights=weights,
            bias=bias,
            weight_width=spec.weight_width if spec.codebook_bits else least,
            input=kind,
            requant=requant,
            codebook=values if spec.codebook_bits else None,
        )

    def _weights(self, rows: int, columns: int, *, last: bool) -> NDArray[np.int64]:
        spec, rng = self.spec, self.rng
        low = -1 << (spec.weight_width - 1)
        bits = int(rng.integers(2, spec.weight_width + 1))
        narrow = np.arange(-1 << (bits - 1), 1 << (bits - 1))
        values = np.array([low, low + 1, -1, 1, ~low]) if self.extreme else narrow[narrow != 0]
        if spec.codebook_bits:
            most = min(values.size, (1 << spec.codebook_bits) - 1)
            fewest = min(most, 2)
            values = rng.choice(values, rng.integers(fewest, most + 1), replace=False)
        weights = rng.choice(values, (rows, columns))
        density = DENSITIES[rng.integers(len(DENSITIES))]
        if self.theme in ("hidden", "weights"):
            density = 0.9 if not last else 0
        elif self.theme in ("one", "dense", "tall"):
            density = {"one": 0, "dense": 1, "tall": 0.05}[self.theme]
        weights[rng.random(weights.shape) >= density] = 0
        if not self.alive and rng.random() < 0.4:
            weights[rng.random(rows) < 0.3] = 0
            weights[:, rng.random(columns) < 0.3] = 0
        return self._revived(weights, values, last=last)

    def _revived(
        self, weights: NDArray[np.int64], values: NDArray[np.int64], *, last: bool
    ) -> NDArray[np.int64]:
        """Give a layer one weight at least; and each column and hidden row, where all must live."""
        rng, (rows, columns) = self.rng, weights.shape
        if self.alive:
            for column in np.flatnonzero(~weights.any(axis=0)):
                weights[rng.integers(rows), column] = rng.choice(values)
            for row in np.flatnonzero(~weights.any(axis=1)) if not last else ():
                weights[row, rng.integers(columns)] = rng.choice(values)
        if not weights.any():
            weights[rng.integers(rows), rng.integers(columns)] = rng.choice(values)
        return weights

    def _bound(self, weights: NDArray[np.int64], kind: NumberFormat) -> None:
        """Let the first two rows reach the highest and the lowest number of an accumulator.

        With all positive weights of a row together p, all negative ones -n, and activations from
        ``lowest`` to ``highest``, its sums reach from ``p * lowest - n * highest`` to
        ``p * highest - n * lowest``.
        """
        low, high = -1 << (self.spec.weight_width - 1), (1 << (self.spec.weight_width - 1)) - 1
        bottom = -1 << (self.spec.accumulator_width - 1)
        weights[:] = 0
        self._revived(weights[2:], np.array([1]), last=True)
        for row, goal in enumerate((~bottom, -bottom)):
            up, down = (kind.highest, -kind.lowest)[:: 1 if row == 0 else -1]
            p = np.arange(goal // up + 1)
            n, rest = np.divmod(goal - p * up, down)
            fits = (rest == 0) & (p * down + n * up <= (-bottom, ~bottom)[row])
            at = int(self.rng.choice(np.flatnonzero(fits)))
            parts = [*cut_up(int(p[at]), high), *(-part for part in cut_up(int(n[at]), -low))]
            # In one lane, so that one PE adds all of it.
            weights[row, : len(parts) * self.spec.lanes : self.spec.lanes] = parts

    def _bias(self, sums: NDArray[np.int64], slack: int) -> NDArray[np.int64]:
        """Draw biases: mostly no larger than the sums, sometimes as large as may be."""
        most = min(slack, (1 << (self.spec.bias_width - 1)) - 1) >> self.failed
        if self.rng.random() < 0.8:
            most = min(most, int(abs(sums).mean()) + 1)
        return self.rng.integers(-most, most + 1, sums.shape[1])

    def _shift(self, sums: NDArray[np.int64]) -> int:
        """Draw a shift: mostly one that leaves something to see, otherwise any."""
        if self.rng.random() < 0.1:
            return int(self.rng.choice((0, 47, int(self.rng.integers(48)))))
        bits = int(abs(sums).mean()).bit_length() + 2 - self.spec.activation_width
        return max(0, bits + int(self.rng.integers(-1, 2)))

    # To fit.

    def fitted(self) -> tuple[Network, Program]:
        """Make less of a network until the engine holds it."""
        matrices = self._all_weights()
        for self.failed in range(TRIES):
            matrices = self._filled(matrices) if self.theme == "weights" else matrices
            network = self._network(matrices)
            try:
                program = encode(network, self.spec)
            except BadInputError:
                matrices = [self._less(each, last=each is matrices[-1]) for each in matrices]
            else:
                return self._livelier(matrices, network, program)
        raise AssertionError(f"{self.theme}: no network fits")

    def _livelier(
        self, matrices: list[NDArray[np.int64]], network: Network, program: Program
    ) -> tuple[Network, Program]:
        """Mostly look for biases and shifts with which outputs differ more."""
        most = 0 if self.rng.random() < 0.7 else np.inf
        for _ in range(6):
            other = self._network(matrices)
            values = np.unique(other.compute(self.sample)).size
            if values > most:
                with contextlib.suppress(BadInputError):
                    network, program, most = other, encode(other, self.spec), values
        return network, program

    def _less(self, weights: NDArray[np.int64], *, last: bool) -> NDArray[np.int64]:
        """Drop some weights."""
        less = np.where(self.rng.random(weights.shape) < 0.15, 0, weights)
        return self._revived(less, weights[weights != 0], last=last)

    def _filled(self, matrices: list[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
        """Add weights to the first layer until the last one's begin in the last word."""
        for _ in range(TRIES):
            network = self._network(matrices)
            placement = place(network, pes=self.spec.pes, lanes=self.spec.lanes)
            used = Words(placement=placement, spec=self.spec).weight_bases[-2]
            left = self.spec.weight_depth - 1 - used
            if left == 0:
                return matrices
            first = matrices[0].copy()
            if left > 0:
                free = self.rng.permutation(np.argwhere(first == 0))
                first[tuple(free[: max(1, left * self.spec.pes // 2)].T)] = first[first != 0][0]
            else:
                first = self._less(first, last=False)
            matrices = [first, *matrices[1:]]
        raise AssertionError(f"{self.theme}: the memory does not fill")

    # Inputs.

    def _values(self, kind: NumberFormat, shape: tuple[int, int]) -> NDArray[np.int64]:
        x = self.rng.integers(kind.lowest, kind.highest + 1, shape)
        ends = self.rng.choice((kind.lowest, kind.highest), shape)
        x = np.where(self.rng.random((shape[0], 1)) < 0.4, ends, x)
        x[self.rng.random(shape) < self.rng.choice((0, 0.5, 0.9), (shape[0], 1))] = 0
        return x

    def inputs(self, network: Network, count: int) -> NDArray[np.int64]:
        """Draw inputs: zeros, and those that give a row its highest or its lowest sum, too."""
        first = network.layers[0]
        kind, rows = first.input, len(first.weights)
        x = self._values(kind, (count, network.inputs))
        for index in range(0, count, 2):
            up = index % 4 == 0
            row = first.weights[int(not up) if self.theme == "bounds" else self.rng.integers(rows)]
            x[index] = np.where((row > 0) == up, kind.highest, kind.lowest)
        x[3::4] = 0
        return x
