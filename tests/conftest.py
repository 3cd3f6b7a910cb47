from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from served import Emulator, emulated

settings.register_profile("explore", deadline=None)  # a busy machine is no failure
settings.register_profile(  # the same examples in every run, so that a run tells of the change and not of the draw
    "rollwise", settings.get_profile("explore"), derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("rollwise")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-skips", action="store_true", help="a skipped test fails the run")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    reports = [] if reporter is None else reporter.stats.get("skipped", [])
    skipped = [report for report in reports if "set ROLLWISE_" not in str(report.longrepr)]  # it needs a server
    if session.config.getoption("--no-skips") and skipped:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture
def served() -> Iterator[Emulator]:
    """A server in the manner of vLLM."""
    with emulated("vllm") as server:
        yield server
