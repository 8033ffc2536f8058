"""How the hot loops are compiled: when the first of them is called, and not before.

Numba takes a fifth of a second to import, and whoever only reads a challenge file, matches files to cases or prints a
table calls no loop. So a loop is its own stand-in until then (:class:`Later`), which Numba takes for what it stands
for where other loops call it. :mod:`medpodium.scoring.measures.compiled.kept` compiles, and keeps what was compiled.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any


class Later:
    """A function that is compiled when it is called first, or asked for anything else that only Numba knows.

    Parameters
    ----------
    function : callable
        What to compile.
    way : str
        Which function of :mod:`medpodium.scoring.measures.compiled.kept` does it.
    """

    def __init__(self, function: Callable[..., Any], way: str) -> None:
        functools.update_wrapper(self, function)
        self._function = function
        self._way = way
        self._made: Any = None

    @property
    def made(self) -> Any:
        """The compiled function."""
        if self._made is None:
            from medpodium.scoring.measures.compiled import kept

            with kept.deciding:  # threads that ask at the same time get the same one
                if self._made is None:
                    self._made = getattr(kept, self._way)(self._function)
        return self._made

    @property
    def _numba_type_(self) -> Any:
        """What Numba asks a value it does not know: the type of what this stands for."""
        from medpodium.scoring.measures.compiled import kept

        return kept.type_of(self.made)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Call the compiled function."""
        return self.made(*arguments, **named)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # copying and pickling ask for some before there is anything to ask
            raise AttributeError(name)
        return getattr(self.made, name)


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function that Python calls, and keep it on disk.

    It may call the :data:`part` functions of its own file and of :mod:`medpodium.scoring.measures`: what was kept is
    right as long as neither changed. Where nothing can be kept, every process compiles anew.
    """
    return Later(function, "compiled_kernel")


def part(function: Callable[..., Any]) -> Any:
    """Compile a function that only compiled functions call."""
    return Later(function, "compiled_part")


def instruction(function: Callable[..., Any]) -> Any:
    """Make a function that writes instructions of its own (Numba's ``intrinsic``) callable in compiled functions."""
    return Later(function, "compiled_instruction")
