"""What people look at: tables and pictures of a search, a bench, a belief and a simulation."""

from rollwise.report.beliefs import belief_notes, belief_sheets, belief_svg
from rollwise.report.flow import Flow, fold_flow
from rollwise.report.pictures import search_svg
from rollwise.report.regrets import simulation_sheets, simulation_svg
from rollwise.report.search import explanation, ledger_table, round_line, verdict_text, where_table
from rollwise.report.sheets import sheet_markdown, sheet_tables, summary_notes, summary_sheets

__all__ = [
    "Flow",
    "belief_notes",
    "belief_sheets",
    "belief_svg",
    "explanation",
    "fold_flow",
    "ledger_table",
    "round_line",
    "search_svg",
    "sheet_markdown",
    "sheet_tables",
    "simulation_sheets",
    "simulation_svg",
    "summary_notes",
    "summary_sheets",
    "verdict_text",
    "where_table",
]
