"""``report``: one HTML page about all runs below a folder."""

from pathlib import Path

from tqdm import tqdm

from lightning_flows.errors import UsageError
from lightning_flows.files import check_new_file, created
from lightning_flows.reporting.report import read_trainings, report_page


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
    trainings = read_trainings(root, lambda folders: tqdm(folders, unit="run", desc="reading"))
    page = report_page(trainings, title or f"Flows in {root.resolve().name}")
    with created(path) as file:
        file.write(page.encode("utf-8", errors="replace"))  # a file's name may be no text
    incomplete = sum(bool(training.problems) for training in trainings)
    count = f"{len(trainings)} run{'' if len(trainings) == 1 else 's'}" + (
        f", {incomplete} incomplete" if incomplete else ""
    )
    print(f"{count}: {path} ({path.stat().st_size / 1e6:.2f} MB)")
    return path
