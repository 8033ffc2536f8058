"""Sign the manifest of a report with an organizer's key, and check who signed it.

The manifest has a hash of every file, so its signature vouches for all of them. Keys are those of SSH
(``ssh-keygen -Y``, which OpenSSH 8.2 and newer have) or of minisign; nothing here reads a secret key, the programs do.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from medpodium.findings import Code, Finding, Severity, UsageError

NAMESPACE = "medpodium-report"
"""What a signature is for: one that was made for something else is refused."""
SSH, MINISIGN = "manifest.json.sig", "manifest.json.minisig"
_PUBLIC = ("ssh-", "ecdsa-", "sk-ssh-", "sk-ecdsa-")


class SigningCode(Code):
    """Why a manifest could not be signed, or its signature is not accepted."""

    UNSIGNED = "report-unsigned"
    REFUSED = "report-signature-refused"
    """The manifest was not signed by a key of the organizer, or was changed since: ask who published the report."""
    FAILED = "report-not-signed"


def sign(manifest: Path, key: Path) -> Path:
    """Sign a manifest with a secret key of SSH or minisign; return the signature beside it.

    Raises
    ------
    UsageError
        If there is no such key, its program is missing, or it refuses to sign.
    """
    own = manifest.parent
    clear(own)
    if not key.is_file():
        raise UsageError(Finding(SigningCode.FAILED, str(key), "no such key", "make one: ssh-keygen -t ed25519"))
    if b"minisign" in key.read_bytes()[:200]:
        command = ["minisign", "-S", "-m", str(manifest), "-s", str(key), "-x", str(own / MINISIGN)]
    else:
        command = ["ssh-keygen", "-q", "-Y", "sign", "-f", str(key), "-n", NAMESPACE, str(manifest)]
    done = _run(command)
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())
        raise UsageError(Finding(SigningCode.FAILED, str(key), said or "not signed", "give the organizer's secret key"))
    return own / (MINISIGN if command[0] == "minisign" else SSH)


def clear(folder: Path) -> None:
    """Take signatures of an earlier report away."""
    for name in (SSH, MINISIGN):
        (folder / name).unlink(missing_ok=True)


def check(manifest: Path, signer: Path) -> list[Finding]:
    """Return what is wrong with the signature of a manifest; nothing where a key of the signer made it.

    Parameters
    ----------
    signer : Path
        A public key of SSH or minisign, or OpenSSH's file of allowed signers.

    Raises
    ------
    UsageError
        If there is no such file, or the program that checks is missing.
    """
    if not signer.is_file():
        raise UsageError(Finding(SigningCode.FAILED, str(signer), "no such file", "give the organizer's public key"))
    text = signer.read_text(encoding="utf-8", errors="replace")
    name = MINISIGN if "minisign" in text.split("\n", maxsplit=1)[0] else SSH
    signature = manifest.parent / name
    if not signature.is_file():
        fix = "ask the organizer for a signed report: medpodium report --sign KEY"
        return [Finding(SigningCode.UNSIGNED, name, "the report has no such signature", fix, Severity.ERROR)]
    if name == MINISIGN:
        said = _minisign(manifest, signature, signer)
    else:
        with tempfile.TemporaryDirectory(prefix="medpodium-") as folder:
            said = _ssh(manifest, signature, text, Path(folder))
    if not said:
        return []
    fix = "ask who published the report, or give the key that signed it"
    return [Finding(SigningCode.REFUSED, name, said, fix, Severity.ERROR)]


def _minisign(manifest: Path, signature: Path, signer: Path) -> str:
    done = _run(["minisign", "-V", "-q", "-m", str(manifest), "-p", str(signer), "-x", str(signature)])
    return "" if done.returncode == 0 else " ".join((done.stderr or done.stdout).split()) or "refused"


def _ssh(manifest: Path, signature: Path, text: str, folder: Path) -> str:
    allowed = folder / "allowed"
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    # a bare public key is one signer without a name
    allowed.write_text("".join(f"signer {line}\n" if line.startswith(_PUBLIC) else f"{line}\n" for line in lines))
    found = _run(["ssh-keygen", "-Y", "find-principals", "-s", str(signature), "-f", str(allowed)])
    names = found.stdout.split("\n", maxsplit=1)[0].strip()
    if found.returncode or not names:
        return "signed by another key"
    command = ["ssh-keygen", "-Y", "verify", "-f", str(allowed), "-I", names, "-n", NAMESPACE, "-s", str(signature)]
    done = _run(command, manifest.read_bytes())
    return "" if done.returncode == 0 else " ".join((done.stderr or done.stdout).split()) or "refused"


def _run(command: list[str], given: bytes | None = None) -> subprocess.CompletedProcess[str]:
    if shutil.which(command[0]) is None:
        fix = "install OpenSSH (ssh-keygen)" if command[0] == "ssh-keygen" else "install minisign, or use a key of SSH"
        raise UsageError(Finding(SigningCode.FAILED, command[0], "this program is not installed", fix))
    text = None if given is None else given.decode("utf-8")
    # without input of ours the terminal stays connected: a key may ask for its passphrase
    return subprocess.run(command, input=text, capture_output=True, text=True, errors="replace", check=False)
