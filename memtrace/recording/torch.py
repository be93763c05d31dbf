"""Record the tensor storages of a PyTorch program under FakeTensorMode: nothing is computed, and tensors take no memory.

The results of every operation are inspected: a storage not seen before is an alloc, and the end of its life a free. A tag
gives its role: `weight`, `gradient` and `optimizer` with the parameter's name, `activation` with the path of the module that
made the storage, else `tensor`. The device "cuda" is replaced by the fake device, so scripts for a GPU run on a machine
without one.
"""

from __future__ import annotations

import os
import runpy
import sys
import weakref
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from memtrace.errors import InputError, UsageError

TORCH = "pip install torch"
DEVICE = "cpu"  # the fake device; FakeTensorMode's cuda needs a driver in backward
# How the recording may differ from a run on a GPU; kept in the trace's metadata.
ASSUMED = (
    "recorded without a GPU: buffers that kernels allocate inside themselves are not seen",
    "autocast is that of the CPU, which keeps more in fp32 than CUDA's",
)


@dataclass
class Storages:
    """Collect the events of all storages. A tag may be changed until the end, when the storage's role is known."""

    rows: list[list[Any]] = field(default_factory=list)  # events: [op, id, size in bytes, tag]
    # Address of a live storage's C++ object -> index of its alloc in `rows`.
    live: dict[int, int] = field(default_factory=dict)
    watches: dict[int, Any] = field(default_factory=dict)  # the same address -> weak reference to the storage
    blocks: int = 0  # number of allocs so far; the id of the next block

    def see(self, tensor: Any, tag: str) -> None:
        """Append an alloc of a tensor's storage, if it is new and not empty; its free follows when the storage is collected."""
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self.live or not size:
            return
        self.live[key] = len(self.rows)
        self.rows.append(["alloc", self.blocks, size, tag])
        self.watches[key] = weakref.ref(storage, self._end(key, self.blocks))
        self.blocks += 1

    def _end(self, key: int, block: int) -> Callable[[Any], None]:
        """Return a callback, for the weak reference to a storage, that appends the free of its block."""

        def end(_: Any) -> None:
            """Append the free, unless it was appended before."""
            if self.live.pop(key, None) is not None:
                del self.watches[key]
                self.rows.append(["free", block, None, None])

        return end

    def call(self, tensor: Any, tag: str) -> None:
        """Set the tag of a tensor's storage, if it is live."""
        row = self.live.get(tensor.untyped_storage()._cdata)
        if row is not None:
            self.rows[row][3] = tag


@dataclass
class Modules:
    """Follow which module is running, by hooks that PyTorch calls, and name modules and parameters by their paths.

    A path starts below the outermost module called.
    """

    storages: Storages
    path: list[str] = field(default_factory=list)  # stack of the running modules' paths
    names: weakref.WeakKeyDictionary[Any, str] = field(default_factory=weakref.WeakKeyDictionary)  # module -> path
    # Parameter -> path; the mapping must compare keys by identity, because tensors compare by their values.
    parameters: MutableMapping[Any, str] = field(default_factory=dict)

    def enter(self, module: Any, _: Any) -> None:
        """Note that a module starts (a forward pre-hook); the outermost module first names all modules and parameters in it."""
        if not self.path:
            self.name_all(module)
        self.path.append(self.names.get(module) or type(module).__name__)

    def leave(self, module: Any, *_: Any) -> None:
        """Note that the module that started last ends (a forward hook)."""
        if self.path:
            self.path.pop()

    def name_all(self, root: Any) -> None:
        """Note the paths of all modules and parameters below `root`, and tag the storages of the parameters as weights."""
        for name, module in root.named_modules():
            self.names[module] = name or type(root).__name__
        for name, parameter in root.named_parameters():
            self.parameters[parameter] = name
            self.storages.call(parameter, f"weight {name}")

    def before_step(self, optimizer: Any, *_: Any) -> None:
        """Tag the storages of the gradients of an optimizer's parameters (a hook before its step)."""
        for parameter in parameters_of(optimizer):
            if parameter.grad is not None:
                self.storages.call(parameter.grad, f"gradient {self.parameters.get(parameter, '')}".strip())

    def after_step(self, optimizer: Any, *_: Any) -> None:
        """Tag the storages of an optimizer's state (a hook after its step)."""
        for parameter in parameters_of(optimizer):
            for value in optimizer.state.get(parameter, {}).values():
                if hasattr(value, "untyped_storage"):
                    self.storages.call(value, f"optimizer {self.parameters.get(parameter, '')}".strip())

    @property
    def tag(self) -> str:
        """Return the tag of a storage made now: the activation of the running module, or "tensor" outside modules."""
        return f"activation {self.path[-1]}" if self.path else "tensor"


