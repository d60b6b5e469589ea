"""The page: a single file without external resources, whose only script is our own."""

import base64
import hashlib
import io
import re
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup
from PIL import Image

from lightning_flows import __version__
from lightning_flows.errors import DataError
from lightning_flows.reporting.report import experiments
from lightning_flows.reporting.report.best import best_runs
from lightning_flows.reporting.tables.run_files import MAX_CONFIG, MAX_IMAGE, read_bytes, read_text
from lightning_flows.reporting.tables.runs import CONFIG, TESTS, Run

MAX_SIDE, QUALITY = 640, 70
LONG, PARTS = 12, re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=\w[/_])(?=[^\W\d_])")
"""Length of a name that may be broken, and the places where."""
MAX_PIXELS = 2**26
"""Pixel limit of an image in a run's folder: 67 million."""


class Report(NamedTuple):
    """A page, and the number of incomplete runs."""

    html: str
    num_incomplete: int


def report_page(runs: Sequence[Run], title: str) -> Report:
    """Write HTML about runs: the best of each model, results, the paper's tables, curves, samples, runtimes, configs,
    missing and broken files.

    Names and configs are always text: the template escapes them, and the page forbids scripts other than its own, which
    sorts tables and shows values of curves.

    Args:
        runs: the runs, see :func:`read_runs`.
        title: title of the page.
    """
    by_experiment: dict[str, list[Run]] = {}
    for run in runs:
        by_experiment.setdefault(run.experiment, []).append(run)
    found = [_experiment(name, group) for name, group in by_experiment.items()]
    script = _script()
    html = template("report.html").render(
        title=title,
        date=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        version=__version__,
        experiments=found,
        best=best_runs(runs),
        script=Markup(script),
        digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
    return Report(html, sum(bool(run["problems"]) for experiment in found for run in experiment["runs"]))


@cache
def template(name: str) -> Template:
    """A template of this package, which escapes all text and whose variables must be defined."""
    environment = Environment(
        loader=PackageLoader("lightning_flows.reporting.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["breakable"] = breakable
    return environment.get_template(name)


def _script() -> str:
    """The script of the page. A browser runs it because the page's policy names its hash, and no other."""
    return resources.files("lightning_flows.reporting.report").joinpath("templates/report.js").read_text("utf-8")


def printable(value: Any) -> Any:
    r"""Escape characters that control a terminal or reverse text, such as ``\x1b`` or ``\u202e``."""
    if not isinstance(value, str) or isinstance(value, Markup) or value.isprintable():
        return value
    return "".join(c if c.isprintable() or c in "\t\n\xa0" else c.encode("unicode_escape").decode() for c in value)


def breakable(text: str) -> Markup:
    """Text as HTML whose long names may continue on the next line between their parts, and not within a word.

    >>> breakable("ConvSylvesterFlow"), breakable("a_b"), breakable("csf_small/version_1 <a>")
    (Markup('Conv<wbr>Sylvester<wbr>Flow'), Markup('a_b'), Markup('csf_<wbr>small/<wbr>version_1 &lt;a&gt;'))
    """
    parts = PARTS.split(printable(text)) if len(text) > LONG else [printable(text)]
    return Markup("<wbr>").join(parts)


def _experiment(name: str, runs: Sequence[Run]) -> dict[str, Any]:
    tables = experiments.tables(runs)
    return {
        "name": "" if name == "." else name,
        "results": experiments.results(runs),
        "tables": tables,
        "comparisons": experiments.comparisons(runs, [number for number, table in tables.items() if table.rows]),
        "charts": experiments.validation_charts(runs),
        "runtimes": experiments.runtimes(runs),
        "runs": [_details(run) for run in runs],
    }


def _details(run: Run) -> dict[str, Any]:
    """Contents of the page about a run; ``problems`` are sentences on what is missing or broken."""
    problems, image, config = [run.error] if run.error else [], None, ""
    if run.why_not_final:
        problems.append(f"it {run.why_not_final}")
    if not run.error and not run.test:
        tests = run.folder / TESTS
        untested = not tests.exists() or tests.stat().st_size == 0
        advice = "not tested: run `test --ckpt_path RUN/checkpoints/best.ckpt` to include it in a table"
        if run.state == "diverged":
            advice = "diverged: its loss became infinite or NaN"
        problems.append(advice if untested else "tested on different data than it was trained on")
    if not run.scalars.curves and not run.scalars.problems:
        problems.append("no curves: nothing was logged")
    problems += run.scalars.problems
    try:
        newest = max(run.folder.glob("samples/*.png"), default=None)
        image = inline(newest, run.folder) if newest else None
    except DataError as error:
        problems.append(str(error))
    with suppress(DataError):  # already one of the problems
        config = read_text(run.folder / CONFIG, run.folder, MAX_CONFIG)
    return {
        "name": run.name,
        "folder": str(run.folder),
        "short_name": run.short_name,
        "headline": experiments.headline(run),
        "chart": experiments.training_chart(run),
        "image": image,
        "metrics": sorted(run.metrics.items()),
        "config": config,
        "problems": problems,
    }


class Inlined(NamedTuple):
    """An image as a ``data:`` URL, with its file name and its size in pixels."""

    name: str
    uri: str
    width: int
    height: int


def inline(path: Path, folder: Path) -> Inlined:
    """Convert an image of a run to WebP, at most 640 pixels wide or high, for inlining: lossless unless it is reduced.

    Lossy WebP has a quarter of the colors, which smears samples whose pixels are single values. Only PNG is decoded,
    regardless of the suffix: other formats may run programs such as Ghostscript. Raises: DataError if the file is not a
    PNG, too large, or a link out of ``folder``.
    """
    content = read_bytes(path, folder, MAX_IMAGE)
    try:
        with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DataError(f"it has more than {MAX_PIXELS} pixels")
            small = image.convert("RGB")
    except Exception as error:  # a crafted file may raise anything in a decoder
        reason = f": {error}" if isinstance(error, DataError) else ""
        raise DataError(f"{path.name} cannot be read as PNG{reason}") from error
    lossless = max(small.size) <= MAX_SIDE
    small.thumbnail((MAX_SIDE, MAX_SIDE))
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", lossless=lossless, quality=QUALITY)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return Inlined(path.stem.replace("_", " "), f"data:image/webp;base64,{data}", *small.size)
