"""Bits of a machine word, counted in one instruction each."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from medpodium.scoring.measures.compiled import instruction


def _count_trailing(typing_context, word):  # type: ignore[no-untyped-def] # noqa: ARG001 - numba's calling rule
    from numba import types

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def] # noqa: ARG001
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.uint64(types.uint64), codegen


def _count_leading(typing_context, word):  # type: ignore[no-untyped-def] # noqa: ARG001 - numba's calling rule
    from numba import types

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def] # noqa: ARG001
        return builder.ctlz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.uint64(types.uint64), codegen


trailing_zeros: Any = instruction(_count_trailing)
"""Zeros of a uint64 below its lowest one; 64 for the word 0."""
leading_zeros: Any = instruction(_count_leading)
"""Zeros of a uint64 above its highest one; 64 for the word 0."""