def parameters_of(optimizer: Any) -> Iterator[Any]:
    """Yield the parameters of an optimizer."""
    for group in optimizer.param_groups:
        yield from group["params"]


def record(program: str, arguments: Sequence[str], target: str | os.PathLike[str]) -> int:
    """Run `script.py` or `module:function`, write the trace of its tensor storages, and return the number of events.

    Raises UsageError if torch is missing or there is no such program, InputError if the program fails or makes no tensor.
    """
    torch = _torch()
    run = _runner(program, arguments)
    storages = Storages()
    with _recorded(torch, storages):
        try:
            run()
        except SystemExit as left:
            if left.code not in (None, 0):
                raise InputError(f"{program} ended with {left.code}") from left
        except Exception as error:
            raise InputError(f"{program} failed on fake tensors: {type(error).__name__}: {error}\n{_hint(error)}") from error
        rows = list(storages.rows)  # a copy: storages that are live now are never freed in the trace
    if not rows:
        raise InputError(f"{program} made no tensor")
    _write(rows, torch, target)
    return len(rows)


@contextmanager
def recorded(target: str | os.PathLike[str]) -> Iterator[None]:
    """Run the block on fake tensors, and write the trace of its tensor storages if it ends well.

    Raises UsageError if torch is missing, InputError if the block makes no tensor.
    """
    torch, storages = _torch(), Storages()
    with _recorded(torch, storages):
        yield
        rows = list(storages.rows)
    if not rows:
        raise InputError("no tensor was made")
    _write(rows, torch, target)


def _torch() -> Any:
    """Return the module torch; raises UsageError if it is missing."""
    try:
        import torch
    except ImportError:
        raise UsageError(f"recording torch programs needs torch: {TORCH}") from None
    return torch


def _write(rows: Sequence[Sequence[Any]], torch: Any, target: str | os.PathLike[str]) -> None:
    """Write the trace of the rows of `Storages`."""
    from memtrace.trace import from_events, write

    events = [(op, block, size, None, None, None, None, tag) for op, block, size, tag in rows]
    metadata = {"recorded": f"torch {torch.__version__}, fake tensors", "assumed": "\n".join(ASSUMED)}
    write(from_events(events), target, metadata=metadata)


def _hint(error: Exception) -> str:
    """Return the advice for an exception that the program raised on fake tensors."""
    if type(error).__name__ == "DataDependentOutputException":
        return "try: without .item() and other reads of values: fake tensors have none"
    return "try: the program on torch.device('meta') or with FakeTensorMode by hand; -vv shows where it failed"


def _runner(program: str, arguments: Sequence[str]) -> Callable[[], Any]:
    """Return a function that runs the program, and set `sys.argv` and `sys.path` for it, as Python does for a script.

    Raises UsageError if there is no such script, module or function.
    """
    sys.argv = [program, *arguments]
    if program.endswith(".py"):
        path = Path(program)
        if not path.is_file():
            raise UsageError(f"{program}: there is no such script")
        sys.path.insert(0, str(path.resolve().parent))
        return lambda: runpy.run_path(str(path), run_name="__main__")
    module, colon, function = program.partition(":")
    if not colon:
        raise UsageError(f"{program} is neither script.py nor module:function")
    sys.path.insert(0, os.getcwd())
    try:
        found: Callable[[], Any] = getattr(import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"{program}: {error}") from None
    return found


