"""GSM8K's recipe from the rows to the figures, on a tiny random Llama with a byte-level tokenizer."""

import importlib
import json
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from reward_checkpoints import QWEN_SPECIAL
from tiny import CHATML, byte_tokenizer, tiny_model

from rollwise.answers import sums
from rollwise.bench.grid import Cell
from rollwise.bench.store import Outcome, Result
from rollwise.core import Problem
from rollwise.models.adapters import merge_adapter
from rollwise.worlds import Gsm8k

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _modules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "experiments" / "gsm8k"))


def module(name: str) -> Any:
    return importlib.import_module(name)


def rows(count: int) -> list[dict[str, str]]:
    """Rows as GSM8K writes them."""
    made = []
    for index in range(count):
        first, second = 13 + index, 5 + index % 4
        total = first * second
        made.append(
            {
                "question": f"A shop has {first} bags of {'pqrs'[index % 4] * (1 + index)}s with {second} nuts in each."
                " It sells half of the nuts. How many nuts were sold?",
                "answer": f"It has {first}*{second} = <<{first}*{second}={total}>>{total} nuts.\n"
                f"It sold {total}/2 = <<{total}/2={total / 2:g}>>{total / 2:g} nuts.\n#### {total / 2:g}",
            }
        )
    return made


def write(file: Path, lines: list[dict[str, str]]) -> Path:
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return file


# The data


def test_a_solution_becomes_steps_with_a_boxed_answer() -> None:
    read = module("solutions").read_solution
    found = read("Natalia sold 48/2 = <<48/2=24>>24 clips in May.\nShe sold 48+24 = <<48+24=72>>72 in all.\n#### 72")
    assert found.steps == (
        "Natalia sold 48/2 = 24 clips in May.",
        "She sold 48+24 = 72 in all. The answer is \\boxed{72}.",
    )
    assert (found.answer, found.sums) == ("72", 2)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("2+2 = <<2+2=5>>5\n#### 5", "a sum is wrong"),
        ("2^3 = <<2^3=8>>8\n#### 8", "a sum cannot be read"),
        ("2+2 = <<2+2=4>>4", "no result after ####"),
        ("#### 4", "no steps"),
    ],
)
def test_a_solution_that_is_not_used_says_why(text: str, reason: str) -> None:
    assert module("solutions").read_solution(text) == reason


@pytest.mark.parametrize(
    ("expression", "result", "right"),
    [
        ("12/60", "0.2", True),
        ("20/3", "6.67", True),
        ("20/3", "6.66", True),
        ("20/3", "6.5", False),
        ("25%*80", "20", True),
        ("1,200+300", "1500", True),
        (".5*10", "5", True),
        ("48/2", "25", False),
        ("1 1/2+2", "3.5", None),
        ("7^2", "49", None),
    ],
)
def test_sums_are_checked_to_the_digits_that_they_show(expression: str, result: str, right: bool | None) -> None:
    assert sums.is_right(expression, result) is right


def test_other_numbers_keep_every_sum_right() -> None:
    solutions, changed = module("solutions"), 0
    for place, row in enumerate(rows(40)):
        made = solutions.with_other_numbers(row["question"], row["answer"], np.random.default_rng(place))
        if made is None:
            continue
        changed += made[0] != row["question"]
        assert re.sub(r"\d+", "#", made[0]) == re.sub(r"\d+", "#", row["question"])
        sums = re.findall(r"<<(.*?)=(.*?)>>", made[1])
        assert len(sums) == 2
        for expression, result in sums:
            left, sign, right = re.split(r"([*/])", expression)
            assert Fraction(result) == (
                Fraction(left) * Fraction(right) if sign == "*" else Fraction(left) / Fraction(right)
            )
        numbers = re.findall(r"\d+", made[0])
        assert sums[0][0] == "*".join(numbers)
        assert made[1].endswith(f"#### {sums[-1][1]}")
    assert changed > 10


def test_numbers_stay_where_it_is_unclear_what_they_are() -> None:
    other = module("solutions").with_other_numbers
    rng = np.random.default_rng(0)
    fifth = "5 pallets is a fifth of them. How many?", "There are 5*5 = <<5*5=25>>25.\n#### 25"
    assert other(*fifth, rng) is None
    twice = "Ann has 9 and Ben has 9. How many?", "They have 9+9 = <<9+9=18>>18.\n#### 18"
    assert other(*twice, rng) is None
    unexplained = "Ann has 9 and Ben has 8. How many?", "As 77 shows, 9+8 = <<9+8=17>>17.\n#### 17"
    assert other(*unexplained, rng) is None


