"""What people look at: tables and pictures of a search, a bench, a belief and a simulation."""

from rollwise.report.beliefs import belief_notes, belief_sheets, belief_svg
from rollwise.report.bench_page import Part
from rollwise.report.bench_pictures import pictures_of
from rollwise.report.bench_report import write_report
from rollwise.report.bench_tables import tables_of
from rollwise.report.flow import Flow, fold_flow
from rollwise.report.pictures import search_svg
from rollwise.report.regrets import simulation_sheets, simulation_svg
from rollwise.report.search import explanation, ledger_table, round_line, verdict_text, where_table
from rollwise.report.sheets import sheet_markdown, sheet_tables, summary_notes, summary_sheets

__all__ = [
    "Flow",
    "Part",
    "belief_notes",
    "belief_sheets",
    "belief_svg",
    "explanation",
    "fold_flow",
    "ledger_table",
    "pictures_of",
    "round_line",
    "search_svg",
    "sheet_markdown",
    "sheet_tables",
    "simulation_sheets",
    "simulation_svg",
    "summary_notes",
    "summary_sheets",
    "tables_of",
    "verdict_text",
    "where_table",
    "write_report",
]
