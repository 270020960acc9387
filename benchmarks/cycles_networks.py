"""The networks of `cycles.py`, with inputs: learnt, downloaded and drawn ones."""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from secateur import data, mnist
from secateur.build import build
from secateur.errors import BadInputError
from secateur.fixed import NumberFormat, Requant
from secateur.network import Layer, Network
from secateur.project import Project
from secateur.settings import QuantizeSettings
from secateur.stage import find_stages

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from secateur.progress import Display

__all__ = ["EIE", "LENET5", "EieLayer", "autoencoder", "eie_layer", "lenet", "lenet5"]

ROOT = Path(__file__).resolve().parents[1]

#: Images of MNIST's test split, for LeNet-300-100 and for LeNet-5.
IMAGES, LENET5_IMAGES = 200, 500
#: How LeNet-5 is pruned, by the number of times: as the example says, and with the most left where
#: it costs least, as Han et al., 2015, table 4, have it.
LENET5 = {71: {}, 12: {"budget": None, "density": [0.8, 0.11, 0.08, 0.15]}}


@dataclass(frozen=True)
class EieLayer:
    """A layer of EIE's table III and what its engine does there.

    Han et al., ISCA 2016: 64 PEs at 800 MHz.

    Parameters
    ----------
    inputs, outputs : int
    weights, activations : float
        Parts that are not zero.
    theory, actual : float
        Microseconds, of a table of theirs: with perfect balance, padding included, and measured.
    useful : float
        Useful multiplications per PE and cycle, derived from those.
    """

    inputs: int
    outputs: int
    weights: float
    activations: float
    theory: float
    actual: float
    useful: float


EIE = {
    "Alex-6": EieLayer(9216, 4096, 0.09, 0.351, 28.1, 30.3, 0.77),
    "Alex-7": EieLayer(4096, 4096, 0.09, 0.353, 11.7, 12.2, 0.85),
    "Alex-8": EieLayer(4096, 1000, 0.25, 0.375, 8.9, 9.9, 0.76),
    "VGG-6": EieLayer(25088, 4096, 0.04, 0.183, 28.1, 34.4, 0.43),
    "VGG-7": EieLayer(4096, 4096, 0.04, 0.375, 7.9, 8.7, 0.56),
    "VGG-8": EieLayer(4096, 1000, 0.23, 0.411, 7.3, 8.4, 0.90),
    "NT-We": EieLayer(4096, 600, 0.10, 1.0, 5.2, 8.0, 0.60),
    "NT-Wd": EieLayer(600, 8791, 0.11, 1.0, 13.0, 13.9, 0.82),
    "NT-LSTM": EieLayer(1201, 2400, 0.10, 1.0, 6.5, 7.5, 0.75),
}


def eie_layer(name: str, inputs: int) -> tuple[Network, NDArray[np.int64]]:
    """Draw a layer of EIE's and inputs, both at the published densities and with even chances.

    Weights take 15 values beside zero, activations 1 to 255.
    """
    layer = EIE[name]
    rng = np.random.default_rng([*name.encode()])
    codebook = np.array([*range(-120, 0, 16), 0, *range(12, 120, 16)], dtype=np.int64)
    values = codebook[codebook != 0]
    weights = np.zeros((layer.outputs, layer.inputs), dtype=np.int64)
    kept = rng.choice(
        weights.size, round(layer.weights * weights.size), replace=False, shuffle=False
    )
    weights.ravel()[kept] = rng.choice(values, kept.size)
    active = round(layer.activations * layer.inputs)
    x = np.zeros((inputs, layer.inputs), dtype=np.int64)
    for row in x:
        row[rng.choice(layer.inputs, active, replace=False)] = rng.integers(1, 256, active)
    # A quarter of the outputs' range is their standard deviation: hardly one saturates.
    spread = np.sqrt(active * layer.weights * (values**2).mean() * 255**2 / 3)
    return (
        Network(
            name=name,
            layers=(
                Layer(
                    name=name,
                    weights=weights,
                    bias=rng.integers(-1000, 1000, layer.outputs),
                    weight_width=8,
                    input=NumberFormat(width=8, signed=False),
                    requant=Requant(
                        shift=round(np.log2(spread / 32)),
                        output=NumberFormat(width=8, signed=True),
                        relu=False,
                    ),
                    codebook=codebook,
                ),
            ),
        ),
        x,
    )


