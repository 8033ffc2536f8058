"""The starter kit of grand-challenge-forge, made of our pack context by the forge itself."""

from __future__ import annotations

import json
import zipfile
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any


def test_the_forge_makes_a_pack_of_our_context(tiny: Any, run: Any, require: Any, tmp_path: Path) -> None:
    require(find_spec("grand_challenge_forge") is not None, "grand-challenge-forge (medpodium[test])")
    from grand_challenge_forge.forge import generate_challenge_pack

    out = tmp_path / "evaluation"
    run("export", "grand-challenge", tiny.rules, "--references", tiny.references, "--cases", tiny.cases, "--out", out)
    context = json.loads((out / "pack-context.json").read_text(encoding="utf-8"))
    with zipfile.ZipFile(tmp_path / "pack.zip", "w") as pack:
        generate_challenge_pack(output_zip_file=pack, target_zpath=PurePosixPath("pack"), context=context)
        made = {PurePosixPath(name).name for name in pack.namelist()}
    assert {"inference.py", "evaluate.py", "Dockerfile"} <= made
