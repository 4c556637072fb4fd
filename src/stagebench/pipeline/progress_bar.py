"""A bar that shows how many items are done."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from stagebench.errors import WorkflowError

if TYPE_CHECKING:
    from collections.abc import Callable


def show_progress(items: object) -> Callable[[int], None]:
    """Return what to call with the number of items done; by tqdm, or else by rich.

    Raises WorkflowError if neither is installed.
    """
    try:
        total = len(items)  # type: ignore[arg-type]
    except TypeError:
        total = None
    for name, make in (("tqdm", _by_tqdm), ("rich.progress", _by_rich)):
        try:
            library = importlib.import_module(name)
        except ImportError:
            continue
        return make(library, total)
    raise WorkflowError("progress=True needs tqdm or rich: pip install tqdm")


def _by_tqdm(tqdm: Any, total: int | None) -> Callable[[int], None]:
    bar = tqdm.tqdm(total=total)

    def advance(done: int) -> None:
        bar.update(done - bar.n)
        if done == total:
            bar.close()

    return advance


def _by_rich(progress: Any, total: int | None) -> Callable[[int], None]:
    bar = progress.Progress()
    task = bar.add_task("", total=total)
    bar.start()

    def advance(done: int) -> None:
        bar.update(task, completed=done)
        if done == total:
            bar.stop()

    return advance