def test_a_copy_with_a_wrong_sum_in_its_text_is_left_out() -> None:
    other = module("solutions").with_other_numbers
    question, sums = "Ann picks 9 pears a day for 8 days.", "She has 9*8 = <<9*8=72>>72 pears"
    rng = np.random.default_rng(0)
    assert other(question, f"{sums}.\n#### 72", rng) is not None
    assert other(question, f"{sums}. So 9*8=9.\n#### 72", rng) is None


def test_a_question_near_a_test_question_is_found() -> None:
    overlap = module("prepare").Overlap(
        ["Ann has 3 red and 4 blue hats and gives each of her two best friends one hat."]
    )
    assert overlap.of("Ann has 13 red and 40 blue hats and gives each of her two best friends one hat.") is not None
    near = overlap.of(
        "Yesterday Ann has 1 red and 2 blue hats and gives each of her two best friends, who smile, nothing."
    )
    assert near == "shares 13 words in a row with a test question"
    assert overlap.of("Ann has 3 red and 4 blue hats. She gives each of her two best friends one hat.") is None


def test_the_parts_share_no_question_and_nothing_is_dropped_in_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = module("prepare")
    monkeypatch.setattr(prepare, "WINDOW", 40)  # the questions of this test are alike
    given = rows(60)
    tests = [given[3]["question"].replace("16", "99")]
    given[5]["answer"] = "2+2 = <<2+2=5>>5\n#### 5"
    facts = prepare.prepare(given, tests, tmp_path, 2, 0, lambda done, total: None)
    parts = {name: prepare.read_part(tmp_path, name) for name in ("policy", "reward", "validation", "dropped")}
    originals = [line for name in parts for line in parts[name] if re.fullmatch(r"gsm8k-train-\d+", line.get("id", ""))]
    assert len(originals) + len(parts["dropped"]) == 60
    reasons = {line["row"]: line["reason"] for line in parts["dropped"]}
    assert reasons == {3: "a test question but for its numbers", 5: "a sum is wrong"}
    texts = [{prepare.words(line["question"]) for line in parts[name]} for name in ("policy", "reward", "validation")]
    assert all(not one & other for one, other in [(texts[0], texts[1]), (texts[0], texts[2]), (texts[1], texts[2])])
    assert facts["copies with other numbers"] == sum("-" in line["id"][12:] for line in parts["policy"]) > 0


def test_the_world_checks_the_sums_of_a_step() -> None:
    world = Gsm8k()
    problem = world.parse("How many?")
    assert world.step_is_valid(problem, ["She has 2 * $3 = $6.", "So 6+4=10 and X + 4 = 9, 3 1/2 + 1 = 5"])
    assert not world.step_is_valid(problem, ["She has 2 * $3 = $6.", "So 6+4=11"])
    assert world.state(problem, ["2*3 = 6", "1+1=2"]) == world.state(problem, ["1+1 = 2", "2 * 3 = 6."])
    assert world.is_right(problem.__class__("q", "How many?", "10"), "10.0")


# Directions and approaches


def first_round(*texts: str, similarity: list[float]) -> list[dict[str, Any]]:
    """The records of a search whose paths begin with these steps; similarities of pairs (1, 0), (2, 0), (2, 1), ..."""
    grown = [
        {"event": "grown", "round": 0, "path": str(place), "text": text, "tokens": 1, "stop": "step", "reward": 1.0}
        for place, text in enumerate(texts)
    ]
    paths = [str(place) for place in range(len(texts))]
    return [*grown, {"event": "allocated", "round": 0, "paths": paths, "similarity": similarity}]


def test_steps_of_the_same_sums_are_one_approach() -> None:
    approach = module("approaches").approach
    assert approach("She has 5*20 = 100.") == approach("20 x $5 = $99 in all") == frozenset({"20*5"})
    assert approach("48/2 = 24") != approach("2/48 = 24")
    assert approach("no sum") == frozenset()


