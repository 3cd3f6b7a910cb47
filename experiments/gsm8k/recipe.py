"""GSM8K: makes the data, trains a policy and a reward model, and measures them. See docs/gsm8k.md.

The parts, in their order: data, policy, loss, completions, reward, evaluate, pack. After Ctrl-C, the same command goes
on.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prepare import prepare, read_part
from tuning import METHODS, Tuning

from rollwise.cli.progress import Show, progress_bars
from rollwise.data import read_questions, rows_of
from rollwise.errors import InputError, RollwiseError
from rollwise.models import model_folder
from rollwise.training import use_threads

PARTS = ("data", "policy", "loss", "completions", "reward", "evaluate", "pack")


def parser() -> argparse.ArgumentParser:
    """The options of every part."""
    made = argparse.ArgumentParser(prog="recipe.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    made.add_argument("part", choices=PARTS)
    made.add_argument("--out", type=Path, default=Path("runs/gsm8k"), help="folder of the run (default: runs/gsm8k)")
    made.add_argument("--threads", type=int, help="threads of torch; 1 if other programs keep the processor busy")
    made.add_argument("--minutes", type=float, help="stop sampling after so many minutes and keep what there is")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument(
        "--dtype",
        choices=("float32", "bfloat16"),
        help="precision of products (default: "
        "bfloat16 on a GPU, else float32; with AMX or AVX-512 BF16 a processor is faster in bfloat16)",
    )
    made.add_argument("--into", type=Path, help="pack: the folder for the adapters")
    data = made.add_argument_group("data")
    data.add_argument("--data", help="GSM8K's training questions; for evaluate: the questions to be asked")
    data.add_argument("--test", help="GSM8K's test questions, which the training data must not overlap")
    data.add_argument("--copies", type=int, default=2, help="copies of a question with other numbers (default: 2)")
    train = made.add_argument_group("policy and reward")
    train.add_argument("--base", default="smollm2", help="model to start from (default: smollm2)")
    train.add_argument(
        "--method",
        choices=(*METHODS, "head"),
        default=Tuning.method,
        help="lora, full, or for reward: head, which leaves the policy's matrices as they are (default: lora)",
    )
    train.add_argument("--outcomes", type=Path, help="reward with --method head: plain samples of evaluate, as labels")
    train.add_argument("--rank", type=int, default=Tuning.rank, help="rank of the adapter (default: 16)")
    train.add_argument("--adapter", help="adapter to go on from (default: a new one)")
    train.add_argument("--epochs", type=float, default=Tuning.epochs)
    train.add_argument("--batch-tokens", type=int, default=Tuning.batch_tokens)
    train.add_argument("--learning-rate", type=float, help="default: 1e-3 for lora, 1e-4 for full")
    sample = made.add_argument_group("loss, completions and evaluate")
    sample.add_argument("--policy", type=Path, help="policy's folder (default: OUT/policy)")
    sample.add_argument("--part-of", choices=("reward", "validation"), default=None, help="questions that are used")
    sample.add_argument("--questions", type=int, help="only the first so many questions")
    sample.add_argument("--paths", type=int, default=4, help="plain samples that give the prefixes (default: 4)")
    sample.add_argument("--completions", type=int, default=8, help="completions of a prefix (default: 8)")
    sample.add_argument("--samples", type=int, default=16, help="samples of a question for evaluate (default: 16)")
    sample.add_argument("--rows", type=int, default=128, help="paths that are computed at once (default: 128)")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a part; return the exit status."""
    given = parser().parse_args(arguments)
    try:
        if given.threads is not None:
            use_threads(given.threads)
        with progress_bars() as show:
            facts = run(given, show)
    except RollwiseError as error:
        print(f"recipe.py: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("recipe.py: interrupted; the same command goes on", file=sys.stderr)
        return 130
    print(json.dumps(facts, indent=2))
    return 0


def run(given: argparse.Namespace, show: Show) -> dict[str, Any]:
    """The facts of a part, which are also kept in OUT/facts.json. Raises InputError if something is missing."""
    facts = _part(given, show)
    file = given.out / "facts.json"
    held = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    name = given.part
    if given.part in ("loss", "completions", "evaluate"):
        name = f"{given.part} {_policy(given).name} {given.part_of or given.data or _default_part(given.part)}"
    given.out.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({**held, name: facts}, indent=2) + "\n", encoding="utf-8")
    return facts


