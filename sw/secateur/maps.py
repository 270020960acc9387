"""Where the maps of a network lie in an engine's activation memory, and how layers walk them.

Only engines with ``positions`` have maps. An activation has the address ``word * lanes + lane``. A
map is rows of pixels of channels, with the zeros of the next layer's padding around it; a layer of
fully connected neurons reads one patch, which is the whole map, and gives one pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from secateur.convolution import Convolution
    from secateur.engine import EngineSpec

__all__ = ["Walk", "lay_out"]

#: Windows of a row that take turns, at most: with more, distant parts of an image are no more
#: unlike each other.
MOST_TURNS = 4


@dataclass(frozen=True, kw_only=True)
class Walk:
    """How a layer reads its input map and writes its output.

    Parameters
    ----------
    source_base : int
        Address of the first position's patch.
    channels : int
        Channels of the input, in the first places of each pixel.
    pixel : int
        Activations from one pixel of the input to the next.
    pitch : int
        Pixels from one row of the input to the next.
    patch : tuple of int
        Rows and columns of pixels that a position sees.
    stride : tuple of int
        Steps of positions, rows and columns of pixels.
    window, windows : tuple of int
        Rows and columns of positions that are pooled into one pixel of the output, and of those.
    averages : bool
        Whether windows are averaged.
    rows_words : int
        Words of a pixel of the output.
    target_base, target_gap : int
        Word of the output's first pixel, and words left out after each row of pixels.
    hidden : bool
        Whether the output is another layer's input.
    end : int
        Words of the activation memory up to the end of the input map and, in the first layer, of x.
    """

    source_base: int
    channels: int
    pixel: int
    pitch: int
    patch: tuple[int, int]
    stride: tuple[int, int]
    window: tuple[int, int]
    windows: tuple[int, int]
    averages: bool
    rows_words: int
    target_base: int
    target_gap: int
    hidden: bool
    end: int

    @property
    def positions(self) -> int:
        """Places where sums are computed."""
        return math.prod(self.window) * math.prod(self.windows)

    @property
    def columns(self) -> int:
        """Weights of a row."""
        return self.channels * math.prod(self.patch)

    @property
    def output_words(self) -> int:
        """Words of the output."""
        return self.rows_words * math.prod(self.windows)

    def turns(self, spec: EngineSpec) -> int:
        """Say how many windows of a row take turns: what is dense is seldom so everywhere.

        They are equally far from each other, and their rows are pooled at the same time. The
        network's outputs come in their order.
        """
        rows = self.rows_words * spec.lanes
        room = spec.set_depth * spec.groups if math.prod(self.window) > 1 else MOST_TURNS * rows
        most = min(MOST_TURNS, room // rows) if self.hidden else 1
        return max((n for n in range(2, most + 1) if self.windows[1] % n == 0), default=1)

    def offsets(self, columns: NDArray[np.int64], places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Give the offset of each column's activation from the patch's first one.

        Parameters
        ----------
        columns : int64[n]
            ``(channel * rows of the patch + y) * columns of the patch + x``.
        places : int64[channels]
            Where each channel stands in a pixel.
        """
        channel, inside = np.divmod(columns, math.prod(self.patch))
        y, x = np.divmod(inside, self.patch[1])
        return (y * self.pitch + x) * self.pixel + places[channel]

    def inside(self, offsets: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tell which offsets are of a channel in the patch: bool, of the shape of ``offsets``."""
        at, place = np.divmod(offsets, self.pixel)
        y, x = np.divmod(at, self.pitch)
        return (place < self.channels) & (x < self.patch[1]) & (y < self.patch[0])

    def column_at(
        self, offsets: NDArray[np.int64], channels: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Undo :meth:`offsets`; ``channels`` (int64[channels]) says which stands where."""
        at, place = np.divmod(offsets, self.pixel)
        y, x = np.divmod(at, self.pitch)
        return (channels[place] * self.patch[0] + y) * self.patch[1] + x

    def fields(self, spec: EngineSpec) -> dict[str, int]:
        """Give the words of the layer table that only engines with maps have."""
        dy, dx = self.stride[0] * self.pitch * self.pixel, self.stride[1] * self.pixel
        turns = self.turns(spec)
        apart = self.windows[1] // turns
        counts = [turns, self.window[1], self.window[0], apart, self.windows[0]]
        # What each loop moves the patch by, from where it was when the inner ones began.
        window = self.window[1] * dx
        moves = [apart * window, dx, dy, window, self.window[0] * dy]
        back, steps = 0, []
        for count, move in zip(counts, moves, strict=True):
            steps.append((move - back) % (1 << spec.address_width) if count > 1 else 0)
            back += (count - 1) * move
        averaged = math.prod(self.window) if self.averages else 1
        # The output's next word is the one behind the last, and so many further on.
        targets = {
            "turn": (apart - 1) * self.rows_words if turns > 1 else 0,
            "column": (1 - turns) * apart * self.rows_words,
            "row": self.target_gap,
        }
        return {
            "source_base": self.source_base,
            **{f"count{loop}": count - 1 for loop, count in enumerate(counts)},
            **{f"step{loop}": step for loop, step in enumerate(steps)},
            "target_base": self.target_base,
            **{f"target_{loop}": gap % spec.activation_depth for loop, gap in targets.items()},
            "output_words": self.output_words,
            "average": int(averaged > 1),
            "average_shift": averaged.bit_length() - 1,
        }


@dataclass(frozen=True, kw_only=True)
class _Map:
    """A layer's input: where it lies, and how large it is without its border.

    ``start`` is the word of its first pixel, in the border if there is one; ``written`` and ``end``
    are the words behind the last pixel that is written and behind the border.
    """

    start: int
    written: int
    end: int
    channels: int
    pixel: int
    pitch: int
    plane: tuple[int, int]


def lay_out(
    layers: Sequence[tuple[Convolution | None, int]], *, inputs: int, pitch: int, lanes: int
) -> list[Walk]:
    """Lay the maps of a network side by side.

    A map begins where the one before ends, but for the zeros around both, which they share. x
    takes all words before the first one that the first layer writes.

    Parameters
    ----------
    layers : sequence of (Convolution or None, int)
        Of each layer, None if it is fully connected, and its rows that are left. Channels and
        groups of the convolutions do not count.
    inputs : int
        Activations of x; in front of a convolution, its channels.
    pitch : int
        Pixels of a row of x, in front of a convolution.
    lanes : int
    """
    walks = []
    source = _image(layers[0][0], inputs, pitch, lanes)
    borders = [(0, 0) if each is None else each.padding for each, _ in layers[1:]]
    for index, (convolution, rows) in enumerate(layers):
        hidden = index + 1 < len(layers)
        top, left = borders[index] if hidden else (0, 0)
        patch, windows, window, stride = source.plane, (1, 1), (1, 1), (1, 1)
        averages = False
        if convolution is not None:
            patch, windows, stride = convolution.kernel, convolution.plane, convolution.stride
            if convolution.pool is not None:
                window = convolution.pool.size
                averages = convolution.pool.kind == "average"
        words = -(-rows // lanes)
        across = windows[1] + 2 * left
        before = (top * across + left) * words
        first = max(source.end, source.written + before)
        walks.append(
            Walk(
                source_base=source.start * lanes,
                channels=source.channels,
                pixel=source.pixel,
                pitch=source.pitch,
                patch=patch,
                stride=stride,
                window=window,
                windows=windows,
                averages=averages,
                rows_words=words,
                target_base=first if hidden or index == 0 else 0,
                target_gap=2 * left * words,
                hidden=hidden,
                end=source.end if index else first,
            )
        )
        start = first - before
        source = _Map(
            start=start,
            written=first + ((windows[0] - 1) * across + windows[1]) * words,
            end=start + (windows[0] + 2 * top) * across * words,
            channels=rows,
            pixel=words * lanes,
            pitch=across,
            plane=windows,
        )
    return walks


def _image(convolution: Convolution | None, inputs: int, pitch: int, lanes: int) -> _Map:
    """Lay out x."""
    height, width, top, left = 1, 1, 0, 0
    if convolution is None:
        pitch = 1
    else:
        (height, width), (top, left) = (convolution.height, convolution.width), convolution.padding
    written = (top + height - 1) * pitch + left + width
    end = (2 * top + height - 1) * pitch + 2 * left + width
    return _Map(
        start=0,
        written=-(-written * inputs // lanes),
        end=-(-end * inputs // lanes),
        channels=inputs,
        pixel=inputs,
        pitch=pitch,
        plane=(height, width),
    )
