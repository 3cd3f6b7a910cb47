"""Measures one token of every row with reordered weights and with PyTorch's own linear layers, by turns.

    python benchmarks/packed_linear.py MODEL --rows 4,16,64,128

MODEL is the folder of a causal model. Other work on the machine slows both alike.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import torch

from rollwise.engines.local import load_checkpoint
from rollwise.engines.local.cache import Arena
from rollwise.engines.local.linear import PackedLinear, pack_linears


def step_seconds(folder: Path, rows: int, length: int, repeats: int) -> dict[str, float]:
    """Seconds of one token of all rows after `length` tokens: the median turn of each kind of layer.

    Raises SystemExit if no layer of the model is reordered on this machine.
    """
    model, _ = load_checkpoint(folder, "AutoModelForCausalLM", "float32")
    arena, head = Arena(model.base_model, rows), model.get_output_embeddings()
    pack_linears(head)
    layers = [layer for layer in model.modules() if isinstance(layer, PackedLinear)]
    if not layers:
        raise SystemExit("no layer is reordered here: that takes AVX2 as the widest instructions and large matrices")
    tokens, starts = torch.zeros(rows, 1, dtype=torch.long), torch.full((rows,), length)
    kinds: dict[str, type[torch.nn.Linear]] = {"linear": torch.nn.Linear, "packed": PackedLinear}
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    with torch.inference_mode():
        for _ in range(repeats + 1):
            for kind, layer_class in kinds.items():
                for layer in layers:
                    layer.__class__ = layer_class
                started = time.perf_counter()
                head(arena.forward(tokens, starts, length + 1))
                seconds[kind].append(time.perf_counter() - started)
    return {kind: statistics.median(taken[1:]) for kind, taken in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="folder of a causal model")
    parser.add_argument("--rows", default="4,16,64,128", help="numbers of rows (default: 4,16,64,128)")
    parser.add_argument("--length", type=int, default=200, help="tokens before (default: 200)")
    parser.add_argument("--repeats", type=int, default=15, help="turns of each (default: 15)")
    parser.add_argument("--threads", type=int, help="threads of torch within an operation")
    given = parser.parse_args()
    torch.set_num_threads(given.threads or torch.get_num_threads())
    print(f"{torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__}")
    for rows in map(int, given.rows.split(",")):
        taken = step_seconds(given.model, rows, given.length, given.repeats)
        times = ", ".join(f"{kind} {1000 * value:.1f} ms" for kind, value in taken.items())
        print(f"{rows:4} rows: {times}, ratio {taken['linear'] / taken['packed']:.2f}", flush=True)


if __name__ == "__main__":
    main()
