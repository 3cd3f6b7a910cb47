"""A world whose bundled policy is an adapter: what is missing is told, and the whole model solves a question."""

import json
from pathlib import Path

import pytest
from command import rollwise

from rollwise.errors import InputError
from rollwise.models import whole_model
from rollwise.names import ADAPTED, adapters, bundled, bundled_named
from rollwise.registry import find_policy, find_reward
from rollwise.search import Config, find_parts, settled
from rollwise.search.parts import belief_file

QUESTION = (
    "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May. "
    "How many clips did Natalia sell altogether in April and May?"
)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROLLWISE_CACHE", str(tmp_path / "cache"))


def test_an_adapter_without_its_whole_model_says_what_to_run() -> None:
    policy = bundled("gsm8k", "policy")
    assert policy in adapters("gsm8k")
    with pytest.raises(InputError, match=r"run `rollwise models get gsm8k` once"):
        whole_model(policy)
    run = rollwise("solve", QUESTION, "--world", "gsm8k")
    assert run.returncode == 2
    assert "rollwise models get gsm8k" in run.stderr
    assert whole_model(bundled("countdown", "policy")) == bundled("countdown", "policy")


@pytest.mark.parametrize("part", ["policy", "reward"])
def test_each_of_these_models_has_a_name_and_an_adapter(part: str) -> None:
    for name, (world, folder) in ADAPTED[part].items():
        found = bundled_named("countdown", part, name)
        assert found in adapters(world)
        assert found.name == folder
    for name, (world, _) in ADAPTED["policy"].items():
        assert settled(Config(policy=name)).world == world


def test_the_belief_is_that_of_the_policy_and_its_own_reward_model() -> None:
    own = bundled("gsm8k", "policy").parent / "belief.json"

    def found(policy: str, reward: str | None, world: str | None = None) -> Path | None:
        return belief_file(settled(Config(policy=policy, reward=reward, world=world)))

    assert found("gsm8k", "gsm8k") == found("gsm8k", "gsm8k", "text") == found("trained", "gsm8k", "gsm8k") == own
    assert found("gsm8k", "trained") == found("trained", "trained", "gsm8k") == own
    assert found("gsm8k-early", "gsm8k") is found("gsm8k", "confidence") is found("gsm8k", "weak", "countdown") is None
    assert found("gsm8k", "trained", "countdown") is None
    assert found("trained", None) == bundled("countdown", "policy").parent / "belief.json"


def test_a_bundled_reward_of_an_adapted_world_has_to_be_named() -> None:
    assert bundled("gsm8k", "reward").is_dir()
    assert settled(Config(world="gsm8k")).reward == "confidence"
    assert settled(Config(world="gsm8k", reward="trained")).reward == "trained"
    with pytest.raises(InputError, match=r"the reward of gsm8k is an adapter.*run `rollwise models get gsm8k` once"):
        find_reward("trained", "gsm8k")


def test_the_list_of_models_names_the_adapters() -> None:
    listed = json.loads(rollwise("models", "list", "--json").stdout)["adapters"]
    assert [(each["name"], each["base"], each["here"]) for each in listed] == [("gsm8k", "smollm2", False)]
    assert {"policy", "policy-early", "reward"} <= {*listed[0]["parts"]}
    refused = rollwise("models", "get", "gsm8k", "--source", "hub")
    assert refused.returncode == 2
    assert "leave --source out" in refused.stderr


@pytest.mark.heavy
def test_the_whole_model_is_made_once_and_boxes_its_answers() -> None:
    got = rollwise("models", "get", "gsm8k", "--json")
    assert got.returncode == 0, got.stderr
    folders = json.loads(got.stdout)["folders"]
    assert list(folders) == [adapter.name for adapter in adapters("gsm8k")]
    again = rollwise("models", "get", "gsm8k")
    assert "making" not in again.stderr
    assert find_policy("trained", "gsm8k") is not None
    assert find_parts(Config(world="gsm8k")).config.reward == "confidence"
    elsewhere = find_parts(Config(policy="gsm8k", world="text", reward="sums"))
    assert elsewhere.files["policy"] == find_parts(Config(world="gsm8k")).files["policy"] != []
    assert find_parts(Config(policy="gsm8k")).config.world == "gsm8k"
    early = find_parts(Config(policy="gsm8k-early"))
    assert early.config.world == "gsm8k"
    assert early.files["policy"] not in ([], elsewhere.files["policy"])
    judged = find_parts(Config(world="gsm8k", reward="trained"))
    assert judged.files["reward"] != []
    for reward in ("confidence", "trained"):
        solved = rollwise("solve", QUESTION, "--world", "gsm8k", "--reward", reward, "--budget", "8", "--json")
        assert solved.returncode == 0, solved.stderr
        assert float(json.loads(solved.stdout)["answer"]) > 0
