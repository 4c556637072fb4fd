"""The payload made by a pool inside a task; see experiment standard_pool of causes.yaml.

Does an idle worker of the standard library's ThreadPoolExecutor hold its last result? `keeping` is
the positive control: the same executor, whose workers do hold it.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Annotated, Any, Literal
from weakref import WeakValueDictionary

from stagebench import Bounds, MemoryNeed
from stagebench.handlers.payload import MIB
from stagebench.handlers.payload import payload as make_payload


class KeepingExecutor(ThreadPoolExecutor):
    """A ThreadPoolExecutor whose workers hold their last result until their next task or end."""

    def __init__(self, max_workers: int) -> None:
        super().__init__(max_workers)
        self._last = threading.local()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Submit a call whose result its worker keeps."""
        return super().submit(self._keep, fn, *args, **kwargs)

    def _keep(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        self._last.result = None
        self._last.result = fn(*args, **kwargs)
        return self._last.result


_POOLS = {"standard": ThreadPoolExecutor, "keeping": KeepingExecutor}

# The threads that serve tasks own the pool, so that it ends with them: when their stage closes.
_lock = threading.Lock()
_open: WeakValueDictionary[str, Executor] = WeakValueDictionary()
_owned = threading.local()


def payload(
    *,
    pool: Literal["standard", "keeping"],
    threads: Annotated[int, Bounds(at_least=1)],
    size_mib: Annotated[float, Bounds(at_least=0)] = 10.0,
    delay_s: Annotated[float, Bounds(at_least=0)] = 0.2,
) -> bytearray:
    """Have a thread of a pool sleep and make the block, and return it."""
    with _lock:
        _owned.pool = _open.get(pool) or _open.setdefault(pool, _POOLS[pool](threads))
    return _owned.pool.submit(make_payload, size_mib=size_mib, delay_s=delay_s).result()


def memory_need(*, size_mib: float = 10.0, **_others: object) -> MemoryNeed:
    """Estimate: the block once in the worker and once where it is returned."""
    return MemoryNeed(working_bytes=int(size_mib * MIB), result_bytes=int(size_mib * MIB))
