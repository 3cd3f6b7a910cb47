"""The files of `deploy/` name metrics, settings and pages that exist."""

import json
import re
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]
from sqlalchemy import make_url

from rollwise.service import read_settings
from rollwise.service.metrics import Metrics

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
NAMED = re.compile(r"\brollwise_[a-z_]+\b")


def families() -> set[str]:
    """The names under which Prometheus stores the metrics."""
    endings = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
    return {family.name + end for family in Metrics().registry.collect() for end in endings[family.type]}


@pytest.mark.parametrize("file", ["alerts.yml", "grafana/rollwise.json"])
def test_every_metric_that_is_watched_exists(file: str) -> None:
    named = set(NAMED.findall((DEPLOY / file).read_text(encoding="utf-8")))
    assert len(named) > 8
    assert named <= families()


def test_every_alarm_is_in_the_runbook_and_every_metric_there_exists() -> None:
    alarms = [
        rule["alert"]
        for group in yaml.safe_load((DEPLOY / "alerts.yml").read_text())["groups"]
        for rule in group["rules"]
    ]
    runbook = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
    assert [line.split()[1] for line in runbook.splitlines() if line.startswith("## ") and "(" in line] == alarms
    assert set(NAMED.findall(runbook)) <= families()


def test_the_dashboard_has_no_panel_over_another() -> None:
    dashboard = json.loads((DEPLOY / "grafana" / "rollwise.json").read_text(encoding="utf-8"))
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_the_services_of_the_compose_file_mount_files_that_exist() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    for service in compose["services"].values():
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            if source.startswith("./") and source != "./service.key":
                assert (DEPLOY / source).is_file(), source
            elif not source.startswith("./"):
                assert source in compose["volumes"], source
    assert list(read_settings({"config": DEPLOY / "service.toml"}).routes) == ["math"]


def test_the_service_of_the_compose_file_keeps_its_searches_in_its_database() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))["services"]
    words = [word for word in services["service"]["command"] if word != "--log"]
    given = dict(zip(words[1::2], words[2::2], strict=True))
    settings = read_settings({"config": DEPLOY / "service.toml"} | {key[2:]: value for key, value in given.items()})
    assert (settings.workers, settings.shared) == (2, True)
    url = make_url(str(settings.store))
    database = services[url.host or ""]
    assert url.username == database["environment"]["POSTGRES_USER"] == url.database
    assert url.password is None
    assert services["service"]["environment"]["PGPASSWORD"] == database["environment"]["POSTGRES_PASSWORD"]