def test_agreement_is_the_chance_that_equal_approaches_are_more_similar() -> None:
    approaches = module("approaches")
    steps = ("3*4 = 12 pears", "4 x 3 = 12", "3+4 = 7", "nothing is computed")
    agreeing = list(approaches.compared_of(first_round(*steps, similarity=[0.9, 0.1, 0.2, 1.0, 1.0, 1.0])).pairs())
    assert [(pair.same, pair.similarity) for pair in agreeing] == [(True, 0.9), (False, 0.1), (False, 0.2)]
    assert approaches.agreement([agreeing])["auc"] == 1
    disagreeing = list(approaches.compared_of(first_round(*steps, similarity=[0.15, 0.1, 0.2, 1.0, 1.0, 1.0])).pairs())
    assert approaches.agreement([disagreeing])["auc"] == 0.5
    found = approaches.agreement([agreeing, disagreeing, []])
    assert (found["questions"], found["pairs"], found["auc"]) == (2, 6, 0.75)
    assert found["interval"][0] <= 0.75 <= found["interval"][1]
    assert found["same sums, least similar"][0]["similarity"] == 0.15
    assert found["other sums, most similar"][0]["second"] == "3+4 = 7"


def test_the_temperature_is_that_at_which_directions_are_approaches() -> None:
    approaches = module("approaches")
    steps = ("3*4 = 12", "4*3 = 12", "3+4 = 7", "2*4 = 8")
    near = approaches.compared_of(first_round(*steps, similarity=[0.998, 0.9, 0.9, 0.9, 0.9, 0.9]))
    assert near.groups.tolist() == [0, 0, 1, 2]
    far = approaches.compared_of(first_round(*steps, similarity=[0.9, 0.2, 0.2, 0.2, 0.2, 0.2]))
    small, large = approaches.temperature([near]), approaches.temperature([far])
    assert 0.002 < small["T_s"] < 0.1 < large["T_s"]
    assert small["error"] <= small["error at the default"]
    assert large["error"] < large["error at the default"]
    assert approaches.compared_of([]) is None
    assert approaches.directions([]) == {}


def test_finished_paths_are_counted_and_compared() -> None:
    approaches = module("approaches")
    common = {"tokens": 2, "stop": "end"}
    records = [
        {"event": "grown", "round": 0, "path": "0", "text": "3*4 = 12", "reward": 1.0, "logprob": -1.0, **common},
        {"event": "grown", "round": 1, "path": "0.0", "text": "12", "reward": 0.75, "logprob": -3.0, **common},
        {"event": "grown", "round": 0, "path": "1", "text": "3*4 = 13", "reward": 1.0, "logprob": -6.0, **common},
        {"event": "finished", "round": 1, "path": "0.0", "stop": "end", "right": True},
        {"event": "finished", "round": 0, "path": "1", "stop": "end", "right": False},
        {"event": "finished", "round": 0, "path": "2", "stop": "length"},
    ]
    ends = approaches.ends_of(records)
    assert ends == [approaches.End(True, 0.75, -1.0, False), approaches.End(False, 1.0, -3.0, True)]
    found = approaches.told([ends, [approaches.End(True, 0.9, -2.0, True)]])
    assert (found["paths"], found["right"], found["with a wrong sum"], found["right with a wrong sum"]) == (3, 2, 2, 1)
    assert (found["auc of reward"], found["auc of logprob"]) == (0, 1)
    assert found["questions with both"] == 1


def both(name: str, of: int, against: int) -> Any:
    """A question with so many right paths of either strategy."""
    results = [
        Result(Cell(label, 16, 0), name, None, Outcome(right_paths=right, finished=16, covered=right > 0))
        for label, right in (("dora", of), ("rebase", against))
    ]
    return module("examples").Both(Problem(name, "How many?", "1"), *results)


def test_examples_are_the_largest_gains_and_losses_and_one_between() -> None:
    examples = module("examples")
    questions = [both("a", 1, 9), both("b", 9, 0), both("c", 0, 0), both("d", 2, 2), both("e", 5, 1), both("f", 0, 3)]
    assert [each.problem.id for each in examples.chosen(questions)] == ["b", "e", "d", "f", "a"]
    assert [each.problem.id for each in examples.chosen(questions[:2])] == ["b", "a"]
    assert examples.facts(questions[0])["dora"] == {"vote": None, "right": False, "right paths": 1, "finished": 16}


