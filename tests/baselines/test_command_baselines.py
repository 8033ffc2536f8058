"""Any program becomes a baseline: declared in the challenge file, trained, run, packaged and scored like the others.

The methods made here are right by construction, so that every score is known beforehand.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import SimpleITK

Verb = Callable[..., dict[str, Any]]

THRESHOLD = '''
"""Voxels of 100 and more are 1, of 200 and more 2: with two numbers that training finds."""

import argparse
import getpass
import json
from pathlib import Path

import numpy as np
import SimpleITK

getpass.getuser()  # as MONAI does when it is imported, whatever number runs it
parser = argparse.ArgumentParser()
parser.add_argument("what")
for name in ("images", "labels", "out", "model"):
    parser.add_argument(f"--{name}", type=Path)
asked = parser.parse_args()


def read(path):
    image = SimpleITK.ReadImage(str(path))
    return image, SimpleITK.GetArrayFromImage(image)


if asked.what == "train":
    voxels = np.concatenate([read(path)[1].ravel() for path in sorted(asked.images.glob("*_0000.nii.gz"))])
    labels = np.concatenate([read(path)[1].ravel() for path in sorted(asked.labels.glob("*.nii.gz"))])
    limits = [int(voxels[labels == value].min()) for value in (3, 7)]
    asked.model.mkdir(parents=True, exist_ok=True)
    (asked.model / "limits.json").write_text(json.dumps(limits))
else:
    low, high = json.loads((asked.model / "limits.json").read_text())
    for path in sorted(asked.images.glob("*_0000.nii.gz")):
        image, voxels = read(path)
        found = SimpleITK.GetImageFromArray(((voxels >= low) * 1 + (voxels >= high)).astype(np.uint8))
        found.CopyInformation(image)
        SimpleITK.WriteImage(found, str(asked.out / path.name.replace("_0000", "")))
'''

CHALLENGE: dict[str, Any] = {
    "schema": 1,
    "name": "bands",
    "title": "Two bands of intensity",
    "modality": ["MR"],
    "tasks": {
        "segmentation": {
            "files": {"images": {"t1": "{case}_0000.nii.gz"}},
            "empty": {"both": "skip", "reference": 0.0, "prediction": 0.0},
            "structures": {"grey": {"label": 3}, "bright": {"label": 7}},
            "metrics": {"dice": {"kind": "dice", "missing": 0.0}},
        }
    },
    "recipes": {"mean": {"steps": [{"mean": ["structure", "case", "metric"]}, {"rank": {"ties": "min"}}]}},
    "ranking": {"segmentation": "mean"},
    "containers": {
        "default": {
            "per": "case",
            "command": ["/bin/bash", "-c", "sh predict.sh"],
            "mounts": [
                {
                    "path": "/workspace/inputs",
                    "files": [{"source": "{case}_0000.nii.gz", "target": "{case}_0000.nii.gz", "role": "t1"}],
                },
                {"path": "/workspace/outputs", "kind": "output"},
            ],
            "outputs": [{"name": "{case}.nii.gz"}],
            "limits": {"time": "2 min", "memory": "2 GiB", "cpus": "1", "gpus": "0"},
        }
    },
}

CALL = "{python} method.py"


def write(path: Path, voxels: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(voxels), str(path), useCompression=True)


def read(path: Path) -> Any:
    return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))


def voxels(seed: int) -> tuple[Any, Any]:
    """Return an image, and its labels as the challenge calls them."""
    image = np.random.default_rng(seed).integers(0, 300, (8, 12, 10)).astype(np.int16)
    return image, np.where(image >= 200, 7, np.where(image >= 100, 3, 0)).astype(np.uint8)


class Place:
    """A challenge file with a method beside it, and its cases."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.challenge = folder / "challenge.yaml"
        self.data = folder / "data"
        self.images, self.labels = self.data / "images", self.data / "labels"
        for number, name in enumerate("abcd"):
            image, labels = voxels(number)
            image.ravel()[:2] = 100, 200  # so that training finds both limits
            labels.ravel()[:2] = 3, 7
            write(self.images / f"{name}_0000.nii.gz", image)
            write(self.labels / f"{name}.nii.gz", labels)

    def declare(self, program: str, changes: dict[str, Any] | None = None, **baseline: Any) -> Path:
        """Write the method and the challenge file that declares it."""
        (self.folder / "method.py").write_text(program)
        own = {"kind": "command", "method": "Thresholds", "folds": ["all"], **baseline}
        text = json.dumps({**CHALLENGE, **(changes or {}), "baselines": {"threshold": own}})
        self.challenge.write_text(text)  # JSON is YAML
        return self.challenge

    def predict(self, run: Verb, *more: object, code: int = 0) -> dict[str, Any]:
        """Predict all cases."""
        return run("baseline", "predict", self.challenge, "--images", self.images, "--out", self.folder / "out",
                   *more, code=code)  # fmt: skip

    def right(self, name: str) -> bool:
        """Whether a case's prediction is what it should be."""
        return np.array_equal(read(self.folder / "out" / f"{name}.nii.gz"), read(self.labels / f"{name}.nii.gz"))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def threshold(place: Place) -> Place:
    """A method that is trained, and has label values of its own."""
    place.declare(
        THRESHOLD,
        train=f"{CALL} train --images {{dataset}}/images --labels {{dataset}}/labels --model {{model}}",
        predict=f"{CALL} predict --images {{images}} --out {{out}} --model {{model}}",
        labels={"grey": 1, "bright": 2},
        package={"base": "medpodium-test-command-base:latest", "files": ["method.py"]},
    )
    return place


