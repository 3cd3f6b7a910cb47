"""Clients of OpenAI's interface, unchanged, against a service and against a model server.

A client that is not installed beside rollwise is skipped, unless ROLLWISE_CLIENTS names interpreters that have it:
ROLLWISE_CLIENTS=/path/a/bin/python:/path/b/bin/python pytest tests/service/test_service_clients.py -m heavy
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path as FilePath
from typing import Any

import pytest
from serving import QUESTION, chat, python_with, serving

from rollwise.model_server import Choice, load_models, running

pytestmark = pytest.mark.heavy

LANGCHAIN = """
import asyncio, json, sys
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI, OpenAI

url, model, question = sys.argv[1:]
client = ChatOpenAI(base_url=url, api_key="none", model=model, seed=3, max_tokens=200)
turns = [SystemMessage("Be brief."), HumanMessage(question)]
texts = {
    "invoke": client.invoke(question).content,
    "system": client.invoke(turns).content,
    "async": asyncio.run(client.ainvoke(question)).content,
    "stream": "".join(chunk.content for chunk in client.stream(question)),
    "text": OpenAI(base_url=url, api_key="none", model=model, max_tokens=200).invoke(question),
}
print(json.dumps(texts))
"""
LITELLM = """
import asyncio, json, os, sys
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
import litellm

url, model, question = sys.argv[1:]
turns = [{"role": "user", "content": question}]
common = {"api_base": url, "api_key": "none", "max_tokens": 200, "seed": 3}
said = litellm.completion(model=f"openai/{model}", messages=turns, **common)
stream = litellm.completion(model=f"openai/{model}", messages=turns, stream=True, **common)
later = asyncio.run(litellm.acompletion(model=f"openai/{model}", messages=turns, n=2, **common))
text = litellm.text_completion(model=f"text-completion-openai/{model}", prompt=question, **common)
texts = {
    "completion": said.choices[0].message.content,
    "stream": "".join(chunk.choices[0].delta.content or "" for chunk in stream),
    "async": later.choices[1].message.content,
    "text": text.choices[0].text,
}
print(json.dumps(texts))
"""
TASK = r"""
task: game
dataset_path: json
dataset_kwargs: {data_files: {test: game.jsonl}}
output_type: generate_until
test_split: test
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["Question:"], temperature: 0.8}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
filter_list:
  - name: last-left
    filter: [{function: regex, regex_pattern: "left: (\\d+)\\s+Answer"}, {function: take_first}]
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("clients")) as (url, _):
        yield url


def run(command: list[str], folder: FilePath) -> str:
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(folder), "OPENAI_API_KEY": "none"}
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | offline
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=own, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize(("package", "script"), [("langchain_openai", LANGCHAIN), ("litellm", LITELLM)])
def test_a_client_library_gets_searched_answers(service: str, tmp_path: FilePath, package: str, script: str) -> None:
    said = run([python_with(package), "-c", script, f"{service}/v1", "game", QUESTION], tmp_path)
    texts: dict[str, str] = json.loads(said.splitlines()[-1])
    assert len(texts) >= 4
    for text in texts.values():
        assert re.search(r"left: 17\s+Answer: \\boxed\{", text), texts


@pytest.mark.parametrize(("package", "script"), [("langchain_openai", LANGCHAIN), ("litellm", LITELLM)])
def test_a_client_library_gets_texts_of_a_model_server(tmp_path: FilePath, package: str, script: str) -> None:
    python = python_with(package)
    with running(load_models(Choice(reward="none", embedder="none"))) as url:
        texts: dict[str, str] = json.loads(
            run([python, "-c", script, f"{url}/v1", "countdown-policy", QUESTION], tmp_path).splitlines()[-1]
        )
    assert all(texts.values()), texts


@pytest.mark.parametrize(
    ("client", "route", "options"),
    [
        ("local-chat-completions", "chat/completions", ["--apply_chat_template"]),
        ("local-completions", "completions", []),
    ],
)
def test_the_evaluation_harness_scores_searched_answers(
    service: str, tmp_path: FilePath, client: str, route: str, options: list[str]
) -> None:
    rows = [("Use 3, 4, 5 to make 17", "17"), ("Use 2, 3, 4 to make 24", "24"), ("Use 1, 5, 6 to make 12", "12")]
    (tmp_path / "game.yaml").write_text(TASK)
    lines = (json.dumps({"question": question, "answer": answer}) for question, answer in rows)
    (tmp_path / "game.jsonl").write_text("\n".join(lines))
    arguments = f"model=game,base_url={service}/v1/{route},num_concurrent=2,max_retries=1"
    arguments += ",tokenized_requests=False,tokenizer_backend=None"
    command = [python_with("lm_eval"), "-m", "lm_eval", "run", "--model", client, "--model_args", arguments]
    command += ["--tasks", "game", "--include_path", ".", "--output_path", "out", *options]
    run(command, tmp_path)
    (file,) = tmp_path.glob("out/**/results_*.json")
    assert json.loads(file.read_text())["results"]["game"]["exact_match,last-left"] == 1.0


def test_curl_gets_a_whole_reply_and_a_stream(service: str, tmp_path: FilePath) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not installed")

    def posted(**fields: Any) -> str:
        kind = "content-type: application/json"
        return run(
            [curl, "-sN", f"{service}/v1/chat/completions", "-H", kind, "-d", json.dumps(chat(**fields))], tmp_path
        )

    assert json.loads(posted())["choices"][0]["message"]["content"]
    assert posted(stream=True).endswith("data: [DONE]\n\n")