def test_pairs_are_counted_and_tested_as_by_hand() -> None:
    paths = [(1, 0)] * 6 + [(0, 1)] + [(2, 3)] * 3
    questions = [both(str(index), of, against) for index, (of, against) in enumerate(paths)]
    found = module("paired").compared(questions)
    assert found["questions"] == 10
    assert (found["coverage"]["only the first"], found["coverage"]["only the second"]) == (6, 1)
    assert found["coverage"]["difference"] == 0.5
    assert found["coverage"]["sign test"] == 2 * (1 + 7) / 2**7
    low, high = found["coverage"]["interval"]
    assert -0.1 < low < 0.5 < high < 1
    assert found["vote"] == {
        "only the first": 0,
        "only the second": 0,
        "difference": 0.0,
        "interval": [0.0, 0.0],
        "sign test": 1.0,
    }


# The plan of a training


def test_a_plan_reads_each_example_once_an_epoch_with_little_padding() -> None:
    lengths = [int(length) for length in np.random.default_rng(0).integers(60, 300, 500)]
    steps = module("tuning").plan(lengths, 2048, 1.5, 0)
    batches = len(module("tuning").plan(lengths, 2048, 1.0, 0))
    assert sorted(index for step in steps[:batches] for index in step) == list(range(500))
    assert len(steps) == pytest.approx(1.5 * batches, abs=2)
    padded = sum(len(step) * max(lengths[index] for index in step) for step in steps)
    assert padded <= 1.1 * sum(lengths[index] for step in steps for index in step)
    assert max(len(step) * max(lengths[index] for index in step) for step in steps) <= 2048
    assert steps != module("tuning").plan(lengths, 2048, 1.5, 1)


# From the rows to the figures


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A tiny Llama that was trained just long enough to write steps and to end its texts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "experiments" / "gsm8k"))
        tuning, read = module("tuning"), module("solutions").read_solution
        known = rows(16)
        texts = [f"{row['question']} {row['answer']} The answer is \\boxed{{72}}." for row in known]
        tokenizer = byte_tokenizer(texts, QWEN_SPECIAL, pad_token="<pad>", eos_token="<|im_end|>", chat_template=CHATML)
        model = tiny_model("LlamaForCausalLM", tokenizer, max_position_embeddings=1024, initializer_range=0.05)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        examples = [tuning.encode(tokenizer, row["question"], read(row["answer"]).steps) for row in known]
        for _ in range(120):
            model(**tuning.solution_batch(examples, tokenizer.pad_token_id), use_cache=False).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        folder = tmp_path_factory.mktemp("base")
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        yield folder


def recipe(capsys: pytest.CaptureFixture[str], out: Path, *arguments: str) -> Any:
    status = module("recipe").main([*arguments, "--out", str(out)])
    told = capsys.readouterr()
    return (json.loads(told.out[told.out.index("{") :]) if status == 0 else told.err), status


@pytest.fixture
def data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    files = (
        write(tmp_path / "train.jsonl", rows(40)),
        write(tmp_path / "test.jsonl", [{"question": "1?", "answer": ""}]),
    )
    _, status = recipe(
        capsys, tmp_path / "run", "data", "--data", str(files[0]), "--test", str(files[1]), "--copies", "1"
    )
    assert status == 0
    return tmp_path / "run"


