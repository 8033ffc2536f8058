"""The list of packages, found on disk: the repository root itself is the package ``medpodium``.

Everything else about the build is in ``pyproject.toml``, which cannot say "every folder below these rooms".
"""

from setuptools import find_packages, setup

ROOMS = ("baselines", "challenges", "compat", "containers", "guide", "reports", "scoring")

setup(
    packages=[
        "medpodium",
        *(f"medpodium.{name}" for room in ROOMS for name in find_packages(".", include=[room, f"{room}.*"])),
    ]
)
