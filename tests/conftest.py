import pytest
from hypothesis import settings

settings.register_profile("rollwise", deadline=None)  # a busy machine is no failure
settings.load_profile("rollwise")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-skips", action="store_true", help="a skipped test fails the run")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    reports = [] if reporter is None else reporter.stats.get("skipped", [])
    skipped = [report for report in reports if "set rollwise_" not in str(report.longrepr)]  # a server of one's own
    if session.config.getoption("--no-skips") and skipped:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