def loss_by_hand(policy: Path, file: Path, count: int) -> float:
    """The mean over all tokens of some solutions of minus their log-probability, one solution at a time."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(policy, dtype=torch.float32).eval()
    tokenizer, losses = AutoTokenizer.from_pretrained(policy), []
    for line in list(map(json.loads, file.read_text().splitlines()))[:count]:
        encoded = module("tuning").encode(tokenizer, line["question"], line["steps"])
        tokens = torch.tensor([encoded.tokens])
        with torch.inference_mode():
            chances = model(tokens).logits[0].log_softmax(-1)
        places = range(encoded.prompt, len(encoded.tokens))
        losses += [-float(chances[place - 1, encoded.tokens[place]]) for place in places]
    return float(np.mean(losses))


def test_the_recipe_runs_from_the_rows_to_the_figures(
    data: Path, base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from safetensors.torch import load_file

    options = ["--base", str(base), "--rank", "4", "--batch-tokens", "2048"]
    facts, status = recipe(capsys, data, "policy", *options, "--epochs", "2", "--learning-rate", "3e-3")
    assert status == 0, facts
    assert facts["loss"] < 3.0
    late, early, start = (
        load_file(folder / "model.safetensors") for folder in (data / "policy", data / "policy-early", base)
    )
    name = "model.layers.0.self_attn.q_proj.weight"
    distance = [float((each[name].float() - start[name].float()).norm()) for each in (early, late)]
    assert 0 < distance[0] < distance[1]

    assert recipe(capsys, data, "loss", "--data", "test.jsonl")[1] == 2
    facts, status = recipe(capsys, data, "loss", "--questions", "3", "--batch-tokens", "512")
    assert status == 0, facts
    assert facts["loss"] == pytest.approx(
        loss_by_hand(data / "policy", data / "data" / "validation.jsonl", 3), abs=1e-3
    )

    for part in ("reward", "validation"):
        given = ["--part-of", part, "--questions", "2", "--paths", "2", "--completions", "2"]
        facts, status = recipe(capsys, data, "completions", *given)
        assert status == 0, facts
        assert facts["questions"] == 2
        assert facts["prefixes"] + facts["finished"] >= 4
    facts, status = recipe(capsys, data, "reward", "--rank", "4", "--epochs", "2")
    assert status == 0, facts
    facts, status = recipe(capsys, data, "evaluate", "--questions", "2", "--samples", "4")
    assert status == 0, facts
    assert facts["policy"]["questions"] == 2
    assert set(facts["policy"]["coverage"]) == {"1", "4"}
    figures = facts["reward"].get("all") or facts["reward"]["finished"]  # every sampled text may have a single step
    assert {"auc_outcome", "auc_within", "ece"} <= set(figures)
    assert facts["outcomes"]["solutions"] <= 8
    assert len(json.loads((data / "facts.json").read_text())) == 7  # one for each part that was run


def test_a_packed_adapter_and_the_base_make_the_model_again(
    data: Path, base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole models were merged by peft."""
    from safetensors.torch import load_file

    options = ["--base", str(base), "--rank", "4", "--epochs", "1", "--learning-rate", "1e-2"]
    assert recipe(capsys, data, "policy", *options)[1] == 0
    given = ["--part-of", "reward", "--questions", "2", "--paths", "2", "--completions", "2"]
    assert recipe(capsys, data, "completions", *given)[1] == 0
    assert recipe(capsys, data, "reward", "--rank", "4", "--epochs", "1")[1] == 0
    facts, status = recipe(capsys, data, "pack", "--base", str(base))
    assert (status, facts["packed"]) == (0, ["policy", "policy-early", "reward"])
    for name, trunk in (("policy", base), ("reward", data / "again-policy")):
        adapter = data / "adapters" / name
        assert str(data) not in (adapter / "adapter_config.json").read_text()
        merge_adapter(trunk, adapter, data / f"again-{name}")
        whole, again = (load_file(data / each / "model.safetensors") for each in (name, f"again-{name}"))
        assert set(whole) <= set(again)
        assert all(np.allclose(whole[key].float(), again[key].float(), atol=2e-3) for key in whole)
        loads = "AutoModelForCausalLM" if name == "policy" else "AutoModelForTokenClassification"
        getattr(importlib.import_module("transformers"), loads).from_pretrained(data / f"again-{name}")