def _part(given: argparse.Namespace, show: Show) -> dict[str, Any]:
    def tell(done: int, total: int, note: str = "") -> None:
        show(given.part, done, total, note)

    if given.part == "data":
        return prepare(
            _rows(given.data, "--data"), _texts(given.test), given.out / "data", given.copies, given.seed, tell
        )
    options = {"method": given.method, "rank": given.rank, "epochs": given.epochs, "batch_tokens": given.batch_tokens}
    options["adapter"] = given.adapter
    tuning = Tuning(**options, learning_rate=given.learning_rate, seed=given.seed, dtype=given.dtype)
    if given.part == "policy":
        from tuning import tune_policy

        return tune_policy(_base(given.base), read_part(given.out / "data", "policy"), tuning, given.out, tell)
    if given.part == "loss":
        from tuning import held_out_loss

        if given.data is not None:
            raise InputError("loss reads the solutions of a part of the training questions: give --part-of, not --data")
        lines = read_part(given.out / "data", given.part_of or _default_part(given.part))[: given.questions]
        return held_out_loss(_model(_policy(given)), lines, given.batch_tokens, tell)
    if given.part == "pack":
        return _pack(given.out, given.into or given.out / "adapters", given.base)
    import judging

    if given.outcomes and (given.part, given.method) != ("reward", "head"):
        raise InputError("--outcomes labels the head of a reward model: give it to the part reward with --method head")
    completed = given.out / f"completions-{given.part_of or 'reward'}.jsonl"
    if given.part == "reward" and given.method == "head":
        from heads import tune_head

        there = completed if completed.is_file() else None
        return tune_head(_model(_policy(given)), given.outcomes, there, given.out, tell)
    if given.part == "reward":
        return judging.tune_reward(_model(_policy(given)), completed, tuning, given.out, tell)
    sizes = {"minutes": given.minutes, "rows": given.rows, "seed": given.seed, "dtype": given.dtype}
    lines, policy = _lines(given)[: given.questions], _model(_policy(given))
    if given.part == "completions":
        return judging.complete(policy, lines, completed, given.paths, given.completions, tell, **sizes)
    source = Path(given.data).stem if given.data else given.part_of or _default_part(given.part)
    name = f"rollouts-{policy.name}-{judging.digest_of(policy / 'model.safetensors')[:8]}-{source}"
    rollouts = given.out / f"{name}-{given.samples}-{given.seed}.jsonl"
    facts = {"policy": judging.evaluate_policy(policy, lines, rollouts, given.samples, tell, **sizes)}
    held_out = given.out / "completions-validation.jsonl"
    if (given.out / "reward").is_dir() and held_out.is_file():
        facts["reward"] = judging.evaluate_reward(given.out / "reward", held_out, lambda *about: show(*about, ""))
    if (given.out / "reward").is_dir():
        from outcomes import compare_outcomes

        facts["outcomes"] = compare_outcomes(
            given.out / "reward", policy, rollouts, lambda done, total: show("outcomes", done, total, "")
        )
    return facts


def _pack(out: Path, into: Path, base: str) -> dict[str, Any]:
    """Write the adapters that there are to a folder, as rollwise bundles them."""
    from tuning import pack_adapter

    packed = []
    for name, changed in (("policy", base), ("policy-early", base), ("reward", "policy")):
        if (out / name / "adapter").is_dir():
            pack_adapter(out / name, changed, into / name)
            packed.append(name)
    return {"packed": packed, "into": str(into)}


def _texts(source: str | None) -> list[str]:
    return [str(row.get("question", "")) for row in _rows(source, "--test")]


def _default_part(part: str) -> str:
    return "reward" if part == "completions" else "validation"


def _policy(given: argparse.Namespace) -> Path:
    return given.policy or given.out / "policy"


def _model(folder: Path) -> Path:
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder} holds no policy yet: run the part policy first, or give --policy FOLDER")
    return folder


def _base(name: str) -> Path:
    return model_folder(name) or _model(Path(name))


def _lines(given: argparse.Namespace) -> list[dict[str, Any]]:
    """The questions to be sampled: of a part, or of --data."""
    if given.data is None:
        return read_part(given.out / "data", given.part_of or _default_part(given.part))
    return [
        {"id": f"{Path(given.data).stem}-{problem.id}", "question": problem.question, "answer": problem.answer}
        for problem in read_questions(given.data).problems
    ]


def _rows(source: str | None, option: str) -> list[Mapping[str, Any]]:
    if source is None:
        raise InputError(f"give {option}: a file of GSM8K, with a question and an answer in each row")
    return [row.fields for row in rows_of(source)]


if __name__ == "__main__":
    sys.exit(main())
