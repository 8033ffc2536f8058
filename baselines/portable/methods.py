"""Run a method that is a command, and turn what it wrote into a challenge's files and label values.

The same at home and in an image, where nothing of medpodium is there: needs Python alone, and numpy and SimpleITK where
label values are translated.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

_TAIL = 400
_SEEN = 4
_NO_LABEL = 0


class MethodError(Exception):
    """The command did not leave what it should have; the message says what."""


class Ended(NamedTuple):
    """How a command ended: its exit code (negative: the signal), and the last lines that it complained with."""

    code: int
    tail: str


def fill(words: Sequence[str], values: Mapping[str, object]) -> list[str]:
    """Replace ``{name}`` in words by values; ``{{name}}`` is ``{name}`` itself, other braces stay."""
    known = {f"{{{{{name}}}}}": f"{{{name}}}" for name in values}
    known |= {f"{{{name}}}": str(value) for name, value in values.items()}
    pattern = re.compile("|".join(map(re.escape, known)))
    return [pattern.sub(lambda match: known[match[0]], word) for word in words]


def run(words: Sequence[str], folder: Path, log: Path, environment: Mapping[str, str] | None = None) -> Ended:
    """Run a command to its end; when this process ends before it, however it does, so do the command and its children.

    Parameters
    ----------
    words : sequence of str
        Program and arguments.
    folder : Path
        Where it runs.
    log : Path
        Gets what it prints; what it complains about goes to a file beside it that ends in ``.err``.
    environment : mapping, optional
        This process's own when left out.
    """
    complaints = log.with_name(log.name + ".err")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as out, complaints.open("wb") as err:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, *words],
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=err,
            cwd=folder,
            env=None if environment is None else dict(environment),
        )
        try:
            code = process.wait()
        finally:
            if process.stdin is not None:
                process.stdin.close()  # tells the watcher that nobody waits any more
            process.wait()
    return Ended(code, _last(complaints) or _last(log))


def _last(path: Path) -> str:
    text = path.read_bytes()[-4 * _TAIL :].decode("utf-8", errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " | ".join(lines[-_SEEN:])[-_TAIL:]


def hand_over(settings: Mapping[str, Any], produced: Path, values: Mapping[str, str], root: Path) -> list[Path]:
    """Write a challenge's files of a case from what a command wrote; each appears whole or not at all.

    Parameters
    ----------
    settings : mapping
        ``outputs``: a list of ``pattern`` (below ``root``), ``from`` (the challenge's own name) and ``labels`` (those
        in the file, None for all). ``labels``: None where the command writes the challenge's own files; else the
        ``pattern`` of its files, and ``values`` (its label value to the challenge's) or ``files`` (what
        ``{structure}`` stands for to the challenge's label).
    produced : Path
        Folder that the command wrote to.
    values : mapping of str to str
        What the placeholders stand for.
    root : Path
        Where the files go.

    Raises
    ------
    MethodError
        If a file is missing, or is no mask.
    """
    own = settings["labels"]
    if own is None:
        sources = {output["pattern"]: produced / _named(output["from"], values) for output in settings["outputs"]}
        _need(list(sources.values()), produced)
        written = []
        for pattern, source in sources.items():
            target = root / _named(pattern, values)
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_name(f".part-{target.name}")
            shutil.copyfile(source, partial)
            partial.replace(target)
            written.append(target)
        return written
    return _write(settings["outputs"], _translated(own, produced, values), values, root)


def _need(paths: Sequence[Path], produced: Path) -> None:
    lacking = [path.relative_to(produced).as_posix() for path in paths if not path.is_file()]
    if lacking:
        there = sorted(path.relative_to(produced).as_posix() for path in produced.rglob("*") if path.is_file())
        said = f"there is {', '.join(there[:_SEEN])}{' and more' if len(there) > _SEEN else ''}" if there else "nothing"
        more = f" ({len(lacking)} files)" if len(lacking) > 1 else ""
        raise MethodError(f"the command ended without writing {lacking[0]}{more}; {said} in its folder")


def _translated(own: Mapping[str, Any], produced: Path, values: Mapping[str, str]) -> tuple[Any, Any]:
    """Return the label map (z, y, x) in the challenge's values, and an image of its grid."""
    import numpy as np

    if "values" in own:
        path = produced / _named(own["pattern"], values)
        _need([path], produced)
        image, found = _read(path)
        table = np.zeros(max([*map(int, own["values"]), int(found.max(initial=0))]) + 1, np.uint16)
        for value, label in own["values"].items():
            table[int(value)] = label
        return table[found], image
    paths = {name: produced / _named(own["pattern"], {**values, "structure": name}) for name in own["files"]}
    _need(list(paths.values()), produced)
    whole: Any = None
    for name, path in paths.items():
        image, found = _read(path)
        whole = np.zeros(found.shape, np.uint16) if whole is None else whole
        if found.shape != whole.shape:
            raise MethodError(f"{path.name} has the shape {found.shape}, the first file {whole.shape}")
        whole[found > 0] = own["files"][name]
    return whole, image


def _read(path: Path) -> tuple[Any, Any]:
    import numpy as np
    import SimpleITK

    try:
        image = SimpleITK.ReadImage(str(path))
    except RuntimeError as error:
        raise MethodError(f"{path.name} cannot be read ({str(error).strip().splitlines()[-1][:200]})") from None
    found = SimpleITK.GetArrayFromImage(image)
    if found.dtype.kind == "f" and not np.array_equal(found, np.rint(found)):
        raise MethodError(f"{path.name} holds values that are no labels, such as {found[found != np.rint(found)][0]}")
    if found.min(initial=0) < _NO_LABEL:
        raise MethodError(f"{path.name} holds the negative label {found.min()}")
    return image, found.astype(np.int64)


def _write(
    outputs: Sequence[Mapping[str, Any]], labelled: tuple[Any, Any], values: Mapping[str, str], root: Path
) -> list[Path]:
    import numpy as np
    import SimpleITK

    voxels, like = labelled
    written = []
    for output in outputs:
        mask = voxels if output["labels"] is None else np.isin(voxels, output["labels"])
        image = SimpleITK.GetImageFromArray(mask.astype(np.uint8 if mask.max(initial=0) < 256 else np.uint16))
        image.CopyInformation(like)  # type: ignore[no-untyped-call]
        target = root / _named(output["pattern"], values)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".part-{target.name}")
        SimpleITK.WriteImage(image, str(partial), useCompression=True)
        partial.replace(target)
        written.append(target)
    return written


def _named(pattern: str, values: Mapping[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda match: values[match[1]], pattern).replace("*", "prediction")


def _watch(words: Sequence[str]) -> int:
    """Be the command's parent: end it and all that it started when nobody waits for it any more."""
    try:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, start_new_session=os.name == "posix")
    except OSError as error:
        print(f"{words[0]} cannot be started: {error.strerror}", file=sys.stderr)
        return 127

    def end() -> None:
        with suppress(OSError):
            if os.name == "posix":
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()

    def wait() -> None:
        with suppress(OSError, ValueError):
            os.read(0, 1)
        end()

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who waits for us decides
    threading.Thread(target=wait, daemon=True).start()
    code = process.wait()
    end()  # what it left running
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(_watch(sys.argv[1:]))