def lenet(rate: int, display: Display) -> tuple[Network, NDArray[np.int64], float]:
    """Train LeNet-300-100, prune it ``rate`` times, and quantise it; what is in build/ is kept.

    Returns
    -------
    Network
    int64[IMAGES, 784]
        The first images of the test split.
    float
        Error of the integer network on all 10,000, 0 to 1.
    """
    return _learnt(Path(__file__).with_name("cycles.toml"), {"budget": 1 / rate}, IMAGES, display)


def lenet5(rate: int, display: Display) -> tuple[Network, NDArray[np.int64], float]:
    """Train LeNet-5, prune it as ``LENET5`` says, and quantise it; what is in build/ is kept.

    Returns
    -------
    Network
    int64[LENET5_IMAGES, 784]
    float
        As :func:`lenet`.
    """
    file = ROOT / "examples" / "lenet5.toml"
    return _learnt(file, LENET5[rate], LENET5_IMAGES, display)


def _learnt(
    file: Path, prune: dict[str, Any], images: int, display: Display
) -> tuple[Network, NDArray[np.int64], float]:
    """Learn what a project file says, pruned in another way; None takes a setting away."""
    tables = Project.load(file).model_dump(mode="json", exclude_unset=True)
    tables["prune"] |= prune
    tables["prune"] = {name: value for name, value in tables["prune"].items() if value is not None}
    project = Project.model_validate(tables)
    stages = {
        name: stage
        for name, stage in find_stages().items()
        if name in ("train", "prune", "quantize")
    }
    folder = build(project, ROOT / "build", stages=stages, display=display)
    network = Network.load(folder / "network.safetensors")
    error = 1 - json.loads((folder / "quantize.json").read_text())["accuracy"]
    test = data.require(project.data).test.head(images)
    return network, network.quantize_input(test.flat), error


def autoencoder(kept: float) -> tuple[Network, NDArray[np.int64]]:
    """Prune MLPerf Tiny's anomaly detector by magnitude, layer by layer, and quantise it.

    Nothing is retrained, so that it detects nothing any more: it is there for its shape. Batch
    norm is folded into weights and biases. The inputs are the 196 windows of five frames of one
    recording.
    """
    import h5py  # these three are only needed here
    import torch
    from torch import nn

    from secateur.masking import cut
    from secateur.model import weights
    from secateur.quantize import quantize
    from secateur.threshold import by_density

    folder = mnist.folder().parent / "models" / "ad01"
    file = folder / "ad01.h5"
    if not file.is_file():
        raise BadInputError(
            f"{file} is missing; take it from github.com/mlcommons/tiny, "
            f"benchmark/training/anomaly_detection/trained_models"
        )
    layers = OrderedDict[str, nn.Module]()
    with h5py.File(file) as content:
        for index in range(10):
            suffix = f"_{index}" if index else ""

            def read(kind: str, name: str, suffix: str = suffix) -> torch.Tensor:
                path = f"model_weights/{kind}{suffix}/{kind}{suffix}/{name}:0"
                return torch.from_numpy(np.array(content[path]))

            kernel = read("dense", "kernel").T
            linear = nn.Linear(kernel.shape[1], kernel.shape[0])
            linear.weight.data, linear.bias.data = kernel.contiguous(), read("dense", "bias")
            layers[f"fc{index + 1}"] = linear
            if index < 9:
                norm = nn.BatchNorm1d(kernel.shape[0], eps=1e-3)
                kind = "batch_normalization"
                norm.weight.data, norm.bias.data = read(kind, "gamma"), read(kind, "beta")
                norm.running_mean = read(kind, "moving_mean")
                norm.running_var = read(kind, "moving_variance")
                layers[f"norm{index + 1}"], layers[f"relu{index + 1}"] = norm, nn.ReLU()
    module = nn.Sequential(layers).eval()
    found = dict(weights(module).items())
    cut(module, by_density(found, dict.fromkeys(found, kept)))
    frames = np.fromfile(folder / "normal_id_01_00000000_hist_librosa.bin", dtype="<f4")
    frames = frames.reshape(-1, 128)
    windows = np.stack([frames[at : at + 5].ravel() for at in range(len(frames) - 4)])
    network = quantize(module, windows, QuantizeSettings(codebook_bits=4), "ad01")
    return network, network.quantize_input(windows)
