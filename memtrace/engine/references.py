"""Pass a NamedTuple by reference in compiled code.

By value a NamedTuple is copied at every call, which for the state of a policy is a hundred words. By reference a call passes
one word, and a field is loaded where it is read. The NamedTuple itself is never written while a reference to it is used, so the
compiler may move and share these loads. A NamedTuple within one is a reference too, and so is a member of a tuple of them.

Numba removes a write into an array that is not read again and that it cannot trace back to an argument. It traces fields and
members, but not calls. So a reference is made where it is passed on, and a function that writes through it has it as an
argument.

This module is made of numba's internals; ``engine.compile.knows_references`` says whether this numba has them.
"""

import operator
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.datamodel import models, register_default
from numba.core.imputils import impl_ret_borrowed, lower_getattr_generic
from numba.core.types.containers import BaseNamedTuple, UniTuple
from numba.core.typing.templates import AttributeTemplate, infer_getattr
from numba.extending import intrinsic, overload


class Held(types.Type):
    """The compiler's type of a reference to a NamedTuple, or to a tuple of NamedTuples."""

    def __init__(self, kind: Any) -> None:
        """Make the type of references to values of the type ``kind``."""
        self.dtype = kind
        super().__init__(name=f"held {kind}")

    @property
    def key(self) -> Any:
        """Return what tells two of these types apart: not the name, which NamedTuples of one name and other fields share."""
        return self.dtype


register_default(Held)(models.PointerModel)


def is_held(kind: Any) -> bool:
    """Return whether values of a type are passed by reference: NamedTuples, and tuples of NamedTuples of one type."""
    return isinstance(kind, BaseNamedTuple) or (isinstance(kind, UniTuple) and is_held(kind.dtype))


@infer_getattr
class Fields(AttributeTemplate):  # type: ignore[misc]
    """The types of the fields of a reference."""

    key = Held

    def generic_resolve(self, held: Any, name: str) -> Any:
        """Return the type of a field, itself a reference where the field is a NamedTuple; None if there is no such field."""
        if isinstance(held.dtype, BaseNamedTuple) and name in held.dtype.fields:
            kind = held.dtype.types[held.dtype.fields.index(name)]
            return Held(kind) if is_held(kind) else kind
        return None


@lower_getattr_generic(Held)
def load_field(context: Any, builder: Any, held: Any, address: Any, name: str) -> Any:
    """Emit the load of a field, or its address where the field is a NamedTuple."""
    at = held.dtype.fields.index(name)
    kind, place = held.dtype.types[at], cgutils.gep_inbounds(builder, address, 0, at)
    if is_held(kind):
        return place
    block = builder.block
    before = len(block.instructions)
    value = context.unpack_value(builder, kind, place)
    for instruction in block.instructions[before:]:
        if isinstance(instruction, ir.LoadInstr):
            instruction.set_metadata("invariant.load", builder.module.add_metadata([]))
    return impl_ret_borrowed(context, builder, kind, value)


@overload(operator.getitem)
def member(held, i):  # type: ignore[no-untyped-def]
    """Return the code of ``reference[i]``: a reference to a member of a tuple."""
    if isinstance(held, Held) and isinstance(held.dtype, UniTuple):
        return lambda held, i: member_of(held, i)
    return None


@overload(len)
def length(held):  # type: ignore[no-untyped-def]
    """Return the code of ``len(reference)``."""
    if isinstance(held, Held) and isinstance(held.dtype, UniTuple):
        count = held.dtype.count
        return lambda held: count
    return None


@intrinsic
def member_of(typingctx, held, i):  # type: ignore[no-untyped-def]
    """Compute the address of a member of a tuple behind a reference."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        which = context.cast(builder, arguments[1], signature.args[1], types.intp)
        return builder.gep(arguments[0], [context.get_constant(types.int32, 0), which], inbounds=True)

    return Held(held.dtype.dtype)(held, i), codegen


@intrinsic(prefer_literal=True)
def group_of(typingctx, world, number):  # type: ignore[no-untyped-def]
    """Return a reference to the states of the policies of one group, ``world.states[number]``; ``number`` is a constant."""
    at = world.dtype.fields.index("states")
    kind, place = world.dtype.types[at].types[number.literal_value], number.literal_value

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return cgutils.gep_inbounds(builder, arguments[0], 0, at, place)

    return Held(kind)(world, number), codegen


@intrinsic
def keep(typingctx, value):  # type: ignore[no-untyped-def]
    """Return a reference to a NamedTuple, whose memory is in the frame of the calling function and valid until it returns."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        place = cgutils.alloca_once(builder, context.get_data_type(signature.args[0]))
        context.pack_value(builder, signature.args[0], arguments[0], place)
        # The compiler is not to see that this is where it was just written: loads from a held one are not ordered.
        form = ir.FunctionType(place.type, [place.type])
        return builder.asm(form, "", "=r,0,~{memory}", [place], side_effect=True)

    return Held(value)(value), codegen