def test_full_training_leaves_embeddings_and_norms(data: Path, base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from safetensors.torch import load_file

    options = ["--base", str(base), "--method", "full", "--epochs", "1", "--learning-rate", "1e-3"]
    assert recipe(capsys, data, "policy", *options)[1] == 0
    start, whole = (load_file(folder / "model.safetensors") for folder in (base, data / "policy"))
    changed = {name for name in whole if not np.allclose(start[name].float(), whole[name].float(), atol=1e-3)}
    assert changed
    assert all("_proj" in name for name in changed)


def test_a_stopped_training_goes_on_as_if_nothing_had_happened(
    data: Path, base: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import load_file

    tuning = module("tuning")
    options = ["policy", "--base", str(base), "--rank", "2", "--epochs", "2", "--learning-rate", "1e-2"]
    assert recipe(capsys, data, *options)[1] == 0
    whole = load_file(data / "policy" / "model.safetensors")
    (data / "policy" / "model.safetensors").unlink()
    (data / "policy-checkpoint" / "checkpoint.safetensors").unlink()
    monkeypatch.setattr(tuning, "CHECKPOINT_SECONDS", 0.0)
    tell, steps = tuning.Watch.tell, []

    def stop(watch: Any, step: int, total: int, loss: float) -> None:
        steps.append(step)
        if len(steps) == 3:
            raise KeyboardInterrupt
        tell(watch, step, total, loss)

    monkeypatch.setattr(tuning.Watch, "tell", stop)
    told, status = recipe(capsys, data, *options)
    assert (status, "the same command goes on" in told) == (130, True)
    assert recipe(capsys, data, *options)[1] == 0
    assert steps[3] == 3
    again = load_file(data / "policy" / "model.safetensors")
    assert all(np.array_equal(whole[name].float(), again[name].float()) for name in whole)


def test_the_run_for_a_gpu_packs_what_it_made(
    data: Path, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module("judging"), "LONGEST", 80)
    monkeypatch.setattr(module("engine_rates"), "TOKENS", 8)
    files = ["--data", str(tmp_path / "train.jsonl"), "--test", str(tmp_path / "short.jsonl")]
    write(tmp_path / "short.jsonl", [{"question": "How many nuts are 2 + 3 nuts?", "answer": "#### 5"}])
    sizes = ["--batch-tokens", "1024", "--rank", "2", "--rows", "8", "--scale", "0.002"]
    folders = ["--base", str(base), "--out", str(data), "--ship", str(tmp_path / "ship")]
    assert module("on_gpu").main([*files, *sizes, *folders]) == 0
    names = {file.name for file in (tmp_path / "ship").iterdir()}
    adapters = {"policy-adapter.tar", "policy-early-adapter.tar", "reward-adapter.tar"}
    assert names == {*adapters, "samples.tar.gz", "figures.json"}
    figures = json.loads((tmp_path / "ship" / "figures.json").read_text())
    assert figures["engine.json"]["local engine"]["tokens"] > 0
    assert set(figures["seconds"]) == {"data", *module("on_gpu").BUDGETS}


def test_a_part_without_what_it_needs_says_what_to_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, wanted in [
        (["policy", "--base", str(tmp_path)], "run the part policy first"),
        (["completions"], "recipe.py data"),
        (["data"], "give --data: a file"),
        (["data", "--data", "nowhere.jsonl"], "there is no file nowhere.jsonl"),
    ]:
        told, status = recipe(capsys, tmp_path / "run", *arguments)
        assert status == 2
        assert wanted in told
        assert told.count("\n") == 1


def test_the_loss_and_its_gradient_are_those_of_whole_logits() -> None:
    """Compared with torch's own cross entropy."""
    loss_of = module("tuning").cross_entropy
    random = torch.Generator().manual_seed(0)
    weight, labels = torch.randn(99, 16, generator=random), torch.randint(0, 99, (600,), generator=random)
    states = [torch.randn(600, 16, generator=torch.Generator().manual_seed(1)).requires_grad_() for _ in range(2)]
    ours, theirs = loss_of(states[0], weight, labels), torch.nn.functional.cross_entropy(states[1] @ weight.T, labels)
    assert float(ours.detach()) == pytest.approx(float(theirs.detach()), rel=1e-5)
    for loss in (ours, theirs):
        (3 * loss).backward()
    assert torch.allclose(states[0].grad, states[1].grad, atol=1e-6)


def test_an_adapted_matrix_multiplies_as_in_peft(base: Path) -> None:
    """Compared with peft's own forward pass: the loss, and the gradient of every matrix of the adapter."""
    from transformers import AutoModelForCausalLM

    found = []
    for own in (True, False):
        model = module("tuning").adapted(AutoModelForCausalLM.from_pretrained(base), rank=4)
        random = torch.Generator().manual_seed(0)
        adapter = {name: each for name, each in model.named_parameters() if each.requires_grad}
        with torch.no_grad():
            for each in adapter.values():
                each.copy_(torch.randn(each.shape, generator=random) / 10)
        if not own:
            for part in model.modules():
                part.__dict__.pop("forward", None)
        tokens = torch.arange(40).reshape(2, 20)
        loss = model(input_ids=tokens, labels=tokens, use_cache=False).loss
        loss.backward()
        found.append((float(loss.detach()), {name: each.grad for name, each in adapter.items()}))
    (ours, of_ours), (theirs, of_theirs) = found
    assert ours == pytest.approx(theirs, rel=1e-5)
    assert of_ours
    assert all(torch.allclose(of_ours[name], of_theirs[name], atol=1e-5) for name in of_theirs)
    assert all(float(each.abs().max()) > 0 for each in of_ours.values())
