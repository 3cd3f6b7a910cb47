"""Runs a grid of searches on the same questions, stores every result, and summarises them with paired statistics."""

from typing import TYPE_CHECKING

from rollwise.lazy import exports

if TYPE_CHECKING:
    from rollwise.bench.browse import OUTCOMES, Browser, Filter, Listed, Pair, RecordedSearch
    from rollwise.bench.comparisons import Comparison, Saving, with_baseline
    from rollwise.bench.figures import Asked, Cost, Failure, Figures, Match, RoleCost, figures_of
    from rollwise.bench.finding import begun, begun_search
    from rollwise.bench.grid import Cell, Grid
    from rollwise.bench.history import Run, join_runs, read_run
    from rollwise.bench.paper import PaperCurves, benchmark_of, curves_of_model, read_paper
    from rollwise.bench.places import Place, Shared, options_of, read_place
    from rollwise.bench.prices import Prices, TokenPrices, read_prices
    from rollwise.bench.run import Bench, Found, begin, plain_text, read, recorded, resume, run_in_jobs
    from rollwise.bench.spreading import run_on_cluster
    from rollwise.bench.store import Outcome, Result
    from rollwise.bench.summary import Difference, Interval, Measure, Row, Summary, summarise
    from rollwise.bench.wording import verdict

__all__ = [
    "OUTCOMES",
    "Asked",
    "Bench",
    "Browser",
    "Cell",
    "Comparison",
    "Cost",
    "Difference",
    "Failure",
    "Figures",
    "Filter",
    "Found",
    "Grid",
    "Interval",
    "Listed",
    "Match",
    "Measure",
    "Outcome",
    "Pair",
    "PaperCurves",
    "Place",
    "Prices",
    "RecordedSearch",
    "Result",
    "RoleCost",
    "Row",
    "Run",
    "Saving",
    "Shared",
    "Summary",
    "TokenPrices",
    "begin",
    "begun",
    "begun_search",
    "benchmark_of",
    "curves_of_model",
    "figures_of",
    "join_runs",
    "options_of",
    "plain_text",
    "read",
    "read_paper",
    "read_place",
    "read_prices",
    "read_run",
    "recorded",
    "resume",
    "run_in_jobs",
    "run_on_cluster",
    "summarise",
    "verdict",
    "with_baseline",
]

__getattr__ = exports(
    __name__,
    {
        "OUTCOMES": "browse",
        "Browser": "browse",
        "Filter": "browse",
        "Listed": "browse",
        "Pair": "browse",
        "RecordedSearch": "browse",
        "Grid": "grid",
        "verdict": "wording",
        "read_prices": "prices",
        "TokenPrices": "prices",
        "Prices": "prices",
        "read_paper": "paper",
        "curves_of_model": "paper",
        "benchmark_of": "paper",
        "PaperCurves": "paper",
        "read_run": "history",
        "join_runs": "history",
        "Run": "history",
        "Cell": "grid",
        "figures_of": "figures",
        "RoleCost": "figures",
        "Match": "figures",
        "Figures": "figures",
        "Failure": "figures",
        "Cost": "figures",
        "Asked": "figures",
        "Saving": "comparisons",
        "Comparison": "comparisons",
        "with_baseline": "comparisons",
        "Bench": "run",
        "begin": "run",
        "Place": "places",
        "Shared": "places",
        "begun": "finding",
        "begun_search": "finding",
        "options_of": "places",
        "read_place": "places",
        "resume": "run",
        "Found": "run",
        "plain_text": "run",
        "read": "run",
        "recorded": "run",
        "run_in_jobs": "run",
        "run_on_cluster": "spreading",
        "Outcome": "store",
        "Result": "store",
        "Difference": "summary",
        "Interval": "summary",
        "Measure": "summary",
        "Row": "summary",
        "Summary": "summary",
        "summarise": "summary",
    },
)
