"""The eight voxels around each corner of a row, compared for many corners at once.

What a surface needs of a corner is little: do the eight differ, which is the largest label, and where is it? These
are a few dozen vector instructions for all corners of a block, and one bit per corner tells where to look closer. The
compiler finds such instructions in loops of any length only, and nearly all of what changes lies in short pieces. So
they are written as operations on vectors, which it maps to what the processor has.

Rows are places in one flat array of labels: corner ``i`` lies between the labels ``i`` and ``i + 1`` from there on.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from medpodium.scoring.measures.compiled import instruction

BLOCK = 32
"""Corners in a block: that many bytes are one vector of most processors, and several of the others."""
_BYTES = ir.VectorType(ir.IntType(8), BLOCK)
_BITS = ir.VectorType(ir.IntType(1), BLOCK)


def _place(context: Any, builder: Any, array_type: Any, array: Any, at: Any) -> Any:
    """Return a pointer to a block of an array, and the type of the block."""
    data = context.make_array(array_type)(context, builder, array).data
    block = ir.VectorType(context.get_data_type(array_type.dtype), BLOCK)
    return builder.bitcast(builder.gep(data, [at]), block.as_pointer()), block


def _load(context: Any, builder: Any, array_type: Any, array: Any, at: Any) -> Any:
    return builder.load(_place(context, builder, array_type, array, at)[0], align=1)


def _eight(context: Any, builder: Any, array_type: Any, array: Any, rows: Any) -> Any:
    """Load the eight labels of every corner, in the order of the bits of a code."""
    beside = ir.Constant(ir.IntType(64), 1)
    places = [place for row in rows for place in (row, builder.add(row, beside))]
    return [_load(context, builder, array_type, array, place) for place in places]


def _chosen(builder: Any, operator: Any, values: Any) -> Any:
    """Return the largest (``>``) or smallest (``<``) of the values, lane by lane."""
    while len(values) > 1:
        pairs = zip(values[::2], values[1::2], strict=True)
        values = [builder.select(builder.icmp_unsigned(operator, one, other), one, other) for one, other in pairs]
    return values[0]


def _as_word(builder: Any, lanes: Any) -> Any:
    """Return one bit per lane, the first the lowest, as uint64."""
    return builder.zext(builder.bitcast(lanes, ir.IntType(BLOCK)), ir.IntType(64))


def _any(builder: Any, lanes: Any) -> Any:
    found = lanes[0]
    for own in lanes[1:]:
        found = builder.or_(found, own)
    return found


def _differing(typing_context, labels, first, second, third, fourth):  # type: ignore[no-untyped-def] # noqa: ARG001
    from numba import types

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        eight = _eight(context, builder, signature.args[0], args[0], args[1:])
        largest, smallest = _chosen(builder, ">", eight), _chosen(builder, "<", eight)
        return _as_word(builder, builder.icmp_unsigned("!=", largest, smallest))

    return types.uint64(labels, *[types.int64] * 4), codegen


def _labelled(typing_context, labels, first, second, third, fourth):  # type: ignore[no-untyped-def] # noqa: ARG001
    from numba import types

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        eight = _eight(context, builder, signature.args[0], args[0], args[1:])
        lanes = _any(builder, eight)
        return _as_word(builder, builder.icmp_unsigned("!=", lanes, ir.Constant(lanes.type, None)))

    return types.uint64(labels, *[types.int64] * 4), codegen


def _store(context: Any, builder: Any, signature: Any, args: Any, largest: Any, eight: Any) -> Any:
    """Store the chosen labels and the codes that say where they are; return the comparisons."""
    own = [builder.icmp_unsigned("==", value, largest) for value in eight]
    code = ir.Constant(_BYTES, None)
    for place, lanes in enumerate(own):
        bit = ir.Constant(_BYTES, [128 >> place] * BLOCK)
        code = builder.or_(code, builder.select(lanes, bit, ir.Constant(_BYTES, None)))
    for array, at, values in ((-3, -1, largest), (-2, -1, code)):
        pointer, _ = _place(context, builder, signature.args[array], args[array], args[at])
        builder.store(values, pointer, align=1)
    return own


def _largest(typing_context, labels, first, second, third, fourth, found, codes, at):  # type: ignore[no-untyped-def] # noqa: ARG001
    from numba import types

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        eight = _eight(context, builder, signature.args[0], args[0], args[1:5])
        largest = _chosen(builder, ">", eight)
        own = _store(context, builder, signature, args, largest, eight)
        none = ir.Constant(largest.type, None)
        rest = _any(builder, [builder.select(lanes, none, value) for lanes, value in zip(own, eight, strict=True)])
        return _as_word(builder, builder.icmp_unsigned("!=", rest, none))

    return types.uint64(labels, *[types.int64] * 4, found, codes, types.int64), codegen


def _next_largest(typing_context, labels, first, second, third, fourth, found, codes, at):  # type: ignore[no-untyped-def] # noqa: ARG001
    from numba import types

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        eight = _eight(context, builder, signature.args[0], args[0], args[1:5])
        before = builder.sub(args[-1], ir.Constant(ir.IntType(64), BLOCK))
        limit = _load(context, builder, signature.args[-3], args[-3], before)
        none = ir.Constant(limit.type, None)
        smaller = [builder.select(builder.icmp_unsigned("<", value, limit), value, none) for value in eight]
        largest = _chosen(builder, ">", smaller)
        _store(context, builder, signature, args, largest, eight)
        rest = [builder.icmp_unsigned("<", value, largest) for value in eight]
        labelled = [builder.icmp_unsigned("!=", value, none) for value in eight]
        lanes = [builder.and_(*both) for both in zip(rest, labelled, strict=True)]
        return _as_word(builder, _any(builder, lanes))

    return types.uint64(labels, *[types.int64] * 4, found, codes, types.int64), codegen


differing: Any = instruction(_differing)
"""``differing(labels, first, second, third, fourth)``: a bit for every corner of a block whose eight labels differ.

``labels`` is a flat array; the four places are those of the rows ``(z-1, y-1), (z-1, y), (z, y-1), (z, y)``, and
``BLOCK + 1`` labels are read from each, whether or not the row is that long.
"""
labelled: Any = instruction(_labelled)
"""As :data:`differing`: a bit for every corner that has a label among its eight."""
largest: Any = instruction(_largest)
"""``largest(labels, first, second, third, fourth, found, codes, at)``: the largest of the eight labels of each corner.

It is written to ``found[at:at + BLOCK]``, and where it is to ``codes``. Returns a bit for every corner that has
another label besides.
"""
next_largest: Any = instruction(_next_largest)
"""As :data:`largest`, of the labels below what the block before ``at`` has in ``found``; 0 where there is none."""
