"""What every exported scorer is made of: rules, references and cases; and how its hidden part is written."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medpodium.challenges.schema.definition import Challenge
from medpodium.challenges.schema.kinds import KINDS
from medpodium.challenges.sources import package_version, source_hash
from medpodium.findings import Finding, UsageError, has_errors
from medpodium.scoring.exchange.codes import PlatformCode
from medpodium.scoring.exchange.files import place
from medpodium.scoring.kinds.lookup import of
from medpodium.scoring.kinds.protocol import BrokenReferencesError
from medpodium.scoring.kinds.references import check_references

BASE_IMAGE = "python:3.11-slim"
"""Image that scorers are built on where no other is named."""


@dataclass(frozen=True)
class Source:
    """What every exported scorer is made of.

    Parameters
    ----------
    challenge : Challenge
        The rules.
    task : str
        Which task is scored.
    references : Path
        Folder of references, or the table of classes.
    cases : Path, optional
        Table of cases and groups.
    """

    challenge: Challenge
    task: str
    references: Path
    cases: Path | None = None

    def write_truth(self, folder: Path) -> None:
        """Write rules and references as :func:`medpodium.containers.platforms.bundle.load` reads them.

        References are linked where that works.

        Raises
        ------
        UsageError
            If there is nothing to score against, or the task is scored from imported tables.
        BrokenReferencesError
            If a reference cannot be scored against; with everything that is wrong with them.
        """
        from ruamel.yaml import YAML

        from medpodium.challenges.campaign.folder import frozen
        from medpodium.scoring import groups

        rules = self.challenge.tasks[self.task]
        known = groups.read_cases(self.cases) if self.cases is not None else None
        if not KINDS[rules.kind].computed:
            cause = f"task {self.task!r} is a {rules.kind} task: its values are computed elsewhere"
            raise UsageError(
                Finding(PlatformCode.TASK_KIND, self.challenge.reference, cause, "choose a task with predictions")
            )
        names = None if known is None else [str(name) for name in known["case"]]
        read = of(rules).read_references(self.challenge, rules, self.references, names, [])
        lacking = [name for name in names or [] if name not in read.truth]
        if lacking:
            fix = "complete the references, or correct --cases"
            cause = f"{len(lacking)} cases have no reference, first: {lacking[0]}"
            raise UsageError(Finding(PlatformCode.BUNDLE, str(self.references), cause, fix))
        broken = [
            one
            for one in check_references(self.challenge, self.task, self.references, cases=known)
            if has_errors([one])
        ]
        if broken:
            raise BrokenReferencesError(*broken)
        root = self.references if self.references.is_dir() else self.references.parent
        folder.mkdir(parents=True, exist_ok=True)
        writer: Any = YAML(typ="safe", pure=True)
        writer.width = 1 << 20  # a name that is broken over two lines is no key any more
        # Structures and metrics keep their order: it is the order of the score table.
        writer.sort_base_mapping_type_on_output = False
        with (folder / "challenge.yaml").open("w", encoding="utf-8", newline="\n") as stream:
            writer.dump(frozen(self.challenge), stream)
        about = {
            "edition": self.challenge.edition,
            "variant": self.challenge.variant,
            "task": self.task,
            "definition": self.challenge.digest,
            "medpodium": package_version(),
            "sources": source_hash(),
        }
        (folder / "bundle.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8", newline="\n")
        if self.cases is not None:
            shutil.copyfile(self.cases, folder / "cases.csv")
        for path in read.files:
            place(path, folder / "references" / path.relative_to(root))
