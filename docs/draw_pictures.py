"""Draws the README's picture from a report of the demo: ``python docs/draw_pictures.py`` (needs chromium)."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

PICTURES = Path(__file__).parent / "pictures"


def main() -> None:
    """Make the demo, and photograph the first screen of its report."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as browsers:
        subprocess.run([sys.executable, "-m", "medpodium.cli", "demo", folder], check=True)
        browser = browsers.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 860}, color_scheme="light")
        page.goto((Path(folder) / "report" / "index.html").as_uri())
        page.screenshot(path=PICTURES / "report.png")
        browser.close()
    with Image.open(PICTURES / "report.png") as shot:
        shot.convert("P", palette=Image.Palette.ADAPTIVE, colors=64).save(PICTURES / "report.png", optimize=True)


if __name__ == "__main__":
    main()
