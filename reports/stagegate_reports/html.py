"""The report as one HTML page that needs nothing but itself."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from stagegate_baselines import escaping
from stagegate_reports import charts, figures, formatting, headline, plots
from stagegate_reports.hot_rows import hot_rows, hot_sentence
from stagegate_reports.model import Report

TEMPLATES = Path(__file__).parent / "templates"


def render(report: Report) -> str:
    """The page; equal reports give equal text."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        finalize=escaping.html,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for function in (
        formatting.number, formatting.percent, formatting.change, formatting.interval,
        formatting.share,
        formatting.times, formatting.times_interval, formatting.seconds, formatting.count,
    ):  # fmt: skip
        environment.filters[function.__name__] = function
    environment.filters["data_uri"] = _data_uri
    environment.globals.update(
        plots=plots, charts=charts, figures=figures, signs=formatting.SIGNS,
        hot_rows=hot_rows, hot_sentence=hot_sentence,
    )  # fmt: skip
    style = (TEMPLATES / "report.css").read_text("utf-8")
    script = (TEMPLATES / "report.js").read_text("utf-8")
    problems, more = headline.problems(report)
    return environment.get_template("report.html.j2").render(
        report=report,
        answer=headline.answer(report),
        speed=headline.speed(report),
        problems=problems,
        more_problems=more,
        style=Markup(style),
        script=Markup(script),
        # Nothing may be loaded, and no other style or script may run, whatever a record holds.
        policy=(
            f"default-src 'none'; img-src data:; "
            f"style-src '{_digest(style)}'; script-src '{_digest(script)}'"
        ),
    )


def _data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
