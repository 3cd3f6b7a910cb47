"""What Prometheus reads of a service."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Literal

from rollwise.errors import MissingExtraError

try:
    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
    from prometheus_client.core import CounterMetricFamily
    from prometheus_client.metrics_core import Metric
    from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
    from prometheus_client.registry import Collector
except ImportError as error:
    raise MissingExtraError("the metrics of a service", "serve") from error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rollwise.service.indicators import Indicator
    from rollwise.service.records import Record

SHARED = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable that names the folder of several processes' values."""
Mode = Literal["livemostrecent", "livesum", "livemin", "livemax"]

_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640)
_SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_DIRECTIONS = (1, 1.5, 2, 3, 4, 6, 8, 12, 16, 32, 64)
_KINDS = ("generated", "prefilled", "cached")


class Forced(Collector):
    """Counts the advances without a passed gate, which the store counts for all processes."""

    def __init__(self) -> None:
        self.counts: Mapping[str, int] = {}

    def collect(self) -> Iterable[Metric]:
        """See prometheus_client."""
        family = CounterMetricFamily("rollwise_forced_advances", "Advances without a passed gate.", labels=["route"])
        for route, count in self.counts.items():
            family.add_metric([route], count)
        yield family


class Metrics:
    """The metrics of one service, in a registry of their own.

    If several processes serve at one address, the environment variable PROMETHEUS_MULTIPROC_DIR names a folder in which
    each of them keeps its values before this module is imported, and `text` adds them up.
    """

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        where = ("route", "rule", "stage")

        def counter(name: str, about: str, labels: tuple[str, ...] = ()) -> Counter:
            return Counter(f"rollwise_{name}", about, labels, registry=self.registry)

        def gauge(name: str, about: str, labels: tuple[str, ...] = (), mode: Mode = "livemostrecent") -> Gauge:
            return Gauge(f"rollwise_{name}", about, labels, registry=self.registry, multiprocess_mode=mode)

        def histogram(name: str, about: str, labels: tuple[str, ...], buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"rollwise_{name}", about, labels, buckets=buckets, registry=self.registry)

        self.searches = counter("searches", "Searches by outcome.", (*where, "strategy", "outcome"))
        self.seconds = histogram("search_seconds", "Seconds of a search.", where, _SECONDS)
        self.tokens = counter("tokens", "Tokens by role and kind.", ("route", "rule", "role", "kind"))
        self.money = counter("money", "Money spent, by the route's prices.", ("route", "rule"))
        self.saved = counter("rollouts_saved", "Rollouts spared by an early stop.", ("route", "rule"))
        self.spent = counter("rollouts", "Rollouts that ended.", ("route", "rule"))
        self.support = histogram("support", "Support of answers.", ("route", "rule"), _SHARES)
        self.directions = histogram(
            "effective_directions", "Effective number of directions of a round.", ("route", "rule"), _DIRECTIONS
        )
        self.unsupported = counter("answers_without_support", "Searches without an answer.", ("route", "rule"))
        self.forwarded = counter("forwarded", "Requests sent to the upstream, by reason.", ("route", "reason"))
        self.refused = counter("refused", "Requests refused, by status.", ("status",))
        self.agreement = counter("shadow", "Shadow searches by agreement.", ("route", "candidate", "agrees"))
        self.moved = histogram(
            "shadow_moved_share",
            "Share of a round's rollouts that the candidate would give elsewhere.",
            ("route", "candidate"),
            _SHARES,
        )
        self.feedback = counter("feedback", "Answers judged by clients.", ("route", "rule", "right"))
        self.forced = Forced()
        self.registry.register(self.forced)
        self.fallbacks = counter("fallbacks", "Canaries that fell back by themselves.", ("route", "cause"))
        self.rescued = counter("rescued", "Requests that the current rule answered for a failed candidate.", ("route",))
        self.percent = gauge("stage_percent", "Share of requests that the candidate answers.", ("route", "candidate"))
        self.accuracy = gauge("accuracy", "Share of right answers.", ("route", "rule", "judge"))
        self.return_ = gauge(
            "return_on_investment",
            "Money of the first rule for a right answer, over that of this rule.",
            ("route", "rule"),
        )
        self.calibration = gauge("calibration_error", "Calibration error of the winners' rewards.", ("route", "rule"))
        self.calibration_drift = gauge(
            "calibration_drift", "Growth of the calibration error since the first judged searches.", ("route", "rule")
        )
        self.input_drift = gauge(
            "input_drift",
            "Population stability index of a property of the questions, against the first ones.",
            ("route", "feature"),
        )
        self.bound = gauge("alarm_bound", "The bound of a figure, from the configuration.", ("route", "figure"))
        self.running = gauge("searches_running", "Searches that run.", mode="livesum")
        self.waiting = gauge("searches_waiting", "Searches that wait for a slot.", mode="livesum")
        self.up = gauge("server_up", "Whether a server behind a route answers.", ("url",), "livemin")
        self.stall = gauge(
            "loop_stall_seconds", "The longest stall of the event loop since the last look.", mode="livemax"
        )
        self.stall_own = gauge(
            "loop_stall_own_seconds", "Processor time of the loop's thread in that stall.", mode="livemax"
        )

    def observe(self, record: Record, effective_directions: list[float]) -> None:
        """Count a search that was recorded."""
        route, rule = record.route, record.rule
        self.searches.labels(route, rule, record.stage, record.strategy, record.outcome).inc()
        self.seconds.labels(route, rule, record.stage).observe(record.seconds)
        for role, usage in record.usage.items():
            for kind in _KINDS:
                self.tokens.labels(route, rule, role, kind).inc(usage.get(kind, 0))
        self.money.labels(route, rule).inc(record.money)
        self.saved.labels(route, rule).inc(record.saved)
        self.spent.labels(route, rule).inc(record.spent)
        if record.answer is None:
            self.unsupported.labels(route, rule).inc()
        else:
            self.support.labels(route, rule).observe(record.support)
        for number in effective_directions:
            self.directions.labels(route, rule).observe(number)

    def show(self, route: str, found: Sequence[Indicator]) -> None:
        """Set the gauges of a route's figures that enough searches made."""
        for each in found:
            if each.bound is not None:
                self.bound.labels(route, each.name).set(each.bound)
            if each.value is None or each.samples < each.needed:
                continue
            if each.name.startswith("drift_"):
                self.input_drift.labels(route, each.name.removeprefix("drift_")).set(each.value)
            elif each.name.endswith("_accuracy"):
                self.accuracy.labels(route, each.rule, each.name.removesuffix("_accuracy")).set(each.value)
            elif each.name in (gauges := self._gauges):
                gauges[each.name].labels(route, each.rule).set(each.value)

    @property
    def _gauges(self) -> dict[str, Gauge]:
        return {
            "return": self.return_,
            "calibration_error": self.calibration,
            "calibration_drift": self.calibration_drift,
        }

    def text(self) -> bytes:
        """The metrics of all processes at this address in Prometheus' text format."""
        if SHARED not in os.environ:
            return generate_latest(self.registry)
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        registry.register(self.forced)
        return generate_latest(registry)


def forget(process: int, folder: str) -> None:
    """Leave out what a process that has ended said of the present; what it counted stays."""
    mark_process_dead(process, folder)  # type: ignore[no-untyped-call]
