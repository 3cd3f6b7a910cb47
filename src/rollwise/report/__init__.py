"""What people look at: tables and pictures of a search, a bench, a belief and a simulation."""

from rollwise.report.account import Account, Fate, Node, Stage, Told
from rollwise.report.beliefs import belief_notes, belief_sheets, belief_svg
from rollwise.report.bench_page import Part
from rollwise.report.bench_pictures import pictures_of
from rollwise.report.bench_report import write_report
from rollwise.report.bench_tables import tables_of
from rollwise.report.curves import Look, Panel, Point, bounds_of, key_svg, log_marks, looks_of, panel_svg
from rollwise.report.flow import Flow, fold_flow
from rollwise.report.folding import account_of, fold_account, told_by
from rollwise.report.pictures import search_svg
from rollwise.report.reasons import Reason, reason_of
from rollwise.report.recorded import account_of_records
from rollwise.report.regrets import simulation_sheets, simulation_svg
from rollwise.report.search import explanation, ledger_table, round_line, verdict_text, where_table
from rollwise.report.search_page import asset, html_page, search_data, search_html, why_of
from rollwise.report.sheets import sheet_markdown, sheet_tables, summary_notes, summary_sheets
from rollwise.report.svg import svg_circle, svg_line, svg_text
from rollwise.report.words import LANGUAGES, PluralFormatter, catalogue, sentence

__all__ = [
    "LANGUAGES",
    "Account",
    "Fate",
    "Flow",
    "Look",
    "Node",
    "Panel",
    "Part",
    "PluralFormatter",
    "Point",
    "Reason",
    "Stage",
    "Told",
    "account_of",
    "account_of_records",
    "asset",
    "belief_notes",
    "belief_sheets",
    "belief_svg",
    "bounds_of",
    "catalogue",
    "explanation",
    "fold_account",
    "fold_flow",
    "html_page",
    "key_svg",
    "ledger_table",
    "log_marks",
    "looks_of",
    "panel_svg",
    "pictures_of",
    "reason_of",
    "round_line",
    "search_data",
    "search_html",
    "search_svg",
    "sentence",
    "sheet_markdown",
    "sheet_tables",
    "simulation_sheets",
    "simulation_svg",
    "summary_notes",
    "summary_sheets",
    "svg_circle",
    "svg_line",
    "svg_text",
    "tables_of",
    "told_by",
    "verdict_text",
    "where_table",
    "why_of",
    "write_report",
]
