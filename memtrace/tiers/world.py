"""What every function of the loop works on, handed on by its address: as values it would be copied at each call.

The loop's functions take a `world`. Compiled it is a pointer, and `states`, `books` and `order` load from it what the caller
goes on to use; interpreted it is the tuple itself. Both are chosen once, when the functions are bound.
"""

from functools import cache
from types import SimpleNamespace
from typing import Any, NamedTuple


class World(NamedTuple):
    states: Any  # groups of policies' states
    books: Any
    order: Any  # of the eviction rule


def plain() -> SimpleNamespace:
    """For the interpreter."""
    return SimpleNamespace(
        keep=lambda world: world,
        books=lambda world: world.books,
        order=lambda world: world.order,
        state=lambda world, group, member: world.states[group][member],
    )


@cache
def compiled() -> SimpleNamespace:
    """The same as instructions: a world lives in the loop's own frame, so its address is good as long as the loop runs."""
    from numba.core import cgutils, types
    from numba.extending import intrinsic

    def index(pointer: Any, name: str) -> int:
        return int(pointer.dtype.fields.index(name))

    @intrinsic
    def keep(typingctx, world):  # type: ignore[no-untyped-def]
        def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            place = cgutils.alloca_once(builder, context.get_data_type(signature.args[0]))
            context.pack_value(builder, signature.args[0], arguments[0], place)
            return place

        return types.CPointer(world)(world), codegen  # type: ignore[attr-defined]

    def field(name: str) -> Any:
        @intrinsic
        def load(typingctx, world):  # type: ignore[no-untyped-def]
            at = index(world, name)
            kind = world.dtype.types[at]

            def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
                return context.unpack_value(builder, kind, cgutils.gep_inbounds(builder, arguments[0], 0, at))

            return kind(world), codegen

        return load

    @intrinsic(prefer_literal=True)
    def state(typingctx, world, group, member):  # type: ignore[no-untyped-def]
        at, number = index(world, "states"), group.literal_value
        kind = world.dtype.types[at].types[number].dtype

        def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            which = context.cast(builder, arguments[2], signature.args[2], types.intp)
            zero, steps = context.get_constant(types.int32, 0), [context.get_constant(types.int32, k) for k in (at, number)]
            place = builder.gep(arguments[0], [zero, *steps, which], inbounds=True)
            return context.unpack_value(builder, kind, place)

        return kind(world, group, member), codegen

    return SimpleNamespace(keep=keep, books=field("books"), order=field("order"), state=state)