def test_a_command_is_trained_predicts_and_is_scored(threshold: Place, run: Verb) -> None:
    """Its labels 1 and 2 become 3 and 7; a second run of each verb repeats nothing."""
    here = threshold
    train = ("baseline", "train", here.challenge, "--dataset", here.data, "--model", here.folder / "model")
    assert run(*train)["folds"][0]["seconds"] > 0
    again = run(*train, code=2)["findings"][0]
    assert (again["code"], "finished" in again["cause"]) == ("baseline-already-trained", True)
    assert run(*train, "--resume")["folds"][0]["seconds"] is None
    made = here.predict(run, "--model", here.folder / "model")
    assert (len(made["cases"]), made["kept"], made["findings"]) == (4, [], [])
    assert all(here.right(name) for name in "abcd")
    (here.folder / "out" / "b.nii.gz").unlink()
    assert here.predict(run, "--model", here.folder / "model")["kept"] == ["a", "c", "d"]
    run("score", here.challenge, "--references", here.labels, f"--predictions=t={here.folder / 'out'}",
        "--out", here.folder / "scores.csv")  # fmt: skip
    scores = pd.read_csv(here.folder / "scores.csv")
    assert len(scores) == 8
    assert set(scores["value"]) == {1.0}
    (here.folder / "method.py").write_text(THRESHOLD + "\n")
    changed = here.predict(run, "--model", here.folder / "model", code=2)["findings"][0]
    assert changed["code"] == "predictions-of-another-model"
    assert run(*train, "--resume", code=2)["findings"][0]["code"] == "baseline-trained-otherwise"
    assert run(*train, "--restart")["folds"][0]["seconds"] > 0
    assert len(list((here.folder / "set-aside").glob("*/model/limits.json"))) == 1


FAILS = """
import shutil, sys
from pathlib import Path
image, out = map(Path, sys.argv[1:])
name = image.name.replace("_0000", "")
if name.startswith("b"):
    print("loading"); print("weights of b are broken", file=sys.stderr); sys.exit(7)
if not name.startswith("c"):
    shutil.copyfile(Path(__file__).parent / "data" / "labels" / name, out / name)
else:
    (out / "C.nii.gz").write_text("?")
"""


