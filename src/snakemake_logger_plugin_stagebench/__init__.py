"""`snakemake --logger stagebench`: one calm screen instead of 17 lines for each job.

Snakemake imports every installed plugin on every call, so the screen is only imported when it is
asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from snakemake_interface_logger_plugins.base import LogHandlerBase

if TYPE_CHECKING:
    import logging

    from stagebench.conduct.watch import Watch


class LogHandler(LogHandlerBase):
    """Shows how far a study is; a dry run is shown as Snakemake shows it."""

    writes_to_stream = True
    writes_to_file = False
    has_formatter = False
    needs_rulegraph = False
    _watch: Watch | None = None
    _plain: logging.Handler | None = None

    @property
    def has_filter(self) -> bool:
        """Report that every record is wanted, whatever --quiet says, but in a dry run."""
        return not self.common_settings.dryrun

    def __post_init__(self) -> None:
        """Open the screen."""
        if self.common_settings.dryrun:
            from snakemake.logging import ColorizingTextHandler

            self._plain = ColorizingTextHandler(nocolor=self.common_settings.nocolor)
            return
        from stagebench.conduct.watch import open_watch

        self._watch = open_watch()

    def emit(self, record: logging.LogRecord) -> None:
        """Show a record; an error of the screen is printed, and never ends the study."""
        try:
            if self._plain is not None:
                self._plain.setFormatter(self.formatter)
                self._plain.emit(record)
            elif self._watch is not None:
                self._watch.see(record)
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        """Leave the terminal as other programs expect it."""
        if self._watch is not None:
            self._watch.end()
        super().close()
