"""Write docker/requirements.lock: every package of the image with its version and the hash of its file.

Usage: python docker/lock.py, with the Python and on the platform of the image (`make lock`).
"""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
HEAD = "# Made by `make lock` from pyproject.toml, for Python 3.11 on Linux x86_64; the image has no others.\n"


def main() -> None:
    """Ask pip what it would install."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--report", "-"]
    report = json.loads(subprocess.run([*command, str(ROOT)], check=True, capture_output=True, text=True).stdout)
    lines = []
    for package in report["install"]:
        metadata, info = package["metadata"], package["download_info"]
        if metadata["name"].replace("-", "_") == "lightning_flows":
            continue
        lines.append(
            f"{metadata['name']}=={metadata['version']} --hash=sha256:{info['archive_info']['hashes']['sha256']}\n"
        )
    (ROOT / "docker/requirements.lock").write_text(HEAD + "".join(sorted(lines, key=str.lower)))


if __name__ == "__main__":
    main()
