"""The list of packages, found on disk, and the loops that are compiled while a wheel is built.

The repository root itself is the package ``medpodium``. Everything else about the build is in ``pyproject.toml``, which
cannot say "every folder below these rooms".
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

ROOMS = ("baselines", "challenges", "compat", "containers", "guide", "reports", "scoring")
READY = "medpodium/scoring/measures/ready"
SECONDS = 300


class Modules(build_py):
    """Build the package without this file, which lies where the package's modules do, and compile its loops."""

    def find_package_modules(self, package: str, package_dir: str) -> list[tuple[str, str, str]]:
        """Return package, module and file of every module."""
        found = super().find_package_modules(package, package_dir)
        return [own for own in found if own[:2] != ("medpodium", "setup")]

    def run(self) -> None:
        """Copy the modules; compile them unless they stay where they are (a development installation)."""
        super().run()
        if self.editable_mode:
            return
        # of an earlier build in the same folder
        shutil.rmtree(Path(self.build_lib, READY), ignore_errors=True)
        if os.environ.get("MEDPODIUM_PRECOMPILE") != "0":
            self._compile(Path(self.build_lib).absolute())

    def _compile(self, built: Path) -> None:
        places = [str(built), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        command = [sys.executable, "-B", "-m", "medpodium.scoring.precompile", str(built / READY), str(SECONDS)]
        try:
            done = subprocess.run(
                command,
                cwd=built,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(places)},
                capture_output=True,
                text=True,
                timeout=SECONDS + 60,
                check=False,
            )
            why = "" if done.returncode == 0 else (done.stderr.strip() or f"exit code {done.returncode}")
        except (OSError, subprocess.SubprocessError) as error:
            why = str(error)
        if why:
            shutil.rmtree(built / READY, ignore_errors=True)
            self.warn(
                f"medpodium's loops could not be compiled now ({why.splitlines()[-1]}); "
                "they will be when they are used first, which takes about 15 s once."
            )


class Wheel(bdist_wheel):
    """A wheel with compiled code says for which Python and system it is."""

    def get_tag(self) -> tuple[str, str, str]:
        """Return the tags for Python, its interface and the system."""
        if Path(self.get_finalized_command("build_py").build_lib, READY).is_dir():
            self.root_is_pure = False
        return super().get_tag()


setup(
    cmdclass={"build_py": Modules, "bdist_wheel": Wheel},
    packages=[
        "medpodium",
        *(f"medpodium.{name}" for room in ROOMS for name in find_packages(".", include=[room, f"{room}.*"])),
    ],
)