@contextmanager
def _recorded(torch: Any, storages: Storages) -> Iterator[None]:
    """Record the storages of all tensors made in a `with` block.

    The block runs on fake tensors, with hooks on modules and optimizers.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.nn.modules import module as hooks
    from torch.optim import optimizer as optimizers
    from torch.utils.weak import WeakIdKeyDictionary

    modules = Modules(storages, parameters=WeakIdKeyDictionary())
    handles = [
        hooks.register_module_forward_pre_hook(modules.enter),
        hooks.register_module_forward_hook(modules.leave, always_call=True),
        optimizers.register_optimizer_step_pre_hook(modules.before_step),
        optimizers.register_optimizer_step_post_hook(modules.after_step),
    ]
    with ExitStack() as stack:
        for handle in handles:
            stack.callback(handle.remove)
        stack.callback(setattr, torch.nn.Module, "_apply", torch.nn.Module._apply)
        torch.nn.Module._apply = _replacing(torch)
        stack.enter_context(_cuda_is_fake(torch)())
        stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        stack.enter_context(_watching(torch, storages, modules)())
        yield


def _replacing(torch: Any) -> Any:
    """Return a replacement of torch.nn.Module._apply, on which `.to(...)` and `.bfloat16()` rest.

    The replacement sets new parameters, because torch's own `_apply` cannot swap fake ones.
    """

    def apply(module: Any, change: Any, recurse: bool = True, made: dict[int, Any] | None = None) -> Any:
        """Apply `change` to all parameters and buffers of a module, in place, and return the module.

        `made` maps the ids of tensors that are changed already to their replacements.
        """
        made = {} if made is None else made  # by identity: modules may share a parameter
        for child in module.children() if recurse else ():
            apply(child, change, recurse, made)
        for store in (module._parameters, module._buffers):
            for name, old in store.items():
                if old is None:
                    continue
                if id(old) not in made:
                    with torch.no_grad():
                        new = change(old)
                    wrapped = store is module._parameters and new is not old
                    made[id(old)] = torch.nn.Parameter(new, old.requires_grad) if wrapped else new
                store[name] = made[id(old)]
        return module

    return apply


def _watching(torch: Any, storages: Storages, modules: Modules) -> Any:
    """Return a dispatch mode (a class) in which the storages of all operations' results are recorded."""
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    class Watching(TorchDispatchMode):  # type: ignore[misc]
        """Dispatch mode that records storages."""

        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            """Run an operation, and record the storages of its results."""
            result = function(*args, **(kwargs or {}))
            for leaf in tree_leaves(result):
                if isinstance(leaf, torch.Tensor) and leaf.device.type == DEVICE:
                    storages.see(leaf, modules.tag)
            return result

    return Watching


def _cuda_is_fake(torch: Any) -> Any:
    """Return a function mode (a class) in which the device "cuda" of a script is the fake device."""
    from torch.overrides import TorchFunctionMode
    from torch.utils._pytree import tree_map

    def here(value: Any) -> Any:
        """Return the fake device for a cuda device (as object or text), and any other value unchanged."""
        if isinstance(value, torch.device):
            return torch.device(DEVICE) if value.type == "cuda" else value
        return DEVICE if isinstance(value, str) and (value == "cuda" or value.startswith("cuda:")) else value

    class Redirected(TorchFunctionMode):  # type: ignore[misc]
        """Function mode that replaces devices."""

        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            """Call a function of torch with cuda devices in its arguments replaced; `tensor.cuda()` returns the tensor."""
            if function is torch.Tensor.cuda:
                return args[0]
            return function(*tree_map(here, args), **tree_map(here, kwargs or {}))

    return Redirected
