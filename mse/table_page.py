"""metrics.csv and intervals.csv as one page that is pleasant to read: a row a model, a column a metric."""

from html import escape
from pathlib import Path

import pandas as pd

from mse.atomic import replacing
from mse.errors import UserError
from mse.metric_names import METRIC_NAMES, PERCENT
from mse.tables import read_intervals, read_table

SIGNIFICANT = 0.05
STYLE = """
body { font: 15px/1.5 system-ui, "Noto Sans", "Noto Sans CJK SC", sans-serif; color: #222; margin: 28px; }
h1 { font-size: 20px; font-weight: 600; margin: 0 0 4px; }
p { color: #666; max-width: 62em; margin: 4px 0 14px; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th { text-align: right; font-weight: 600; padding: 4px 16px 4px 0; border-bottom: 2px solid; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; padding-right: 28px; white-space: nowrap; }
td { text-align: right; padding: 5px 16px 5px 0; border-bottom: 1px solid #ddd; vertical-align: top; }
td small { display: block; color: #666; font-size: 12px; font-weight: 400; white-space: nowrap; }
tr.reference td { background: #eef4f9; }
td.best { font-weight: 700; }
sup { color: #D55E00; line-height: 0; }
"""


def write_table_page(metrics: Path, intervals: Path, out: Path) -> None:
    """Write the page.

    Args:
        metrics: metrics.csv.
        intervals: intervals.csv of the same models.
        out: the HTML file.

    Raises:
        UserError: a table is missing or another.
    """
    counts = read_table(metrics, ("model", "run", "decoding", "corpus"), (), "mse score", required=("n", "corpus"))
    table = read_intervals(intervals)
    shown = [name for name in dict.fromkeys(table["metric"]) if name in METRIC_NAMES]
    if counts.empty or not shown:
        raise UserError(f"{intervals}: no metric that is known; score again")
    head = "".join(f"<th>{escape(METRIC_NAMES[name][0])}</th>" for name in shown)
    best = {name: _best(table[table["metric"] == name], METRIC_NAMES[name][1]) for name in shown}
    rows = []
    for (model, decoding), of_row in table.groupby(["model", "decoding"], sort=False):
        name = f"{escape(model)} <small>{escape(decoding)}</small>" if decoding else escape(model)
        cells = "".join(_cell(of_row[of_row["metric"] == metric], metric, best[metric]) for metric in shown)
        shaded = " class=reference" if of_row["reference"].iloc[0] else ""
        rows.append(f"<tr{shaded}><td>{name}</td>{cells}</tr>")
    corpus, clips = escape(str(counts["corpus"].iloc[0])), int(float(counts["n"].iloc[0]))
    text = (
        f"{clips} test clips. Mean over the seeds, with the 95 % bootstrap interval over clips below. Bold: the best "
        f"of the column. <sup>*</sup>: differs from the shaded row, p &lt; {SIGNIFICANT:g} by a paired bootstrap test "
        "over clips (not corrected for the number of tests)."
    )
    page = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{corpus}</title><style>{STYLE}</style>'
        f"</head>\n<body><h1>{corpus}</h1><p>{text}</p>\n<table><thead><tr><th>model</th>{head}</tr></thead>\n<tbody>"
        + "\n".join(rows)
        + "</tbody></table></body></html>\n"
    )
    with replacing(out) as partial:
        partial.write_text(page, encoding="utf-8")


def _best(rows: pd.DataFrame, less: bool) -> float:
    return float(rows["value"].min() if less else rows["value"].max())


def _cell(rows: pd.DataFrame, metric: str, best: float) -> str:
    if rows.empty or pd.isna(rows["value"].iloc[0]):
        return "<td>–</td>"  # noqa: RUF001 (nothing)
    row = rows.iloc[0]
    mark = "<sup>*</sup>" if pd.notna(row["p"]) and row["p"] < SIGNIFICANT else ""
    between = (
        "" if pd.isna(row["low"]) else f"<small>{_number(row['low'], metric)} to {_number(row['high'], metric)}</small>"
    )
    chosen = " class=best" if row["value"] == best else ""
    return f"<td{chosen}>{_number(row['value'], metric)}{mark}{between}</td>"


def _number(value: float, metric: str) -> str:
    return f"{100 * value:.1f}" if metric in PERCENT else f"{value:.3f}"
