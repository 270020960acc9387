"""Write the results of the digits example into the README: `python benchmarks/results.py`.

Builds what is not built, which is `make demo`, and adds what the cycle model says of other sizes
of the engine; simulation shows that the model is exact (`tests/cosim/test_simulate.py`).
"""

import json
from pathlib import Path

import numpy as np

from secateur import data
from secateur.build import build
from secateur.cycles import model
from secateur.encode import encode, fit
from secateur.markdown import table, update
from secateur.network import Network
from secateur.project import Project
from secateur.summary import ACCURACIES, LAYER_COLUMNS, RESOURCES, number, percent

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
SIZES = (1, 2, 4, 8, 16, 32)


def sizes(network: Network, test: data.Split) -> str:
    """Compare engines of several sizes."""
    x = network.quantize_input(test.x)
    rows = []
    for pes in SIZES:
        program = encode(network, fit(network, pes=pes))
        latency, layers = model(program, network, x)
        ideal = np.sum([layer.ideal for layer in layers], axis=0).mean()
        rows.append([
            str(pes),
            number(float(latency.mean())),
            number(float(ideal)),
            percent(float(ideal / latency.mean())),
            number(program.bits_per_weight),
        ])
    dense = sum(layer.weights.size for layer in network.layers)
    kept = sum(int((layer.weights != 0).sum()) for layer in network.layers)
    return (
        f"Of {number(dense)} weights {number(kept)} are left. Cycles from the first word of x to "
        f"the last of y, mean over the test split:\n\n"
        + table(("PEs", "cycles", "ideal", "reached", "stored bits a weight"), *rows)
        + "\n\nThe ideal is a multiplication in every PE in every cycle."
    )


def main() -> None:
    """Rewrite the block of the README."""
    project = Project.load(ROOT / "examples" / "digits.toml")
    folder = build(project, ROOT / "build")
    report = json.loads((folder / "report.json").read_text())
    ((device, synthesis),) = report["synthesis"].items()
    exact = report["bit_exact"]
    parts = [
        (
            "`make demo` on scikit-learn's handwritten digits, 355 test images of 8x8 held apart; "
            "`python benchmarks/results.py` writes this section."
        ),
        table(
            ("accuracy", *ACCURACIES.values()),
            ("test split", *(percent(report["accuracy"][key]) for key in ACCURACIES)),
        ),
        table(
            ("layer", *(heading for heading, _, _ in LAYER_COLUMNS)),
            *(
                (layer["name"], *(form(layer[key]) for _, key, form in LAYER_COLUMNS))
                for layer in report["layers"]
            ),
        ),
        (
            f"Outputs of the simulated Verilog compared with the Python reference: "
            f"{number(exact['outputs'])}, of which wrong: {exact['mismatches']}. Cycles, measured: "
            f"{number(report['cycles']['mean'])}; by the cycle model: "
            f"{number(report['cycles']['model'])}."
        ),
        table(
            (f"{device}, {project.engine.pes} PEs and UART", *RESOURCES.values(), "Fmax, MHz"),
            (
                "after routing",
                *(number(synthesis[key]) for key in RESOURCES),
                number(synthesis["fmax_mhz"]),
            ),
        ),
        sizes(Network.load(folder / "network.safetensors"), data.require(project.data).test),
    ]
    README.write_text(update(README.read_text(), {"results": lambda: "\n\n".join(parts)}))
    print(f"wrote the results of {folder.relative_to(ROOT)} into README.md")


if __name__ == "__main__":
    main()
