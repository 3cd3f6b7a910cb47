"""The alarms of `deploy/alerts.yml` in Prometheus's own tool: each fires when it should, and only then."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

DEPLOY = Path(__file__).parents[2] / "deploy"
ROUTE, RULE = {"route": "r"}, {"route": "r", "rule": "dora"}
Series = dict[str, str]

CASES: dict[str, tuple[Series, Series, str, dict[str, str], str]] = {
    "ServerDown": (
        {'rollwise_server_up{url="http://a"}': "0x300"},
        {'rollwise_server_up{url="http://a"}': "1x300"},
        "critical",
        {"url": "http://a"},
        "http://a does not answer",
    ),
    "SearchesFail": (
        {
            'rollwise_searches_total{route="r",outcome="failed"}': "0+6x300",
            'rollwise_searches_total{route="r",outcome="answered"}': "0+54x300",
        },
        {
            'rollwise_searches_total{route="r",outcome="failed"}': "0+1x300",
            'rollwise_searches_total{route="r",outcome="answered"}': "0+59x300",
        },
        "critical",
        ROUTE,
        "10% of the searches of r fail",
    ),
    "SlowSearches": (
        {
            'rollwise_search_seconds_bucket{route="r",le="60"}': "0x300",
            'rollwise_search_seconds_bucket{route="r",le="120"}': "0+10x300",
            'rollwise_search_seconds_bucket{route="r",le="+Inf"}': "0+10x300",
        },
        {
            'rollwise_search_seconds_bucket{route="r",le="60"}': "0+10x300",
            'rollwise_search_seconds_bucket{route="r",le="120"}': "0+10x300",
            'rollwise_search_seconds_bucket{route="r",le="+Inf"}': "0+10x300",
        },
        "warning",
        ROUTE,
        "95 % of the searches of r take up to 117 s",
    ),
    "QueueFull": (
        {'rollwise_refused_total{status="429"}': "0+1x300"},
        {'rollwise_refused_total{status="400"}': "0+1x300"},
        "warning",
        {},
        "clients are turned away",
    ),
    "LoopStalls": (
        {"rollwise_loop_stall_seconds": "0.3x300"},
        {"rollwise_loop_stall_seconds": "0.1x300"},
        "warning",
        {},
        "the event loop was held for 0.3 s",
    ),
    "FellBack": (
        {'rollwise_fallbacks_total{route="r",cause="errors"}': "0x176 1x100"},
        {'rollwise_fallbacks_total{route="r",cause="errors"}': "1x300"},
        "warning",
        {"route": "r", "cause": "errors"},
        "the candidate of r fell back: errors",
    ),
    "ForcedAdvance": (
        {'rollwise_forced_advances_total{route="r"}': "0x176 1x100"},
        {'rollwise_forced_advances_total{route="r"}': "1x300"},
        "warning",
        ROUTE,
        "r was advanced without a passed gate",
    ),
    "AnswersWithoutSupport": (
        {
            'rollwise_answers_without_support_total{route="r"}': "0+15x300",
            'rollwise_searches_total{route="r",outcome="answered"}': "0+60x300",
        },
        {
            'rollwise_answers_without_support_total{route="r"}': "0+6x300",
            'rollwise_searches_total{route="r",outcome="answered"}': "0+60x300",
        },
        "warning",
        ROUTE,
        "25% of the searches of r find no answer",
    ),
    "LowAgreement": (
        {
            'rollwise_shadow_total{route="r",agrees="true"}': "0+1x300",
            'rollwise_shadow_total{route="r",agrees="false"}': "0+3x300",
        },
        {
            'rollwise_shadow_total{route="r",agrees="true"}': "0+3x300",
            'rollwise_shadow_total{route="r",agrees="false"}': "0+1x300",
        },
        "info",
        ROUTE,
        "the candidate of r agrees in 25%",
    ),
    "FewDirections": (
        {
            'rollwise_effective_directions_sum{route="r"}': "0+5x300",
            'rollwise_effective_directions_count{route="r"}': "0+4x300",
        },
        {
            'rollwise_effective_directions_sum{route="r"}': "0+8x300",
            'rollwise_effective_directions_count{route="r"}': "0+4x300",
        },
        "info",
        ROUTE,
        "the rounds of r lie in 1.25 directions",
    ),
    "LowFeedback": (
        {
            'rollwise_feedback_total{route="r",right="true"}': "0+1x300",
            'rollwise_feedback_total{route="r",right="false"}': "0+3x300",
        },
        {
            'rollwise_feedback_total{route="r",right="true"}': "0+3x300",
            'rollwise_feedback_total{route="r",right="false"}': "0+1x300",
        },
        "info",
        ROUTE,
        "clients found 25% of the answers of r right",
    ),
    "LowGoldenAccuracy": (
        {
            'rollwise_accuracy{judge="golden",route="r",rule="dora"}': "0.4x300",
            'rollwise_alarm_bound{route="r",figure="golden_accuracy"}': "0.5x300",
        },
        {
            'rollwise_accuracy{judge="golden",route="r",rule="dora"}': "0.4x300",
            'rollwise_alarm_bound{route="s",figure="golden_accuracy"}': "0.5x300",
        },
        "warning",
        RULE | {"judge": "golden"},
        "dora of r gets 40% of the golden set right",
    ),
    "LowReturn": (
        {
            'rollwise_return_on_investment{route="r",rule="dora"}': "0.005x300",
            'rollwise_alarm_bound{route="r",figure="return"}': "0.01x300",
        },
        {
            'rollwise_return_on_investment{route="r",rule="dora"}': "0.02x300",
            'rollwise_alarm_bound{route="r",figure="return"}': "0.01x300",
        },
        "info",
        RULE,
        "a right answer of dora on r is dear: return 0.005",
    ),
    "CalibrationDrift": (
        {
            'rollwise_calibration_drift{route="r",rule="dora"}': "0.2x300",
            'rollwise_alarm_bound{route="r",figure="calibration_drift"}': "0.1x300",
        },
        {
            'rollwise_calibration_drift{route="r",rule="dora"}': "0.05x300",
            'rollwise_alarm_bound{route="r",figure="calibration_drift"}': "0.1x300",
        },
        "warning",
        RULE,
        "the calibration error of dora on r has grown by 0.2",
    ),
    "InputDrift": (
        {
            'rollwise_input_drift{route="r",feature="numbers"}': "0.5x300",
            'rollwise_input_drift{route="r",feature="turns"}': "0.1x300",
            'rollwise_alarm_bound{route="r",figure="drift_numbers"}': "0.25x300",
        },
        {
            'rollwise_input_drift{route="r",feature="numbers"}': "0.1x300",
            'rollwise_alarm_bound{route="r",figure="drift_numbers"}': "0.25x300",
        },
        "info",
        ROUTE,
        "the questions of r differ from the first ones: index 0.5",
    ),
}
"""Series with a value a minute that make an alarm fire after three hours, and such that do not; then its severity, its
labels and its summary.
"""


@pytest.fixture
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("needs promtool: apt-get install prometheus")
    return found


def run(*words: Any) -> str:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.heavy
def test_the_rules_are_those_of_the_cases_and_pass_the_check(promtool: str) -> None:
    assert f"{len(CASES)} rules found" in run(promtool, "check", "rules", DEPLOY / "alerts.yml")


@pytest.mark.heavy
@pytest.mark.parametrize("alarm", CASES)
def test_an_alarm_fires_when_it_should_and_only_then(promtool: str, alarm: str, tmp_path: Path) -> None:
    firing, quiet, severity, labels, summary = CASES[alarm]
    told = {"exp_labels": {**labels, "severity": severity}, "exp_annotations": {"summary": summary}}
    tests = [
        {
            "interval": "1m",
            "input_series": [{"series": name, "values": values} for name, values in series.items()],
            "alert_rule_test": [{"eval_time": "3h", "alertname": alarm, "exp_alerts": expected}],
        }
        for series, expected in ((firing, [told]), (quiet, []))
    ]
    file = tmp_path / "tests.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(DEPLOY / "alerts.yml")], "tests": tests}), encoding="utf-8")
    assert "SUCCESS" in run(promtool, "test", "rules", file)
