"""A config file as a mapping: strict, safe YAML, in which a repeated key is an error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from stagebench.design.levels import level_text
from stagebench.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Hashable
    from pathlib import Path

LARGEST_FILE = 1_000_000
"""Bytes; a config is written by hand."""

_MERGE = "tag:yaml.org,2002:merge"


def load_config(path: Path) -> dict[str, Any]:
    """Read a config file; raises ConfigError with path, line and reason."""
    text = _read_text(path)
    try:
        # A SafeLoader: it makes plain values and refuses every tag that would make an object.
        config = yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - a safe loader, but stricter
    except yaml.YAMLError as error:
        raise ConfigError([f"{path}{_line(error)}: {_reason(error)}"]) from error
    except RecursionError as error:
        raise ConfigError([f"{path}: nested too deeply to be read"]) from error
    except ValueError as error:
        # A date such as 2026-02-30, or a number of thousands of digits.
        raise ConfigError([f"{path}: a value cannot be read: {error}"]) from error
    if not isinstance(config, dict):
        kind = "empty" if config is None else f"a {type(config).__name__}"
        raise ConfigError([f"{path}: the file is {kind}; allowed: a mapping (key: value lines)"])
    return config


def _read_text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from error
    if len(data) > LARGEST_FILE:
        size = f"{len(data):,} bytes"
        raise ConfigError([f"{path}: {size} are too many; allowed: {LARGEST_FILE:,}"])
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError([f"{path}, line {line}: not UTF-8 text: {error.reason}"]) from error


class _StrictLoader(yaml.SafeLoader):
    """PyYAML's safe loader, but a key that is written twice in one mapping is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002 - PyYAML's signature
        """Build one mapping with text as keys: 1 and true would be one key otherwise."""
        self._check_keys(node)
        self.flatten_mapping(node)
        return {
            level_text(self.construct_object(key, deep=True)): self.construct_object(
                value, deep=deep
            )
            for key, value in node.value
        }

    def _check_keys(self, node: yaml.MappingNode) -> None:
        seen: dict[str, yaml.Mark] = {}
        for key, _ in node.value:
            if key.tag == _MERGE:
                continue
            name = level_text(self.construct_object(key, deep=True))
            if name in seen:
                first = seen[name].line + 1
                text = f"the key '{name}' is written twice, first in line {first}"
                raise yaml.constructor.ConstructorError(None, None, text, key.start_mark)
            seen[name] = key.start_mark


def _line(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return "" if mark is None else f", line {mark.line + 1}"


def _reason(error: yaml.YAMLError) -> str:
    reason = getattr(error, "problem", None) or getattr(error, "reason", None)
    return f"not YAML that can be read: {reason}" if reason else "not YAML that can be read"
