"""The page of results: tables beside the paper's figures, and what they rest on."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from plan import ENGINES, Row, Study, Tradeoff

from secateur.markdown import table
from secateur.summary import number, percent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["page"]


def _values(results: Sequence[Mapping[str, Any]], row: Row, key: str) -> list[float]:
    return [result["rows"][row.name][key] for result in results]


def _mean(errors: Sequence[float]) -> str:
    """Write errors as their mean and standard deviation, in per cent.

    >>> _mean([0.01, 0.02]), _mean([0.01])
    ('1.50 ± 0.71 %', '1.00 %')
    """
    mean = 100 * statistics.mean(errors)
    spread = f" ± {100 * statistics.stdev(errors):.2f}" if len(errors) > 1 else ""
    return f"{mean:.2f}{spread} %"


def _range(errors: Sequence[float]) -> str:
    return f"{100 * min(errors):.2f} to {100 * max(errors):.2f} %"


def _sizes(result: Mapping[str, Any], row: Row) -> tuple[int, int]:
    """Count the weights of a network, and those that a row leaves."""
    layers = result["rows"][row.name]["layers"]
    return sum(each["weights"] for each in layers), sum(each["nonzeros"] for each in layers)


def _errors(study: Study, results: Sequence[Mapping[str, Any]]) -> str:
    """Compare each row of a study with what is published."""
    rows = []
    for row in study.rows:
        weights, left = _sizes(results[0], row)
        errors = _values(results, row, "error")
        rows.append((
            row.name,
            number(left),
            f"{weights / left:.1f}x",
            _mean(_values(results, row, "reference")),
            _mean(errors),
            _range(errors),
            row.published,
        ))
    before, after = study.parameters
    paper = ("**the paper**", f"{after // 1000} K", f"{before / after:.0f}x")
    return table(
        ("pruned", "weights left", "rate", "dense error", "error", "seeds", "published"),
        (*paper, percent(study.reference), percent(study.pruned), "-", ""),
        *rows,
    )


def _kept(study: Study, results: Sequence[Mapping[str, Any]]) -> str:
    """Compare what is left of each layer, means over the seeds, with the paper."""
    rows = []
    for index, (name, kept) in enumerate(study.kept.items()):
        layers = [
            [result["rows"][row.name]["layers"][index] for result in results] for row in study.rows
        ]
        parts = [
            statistics.mean(each["nonzeros"] / each["weights"] for each in row) for row in layers
        ]
        rows.append((
            name,
            number(layers[0][0]["weights"]),
            f"{kept:.0%}".replace("%", " %"),
            *(f"{100 * part:.2g} %" for part in parts),
        ))
    return table(("layer", "weights", "the paper", *(row.name for row in study.rows)), *rows)


def _integers(study: Study, results: Sequence[Mapping[str, Any]]) -> str:
    """Compare the integer networks with their float ones, and count what they occupy."""
    rows = []
    for row in study.rows:
        if not row.integer:
            continue
        floats, integers = (_values(results, row, key) for key in ("error", "integer"))
        change = [b - a for a, b in zip(floats, integers, strict=True)]
        sizes = [
            statistics.mean(
                sum(result["rows"][row.name]["bits"][index].values()) / 8000 for result in results
            )
            for index in range(len(ENGINES))
        ]
        rows.append((
            row.name,
            _mean(floats),
            _mean(integers),
            f"{100 * statistics.mean(change):+.2f}",
            *(f"{size:.1f} KB" for size in sizes),
        ))
    engines = [
        f"{each['pes']} PE{'s' * (each['pes'] > 1)}, {each['index_width']}-bit indices"
        for each in ENGINES
    ]
    return table(("pruned", "float error", "integer error", "change, points", *engines), *rows)


def _bits(row: Row, results: Sequence[Mapping[str, Any]]) -> str:
    """Say what the bits of one row hold, for the first engine."""
    kinds = results[0]["rows"][row.name]["bits"][0]
    parts = [
        (kind, statistics.mean(result["rows"][row.name]["bits"][0][kind] for result in results))
        for kind in kinds
    ]
    return ", ".join(f"{kind} {value / 8000:.2f} KB" for kind, value in parts)


def _recipe(study: Study) -> str:
    train = study.project(None, 1).train
    return (
        f"{train.epochs} epochs of SGD, batches of {train.batch_size}, learning rate "
        f"{train.learning_rate:g} falling along half a cosine, momentum {train.momentum:g}, weight "
        f"decay {train.weight_decay:g}, images shifted by up to {train.shift} "
        f"pixel{'s' * (train.shift > 1)}"
    )


def _section(study: Study, results: Sequence[Mapping[str, Any]], folder: str) -> list[str]:
    paper = study.rows[0]
    epochs = ", ".join(
        f"{row.prune['epochs']} ({row.name})" for row in study.rows if row is not paper
    )
    seconds = statistics.mean(result["seconds"] for result in results)
    parts = [
        f"## {study.title}",
        (
            f"Dense: {_recipe(study)}. Smooth pruning to one budget for the network, connections "
            f"free to return, at learning rate {study.rows[1].prune['learning_rate']:g} for "
            f'{epochs} epochs. The row "{paper.name}" goes the way of Han et al.: their densities '
            f"of each layer, {paper.prune['rounds']} rounds of {paper.prune['epochs']} epochs at "
            f"learning rate {paper.prune['learning_rate']:g} (theirs is a tenth of training's) and "
            f"weight decay {paper.prune['weight_decay']:g}, and no shifted images, neither for it "
            f"nor for its dense network. A seed takes {seconds:.0f} s."
        ),
        _errors(study, results),
        "Weights left of each layer:",
        _kept(study, results),
        f"![What pruning each layer alone costs]({folder}/sensitivity-{study.name}.svg)",
        (
            "Each layer pruned alone, without retraining, seed 1, on the examples that are watched "
            "(figure 6 of the paper)."
        ),
        f"![Weights before and after]({folder}/weights-{study.name}.svg)",
        f'Weights before pruning and after retraining, row "{paper.name}", seed 1 (figure 8).',
    ]
    if any(row.integer for row in study.rows):
        smallest = [row for row in study.rows if row.integer][-1]
        quantize = study.project(None, 1).quantize
        parts += [
            "### As integers",
            (
                f"{quantize.codebook_bits}-bit codes of {quantize.weight_width}-bit values, "
                f"{quantize.activation_width}-bit activations, {quantize.epochs} epochs of "
                f"retraining with rounding in the forward pass. Sizes are those of the encoded "
                f"program, with everything that it stores: codes, indices, padding, gaps, "
                f"counts, codebooks, biases and the table of layers; 1 KB is 1,000 bytes."
            ),
            _integers(study, results),
            f"Of {smallest.name} on the first of these engines: {_bits(smallest, results)}.",
            (
                "Deep Compression (Han, Mao, Dally, ICLR 2016) stores LeNet-300-100 in 33 KB at "
                "1.58 %, with Huffman coding in 27 KB."
            ),
        ]
    return parts


def page(
    studies: Sequence[tuple[Study, Sequence[Mapping[str, Any]]]], tradeoff: Tradeoff, folder: str
) -> str:
    """Write the page.

    Parameters
    ----------
    studies : sequence of (Study, sequence of dict)
        With one dict for each seed, as :func:`runs.study` returns it.
    tradeoff : Tradeoff
        Of the last study's network.
    folder : str
        Of the pictures, as the page refers to it.

    Returns
    -------
    str
        Markdown.
    """
    last, results = studies[-1]
    seeds = len(results)
    parts = [
        "# Results",
        (
            "`make reproduce` makes this page and its pictures. It prunes the two networks on "
            'MNIST that Han, Pool, Tran and Dally prune in "Learning both Weights and Connections '
            'for Efficient Neural Networks" (NIPS 2015). Every setting stands in their projects in '
            "`examples/` and in `benchmarks/reproduce/plan.py`."
        ),
        (
            f"Errors are those of the last epoch on the 10,000 test images: mean and standard "
            f"deviation over {seeds} seed{'s' * (seeds > 1)}. Networks learn from all 60,000 "
            f"training images. The test images choose nothing: settings were chosen with 5,000 "
            f"or 10,000 of the training images held apart. One standard deviation of the test set "
            f"itself is 0.13 points at an error of 1.64 %, and 0.09 at 0.8 %. Rates are of weights "
            f"alone."
        ),
    ]
    for study, results in reversed(studies):
        parts += _section(study, results, folder)
    parts += [
        "## Trade-off",
        f"![Accuracy against weights left]({folder}/tradeoff.svg)",
        (
            f"{last.title} without shifted images, seed 1 (figure 5 of the paper): the test "
            f"accuracy less that of the dense network, against the weights left, with one budget "
            f"for the network. {_kinds(tradeoff)} In one shot it is retrained for "
            f"{tradeoff.once['epochs']} epochs; in rounds {tradeoff.often['rounds']} times for "
            f"{tradeoff.often['epochs']}."
        ),
        "## The first layer",
        f"![Connections of the first layer]({folder}/bands.png)",
        (
            f"Connections that are left of {last.title}'s first layer, row "
            f'"{last.rows[0].name}", seed 1 (figure 4): 28 bands, one for each row '
            f"of the image, where its digits are."
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _kinds(tradeoff: Tradeoff) -> str:
    """Say what the regularisations are."""
    said = []
    for name, train in tradeoff.train.items():
        decay, l1 = train.get("weight_decay"), train.get("l1", 0.0)
        amount = f"l1 = {l1:g}" if l1 else "the weight decay of the project"
        said.append(f"{name} is {amount}{'' if decay is None else ' and no weight decay'}")
    return "; ".join(said) + ", in training and retraining."
