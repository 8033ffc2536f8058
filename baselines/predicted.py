"""What a folder of predictions holds, noted beside it: what is done is kept, and nothing foreign is taken for it."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medpodium.baselines.failures import BaselineCode, refuse
from medpodium.baselines.fingerprints import differences, file_digest, write_json

NOTES = ".medpodium-predictions.json"
"""Our notes in a folder of predictions: which model, which images, which files."""
_SCRATCH = ".medpodium-scratch-"


class Done:
    """What a folder of predictions holds of this model, kept in a file beside them.

    Parameters
    ----------
    out : Path
        Folder of the predictions.
    facts : mapping
        Everything that decides what is predicted, besides the images.
    overwrite : bool
        Forget predictions of other models or settings.

    Raises
    ------
    UsageError
        If the predictions there are of another model or other settings.
    """

    def __init__(self, out: Path, facts: Mapping[str, Any], *, overwrite: bool) -> None:
        self.out, self.facts, self.overwrite = out, dict(facts), overwrite
        self.cases: dict[str, dict[str, Any]] = {}
        try:
            known = json.loads((out / NOTES).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return
        different = differences(known["facts"], self.facts)
        if not different:
            self.cases = known["cases"]
        elif not overwrite:
            fix = "choose a new folder, or use --overwrite to predict all cases anew"
            cause = f"holds predictions of another model or other settings: {'; '.join(different)}"
            raise refuse(BaselineCode.PREDICTED_OTHERWISE, out, cause, fix)

    def has(self, case: str, images: Mapping[str, str], files: Sequence[str]) -> bool:
        """Whether a case was predicted from the same images, and its files are as they were written.

        Raises
        ------
        UsageError
            If one of the files was written or changed by somebody else.
        """
        known = self.cases.get(case, {"images": None, "files": {}})
        there = {name: file_digest(self.out / name) for name in files if (self.out / name).is_file()}
        foreign = [name for name, own in there.items() if known["files"].get(name, "") not in (None, own)]
        if foreign and not self.overwrite:
            changed = foreign[0] in known["files"]
            what = "was changed since it was predicted" if changed else "was not predicted by this model"
            fix = "choose a new folder, or use --overwrite to predict the case anew"
            raise refuse(BaselineCode.PREDICTED_OTHERWISE, self.out / foreign[0], what, fix)
        complete = len(there) == len(files) and all(known["files"].get(name) == own for name, own in there.items())
        return complete and known["images"] == dict(images)

    def announce(self, case: str, images: Mapping[str, str], files: Sequence[str]) -> None:
        """Note that these files are about to be written, so that after a stop they are known to be ours."""
        self.cases[case] = {"images": dict(images), "files": dict.fromkeys(files)}
        self._save()

    def finish(self, case: str) -> None:
        """Note that the files of a case are written."""
        files = self.cases[case]["files"]
        self.cases[case]["files"] = {name: file_digest(self.out / name) for name in files}
        self._save()

    def _save(self) -> None:
        write_json(self.out / NOTES, {"facts": self.facts, "cases": self.cases})


@contextmanager
def scratch_in(out: Path) -> Iterator[Path]:
    """Make a hidden folder for what is not ready; those of runs that were killed are removed."""
    import psutil

    for old in out.glob(f"{_SCRATCH}*"):
        owner = old.name.removeprefix(_SCRATCH).partition("-")[0]
        if not owner.isdigit() or not psutil.pid_exists(int(owner)):
            shutil.rmtree(old, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"{_SCRATCH}{os.getpid()}-", dir=out) as folder:
        yield Path(folder)
