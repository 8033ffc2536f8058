"""The list of packages, found on disk: the repository root itself is the package ``medpodium``.

Everything else about the build is in ``pyproject.toml``, which cannot say "every folder below these rooms".
"""

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOMS = ("baselines", "challenges", "compat", "containers", "guide", "reports", "scoring")


class Modules(build_py):
    """Build the package without this file, which lies where the package's modules do."""

    def find_package_modules(self, package: str, package_dir: str) -> list[tuple[str, str, str]]:
        """Return package, module and file of every module."""
        found = super().find_package_modules(package, package_dir)
        return [own for own in found if own[:2] != ("medpodium", "setup")]


setup(
    cmdclass={"build_py": Modules},
    packages=[
        "medpodium",
        *(f"medpodium.{name}" for room in ROOMS for name in find_packages(".", include=[room, f"{room}.*"])),
    ],
)