def test_a_command_per_case_loses_only_the_cases_that_fail(place: Place, run: Verb) -> None:
    """The end of what a failing command complained about is told, and which file another did not write."""
    place.declare(FAILS, predict=f"{CALL} {{image:t1}} {{out}}")
    made = place.predict(run, code=1)
    causes = {item["where"]: item["cause"] for item in made["findings"]}
    assert causes["b"].endswith("predict ended with exit code 7: weights of b are broken")
    assert causes["c"] == "the command ended without writing c.nii.gz; there is C.nii.gz in its folder"
    assert [row["case"] for row in made["cases"]] == ["a", "d"]
    assert place.right("a")
    again = place.predict(run, code=1)
    assert (again["kept"], again["cases"]) == (["a", "d"], [])
    place.declare(FAILS, predict=f"{CALL} {{images}} {{out}}")
    whole = run("baseline", "predict", place.challenge, "--images", place.images, "--out", place.folder / "new", code=1)
    assert "exit code 1" in whole["findings"][0]["cause"]
    assert not list((place.folder / "new").glob("*.nii.gz"))


@pytest.mark.parametrize(
    ("field", "words", "told"),
    [
        ("predict", "run {image_folder} {out}", "unknown placeholder {image_folder}"),
        ("predict", "run {images}", "predict needs {out}"),
        ("train", "run {images}", "unknown placeholder {images}; known: {dataset}"),
        ("predict", "run {out} {model:t1}", "unknown placeholder {model:t1}"),
    ],
)
def test_a_wrong_placeholder_is_said_when_the_file_is_read(
    place: Place, run: Verb, field: str, words: str, told: str
) -> None:
    commands = {"predict": "run {images} {out}", field: words}
    place.declare("", **commands)
    found = run("lint", place.challenge, code=1)["findings"]
    assert any(told in item["cause"] for item in found), found


def test_braces_that_are_no_placeholders_stay(place: Place, run: Verb) -> None:
    program = "import json, sys; assert json.loads(sys.argv[1]) == {'a': {'b': 1}}; assert sys.argv[2] == '{out}'"
    place.declare(program, predict=["{python}", "method.py", '{"a": {"b": 1}}', "{{out}}", "{out}", "{case}"])
    causes = {item["cause"] for item in place.predict(run, code=1)["findings"]}
    assert all("without writing" in cause for cause in causes), causes


def test_a_program_that_is_not_there_is_said_so(place: Place, run: Verb) -> None:
    place.declare("", predict="no-such-program {out} {images}")
    (found,) = place.predict(run, code=1)["findings"]
    assert "no-such-program cannot be started" in found["cause"]


PARTS = """
import sys
from pathlib import Path
import numpy as np, SimpleITK
image, out = SimpleITK.ReadImage(sys.argv[1]), Path(sys.argv[2])
voxels = SimpleITK.GetArrayFromImage(image)
for name, mask in (("gm", (voxels >= 100) & (voxels < 200)), ("csf", voxels >= 200), ("other", voxels < 50)):
    made = SimpleITK.GetImageFromArray(mask.astype(np.uint8))
    made.CopyInformation(image)
    (out / sys.argv[3]).mkdir(exist_ok=True)
    SimpleITK.WriteImage(made, str(out / sys.argv[3] / f"{name}.nii.gz"))
"""


def test_a_file_per_structure_becomes_one_label_map(place: Place, run: Verb) -> None:
    """As TotalSegmentator writes them: words for structures, a folder per case."""
    place.declare(PARTS, predict=f"{CALL} {{image}} {{out}} {{case}}", outputs="{case}/{structure}.nii.gz",
                  labels={"grey": "gm", "bright": "csf"})  # fmt: skip
    assert len(place.predict(run)["cases"]) == 4
    assert all(place.right(name) for name in "abcd")


def test_labels_that_do_not_fit_are_refused(place: Place, run: Verb) -> None:
    for labels, told in (
        ({"grey": 1}, "nothing is said of bright"),
        ({"grey": 1, "bright": "csf"}, "'csf' is no label value"),
        ({"grey": 1, "bright": "none", "white": 2}, "no structure 'white'"),
    ):
        place.declare("", predict="run {images} {out}", labels=labels)
        assert told in place.predict(run, code=2)["findings"][0]["cause"]


