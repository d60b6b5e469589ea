"""``report``: one HTML page about all runs below a folder."""

from pathlib import Path

from lightning_flows.files import PAGE_SUFFIXES, check_new_file, check_suffix, created
from lightning_flows.progress import progress


def report(runs: str = "runs", out: str = "report.html", title: str | None = None, overwrite: bool = False) -> Path:
    """Write one HTML page about runs: the best ones, tables next to the paper's, curves, samples, runtimes, configs.

    The page needs no network. It lists the runs that are damaged or not tested.

    Args:
        runs: folder of the runs, such as the logger's save_dir.
        out: HTML file to write.
        title: title of the page; by default, it contains the name of the folder.
        overwrite: replace an existing file.
    """
    path = Path(out)
    check_suffix(out, PAGE_SUFFIXES, "an HTML file", "an --out")
    check_new_file(path, overwrite=overwrite)
    from lightning_flows.reporting.report import report_page  # these take a second
    from lightning_flows.reporting.tables.runs import read_runs

    root = Path(runs)
    found = read_runs(root, lambda folders: progress(folders, unit="run", desc="reading"))
    page = report_page(found, title or f"Run report: {root.resolve().name}")
    with created(path, overwrite=overwrite) as file:
        file.write(page.html.encode("utf-8"))
    count = f"{len(found)} run{'' if len(found) == 1 else 's'}"
    count += f", {page.num_incomplete} incomplete" if page.num_incomplete else ""
    print(f"{count}: {path} ({path.stat().st_size / 1e6:.2f} MB)")
    return path
