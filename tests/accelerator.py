"""A device beside the CPU, made of it: it refuses what a GPU refuses, with the CPU's numbers.

PyTorch's "meta" device lends its name. A tensor there holds its numbers in a tensor of the CPU, and
every operation is done by the CPU, unless its tensors are of two devices.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, Self
from unittest.mock import patch

import torch
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("meta")
_CPU = torch.device("cpu")
_MOVES = ("copy_", "_to_copy", "to")  # these take tensors of both
_INDEXES = ("index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index")
# Of a number on the CPU most operations make one of their own device. These do not.
_STRICT = ("cat", "stack", "gather", "scatter", "scatter_", "scatter_add", "scatter_add_")
_STRICT += ("index_select", "index_add", "index_add_", "embedding", "searchsorted", "bucketize")


class There(Tensor):
    """A tensor of that device; `here` holds its numbers."""

    here: Tensor

    @staticmethod
    def __new__(cls, here: Tensor) -> Self:
        made = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            here.shape,
            strides=here.stride(),
            storage_offset=here.storage_offset(),
            dtype=here.dtype,
            layout=here.layout,
            device=DEVICE,
        )
        made.here = here
        return made  # type: ignore[no-any-return]

    def __repr__(self, *, tensor_contents: object = None) -> str:
        return f"There({self.here})"

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.here.__reduce_ex__(protocol)  # files hold tensors of the CPU

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        copy = There(self.here.detach().clone()).requires_grad_(self.requires_grad)
        return memo.setdefault(id(self), copy)

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        return _compute(func, args, kwargs or {})


def _compute(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    name = func._schema.name.partition("::")[2]
    if name == "_has_compatible_shallow_copy_type":
        return not any(isinstance(one, There) for one in args)
    leaves = tree_leaves((args, kwargs))
    there = [one for one in leaves if isinstance(one, There)]
    asked = next((one for one in leaves if isinstance(one, torch.device)), None)
    made_there = bool(there) if asked is None else asked.type == DEVICE.type
    if name in _MOVES and asked is None:
        like = args[1] if name == "to" and isinstance(args[1], Tensor) else args[0]
        made_there = isinstance(like, There)
    elif there and name not in _MOVES:
        _check_one_device(name, args, leaves)
    if made_there and isinstance(kwargs.get("generator"), torch.Generator):
        raise RuntimeError(f"{name}: expected a generator of the device, but found one of the CPU")

    def here(leaf: Any) -> Any:
        if isinstance(leaf, torch.device):
            return _CPU if leaf == DEVICE else leaf
        return leaf.here if isinstance(leaf, There) else leaf

    outer = torch.inference_mode(False) if torch.is_inference_mode_enabled() else nullcontext()
    with outer, torch.no_grad():  # autograd sees the tensors of the device
        out = func(*tree_map(here, args), **tree_map(here, kwargs))
    known = {id(one.here): one for one in there}  # of operations in place

    def result(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        return known[id(leaf)] if id(leaf) in known else There(leaf)

    if not made_there:
        return out
    alias = func._schema.returns and func._schema.returns[0].alias_info is not None
    with torch.inference_mode(False) if alias and not args[0].is_inference() else nullcontext():
        return tree_map(result, out)  # what a view may do, its base may


def _check_one_device(name: str, args: Sequence[Any], leaves: Sequence[Any]) -> None:
    """Raises RuntimeError as CUDA does: indices of the CPU and single numbers of it are taken."""
    if name in _INDEXES and isinstance(args[0], There):
        leaves = [args[2]] if "put" in name else []
    strict = name in _STRICT or name in _INDEXES
    for one in leaves:
        if isinstance(one, Tensor) and not isinstance(one, There) and (one.dim() or strict):
            shape = list(one.shape)
            raise RuntimeError(f"{name}: expected all tensors on one device, {shape} is on the CPU")


class _Dispatch(TorchDispatchMode):
    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        return _compute(func, args, kwargs or {})


class _Literals(TorchFunctionMode):
    """What PyTorch makes of Python's numbers and into them, before any operation is called."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        device = kwargs.get("device")
        if func in (torch.tensor, torch.as_tensor) and not isinstance(args[0], There):
            if device is not None and torch.device(device) == DEVICE:
                return func(*args, **{**kwargs, "device": _CPU}).to(DEVICE)
        elif args and isinstance(args[0], There):
            if func is Tensor.new_tensor:
                return args[0].here.new_tensor(*args[1:], **kwargs).to(DEVICE)
            if func is Tensor.tolist:
                return args[0].here.tolist()
            if func in (Tensor.numpy, Tensor.__array__):
                raise TypeError("can't convert a tensor of the device to numpy: use Tensor.cpu()")
            if func in (Tensor.__getitem__, Tensor.__setitem__):
                args = (args[0], _indices(args[1]), *args[2:])
        return func(*args, **kwargs)


def _indices(given: Any) -> Any:
    if isinstance(given, tuple):
        return tuple(map(_indices, given))
    return torch.tensor(given) if isinstance(given, list) else given


class _Autocast(torch.autocast):
    def __new__(cls, device_type: str, *args: Any, **kwargs: Any) -> Any:
        return nullcontext() if device_type == DEVICE.type else super().__new__(cls)


@contextmanager
def accelerator() -> Iterator[None]:
    """While it lasts, DEVICE computes, and a Trainer of one process works there."""
    adam = torch.optim.Adam.__module__
    with (
        patch("torch.autocast", _Autocast),
        patch(f"{adam}._device_dtype_check_for_fused", lambda *_, **__: None),
        patch.object(SingleDeviceStrategy, "root_device", DEVICE),
        patch.object(CPUAccelerator, "setup_device", lambda *_: None),
        _Literals(),
        _Dispatch(),
    ):
        yield