CLASSES = """
import csv, sys
from pathlib import Path
images, out = map(Path, sys.argv[1:])
with (out / "predictions.csv").open("w", newline="") as stream:
    table = csv.writer(stream)
    table.writerow(["Case", "low", "high"])
    for path in sorted(images.glob("*.txt")):
        share = float(path.read_text())
        table.writerow([path.stem, 1 - share, share])
"""


def test_a_command_answers_a_task_without_images(place: Place, run: Verb) -> None:
    """A table of all cases, from inputs of any kind; the order of the shares is that of the classes: the AUC is 1."""
    task = {
        "kind": "classification",
        "classes": ["low", "high"],
        "problems": {"high": {"positive": ["high"]}},
        "metrics": {"auc": {"kind": "auc", "problem": "high", "missing": 0.0}},
    }
    changes = {
        "tasks": {"grading": task},
        "recipes": {"mean": {"steps": [{"mean": "metric"}, {"rank": {}}]}},
        "ranking": {"grading": "mean"},
        "containers": {},
    }
    place.declare(CLASSES, changes, predict=f"{CALL} {{images}} {{out}}")
    inputs = place.folder / "questions"
    inputs.mkdir()
    rows = ["Case,stage"]
    for number in range(6):
        (inputs / f"q{number}.txt").write_text(str(number / 10))
        rows.append(f"q{number},{'high' if number > 2 else 'low'}")
    (place.folder / "references.csv").write_text("\n".join(rows))
    predict = ("baseline", "predict", place.challenge, "--images", inputs, "--out", place.folder / "out")
    assert [row["case"] for row in run(*predict)["cases"]] == ["grading"]
    assert run(*predict)["kept"] == ["grading"]
    run("score", place.challenge, "--references", place.folder / "references.csv",
        f"--predictions=t={place.folder / 'out'}", "--out", place.folder / "scores.csv")  # fmt: skip
    assert set(pd.read_csv(place.folder / "scores.csv")["value"]) == {1.0}


@pytest.fixture
def base(docker_engine: Any, require: Any, tmp_path: Path) -> Iterator[Callable[[Path], None]]:
    """A base image of what a packaged method reads here; the engine keeps nothing of it."""
    require(sys.platform == "linux", "Linux, whose Python goes into the image,")
    require(shutil.which("docker") is not None, "the docker command line")
    spec = importlib.util.spec_from_file_location("base_image", Path(__file__).with_name("base_image.py"))
    assert spec is not None
    assert spec.loader is not None
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    name = "medpodium-test-command-base"
    try:
        yield lambda program: maker.build(f"{name}:latest", maker.watch(program, tmp_path / "read"))
    finally:
        for image in [*docker_engine.images.list("thresholds"), *docker_engine.images.list(name)]:
            docker_engine.images.remove(image.id, force=True)


@pytest.mark.docker
def test_a_command_goes_from_its_file_to_a_scored_container(
    threshold: Place, run: Verb, base: Callable[[Path], None], tmp_path: Path
) -> None:
    """In the sandbox: no network, nothing to write to but /tmp and the outputs, an unprivileged user."""
    here, model = threshold, threshold.folder / "model"
    run("baseline", "train", here.challenge, "--dataset", here.data, "--model", model)
    watched = tmp_path / "watched.py"
    watched.write_text(
        f"import numpy, SimpleITK, argparse, getpass\nSimpleITK.ReadImage({str(here.images / 'a_0000.nii.gz')!r})"
    )
    base(watched)
    made = run("baseline", "package", model, "--challenge", here.challenge, "--team", "thresholds", "--network", "none")
    verdict = run("check", "image", here.challenge, made["image"], "--team", "thresholds", "--cases", here.images,
                  "--references", here.labels)  # fmt: skip
    assert verdict["passed"], verdict["findings"]
    assert [row["status"] for row in verdict["cases"]] == ["ok"] * 4
    assert {row["value"] for row in verdict["scores"] if row["metric"] == "dice"} == {1.0}
