"""The configuration of a service: what is wrong is named, before anything loads."""

import hashlib
import json
from pathlib import Path

import pytest

from rollwise.errors import InputError
from rollwise.service import read_settings
from rollwise.service.gate import golden_questions


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[routes.math]\nstratgy = "dora"', r"routes\.math: stratgy: .*; did you mean strategy\?; the fields are"),
        ('[routes.math]\nrules = ["dora", "doraa"]', "routes.math, rule doraa: no strategy"),
        ('[routes.math]\nrules = ["dora", "dora"]', "different names"),
        ('[routes.math]\nrules = ["dora", "forward"]', "routes.math: the rule forward needs an upstream"),
        ("[routes.math]\nbudget = 0", "routes.math: budget"),
        ('[routes."a/b"]\nbudget = 2', "'a/b' is no name"),
        ("routes = 3", "routes: give a table"),
        ("routes.math = 3", "routes.math: give a table"),
        ('[keys]\nann = "secret"', "keys.ann: give the SHA-256"),
        ("serches = 3", r"serches: .*; did you mean searches\?; the fields are"),
        ("[routes.math.gatee]\nsamples = 3", r"routes\.math: gatee: .*; did you mean gate\?"),
        ("[routes.math.band]\nwindw = 3", r"routes\.math: band\.windw: .*; did you mean window\?"),
        ("[routes.math.gate]\ngolden = 'g'\nsampels = 3", r"routes\.math: gate\.sampels: .*; did you mean samples\?"),
        ("[route.math]\nbudget = 3", r"route: .*; did you mean routes\?"),
        ("xyzzy = 3", r"xyzzy: (?!.*did you mean)"),
        ("= 3", "is no TOML"),
    ],
)
def test_a_wrong_file_is_refused_by_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "service.toml"
    file.write_text(text)
    with pytest.raises(InputError, match=message):
        read_settings({"config": file})


def test_a_byte_order_mark_is_no_part_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "service.toml"
    file.write_bytes("\ufeffsearches = 3\r\n[routes.math]\r\nbudget = 2\r\n".encode())
    assert read_settings({"config": file}).searches == 3


def test_golden_questions_are_read_line_by_line(tmp_path: Path) -> None:
    """Only a line break ends a line: JSON may hold U+2028 and U+0085 as they are."""
    file = tmp_path / "golden.jsonl"
    said = "1 + 1?\u2028Say\u0085it."
    row = json.dumps({"question": said, "answer": 2}, ensure_ascii=False)
    file.write_bytes(f"\ufeff{row}\r\n\n{row}\n".encode())
    assert golden_questions(file) == [(said, "2"), (said, "2")]


@pytest.mark.parametrize("wrong", ['{"question": null, "answer": "2"}', '{"question": "a", "answer": null}', "[1]"])
def test_a_golden_question_without_its_texts_is_refused(tmp_path: Path, wrong: str) -> None:
    file = tmp_path / "golden.jsonl"
    file.write_text(f'{{"question": "1 + 1?", "answer": 2}}\n{wrong}\n')
    with pytest.raises(InputError, match="line 2: give an object like"):
        golden_questions(file)


def test_flags_override_the_file_and_keys_come_from_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digests = [hashlib.sha256(key).hexdigest() for key in (b"a", b"b")]
    file = tmp_path / "service.toml"
    file.write_text(f'searches = 3\nqueue = 7\n[keys]\nann = "{digests[0]}"\n[routes.math]\nbudget = 2\n')
    monkeypatch.setenv("ROLLWISE_SERVICE_KEYS", f"bob={digests[1]}")
    settings = read_settings({"config": file, "searches": 5})
    assert (settings.searches, settings.queue) == (5, 7)
    assert settings.keys == {"ann": digests[0], "bob": digests[1]}
    assert settings.routes["math"].budget == 2
