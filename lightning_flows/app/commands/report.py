"""``report``: one HTML page about all runs below a folder."""

from pathlib import Path

from tqdm import tqdm

from lightning_flows.errors import UsageError
from lightning_flows.files import check_new_file, created
from lightning_flows.reporting.report import report_page
from lightning_flows.reporting.tables.runs import read_runs


def report(runs: str = "runs", out: str = "report.html", title: str | None = None) -> Path:
    """Write one HTML page about runs: tables beside the paper's, curves, samples, runtimes, configs and versions.

    The page needs no network and runs no script. A run that is broken or has no test is named on it.

    Args:
        runs: folder with the runs, such as the logger's save_dir.
        out: HTML file to write; an existing one is kept and refused.
        title: of the page; by default it names the folder.
    """
    path = Path(out)
    if path.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"expected out to be an HTML file; got {out}: let its name end with .html")
    check_new_file(path)
    root = Path(runs)
    found = read_runs(root, lambda folders: tqdm(folders, unit="run", desc="reading"))
    page = report_page(found, title or f"Run report: {root.resolve().name}")
    with created(path) as file:
        file.write(page.html.encode("utf-8"))
    count = f"{len(found)} run{'' if len(found) == 1 else 's'}"
    count += f", {page.num_incomplete} incomplete" if page.num_incomplete else ""
    print(f"{count}: {path} ({path.stat().st_size / 1e6:.2f} MB)")
    return path
