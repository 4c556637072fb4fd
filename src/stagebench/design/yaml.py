"""Read config files as plain values, each with its file and line.

YAML 1.2 without tags; texts that YAML 1.1 reads as another value are refused. A file that `extends`
another one is that file with its own values merged in.
"""

from __future__ import annotations

import contextlib
import json
import re
import shlex
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML, nodes
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.reader import ReaderError

from stagebench.design.levels import UNKNOWN, level_text
from stagebench.design.merging import Node, kind_of, leave_out, merge, show_node
from stagebench.design.problems import (
    KeyPath,
    Origin,
    Origins,
    Problem,
    format_problem,
    problem,
    unknown,
)
from stagebench.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from ruamel.yaml.events import Event

LARGEST_FILE = 1_000_000
"""Bytes; configs are written by hand."""

LARGEST_OVERRIDE = 50_000
"""Characters of what a command line may override."""

DEEPEST = 20
"""Levels of nesting; this also stops values that contain themselves."""

MOST_VALUES = 100_000
"""Values of a config; an alias counts at each use, since few lines can mean billions of values."""

MOST_PROBLEMS = 200
"""Problems of one config that are told before the others are only counted."""

LARGEST_NUMBER = 2**63 - 1
"""Every reader of a specification can hold it, and no estimate overflows."""

COMMAND_LINE = "command line"
"""The place of values that `--override` sets, or Snakemake's `--config`."""

PLAIN_NAME = re.compile(r"[A-Za-z0-9_-]{1,60}")
"""A name that says in a message which entry of a list is meant."""

FILE_BESIDE = re.compile(r"(?!.*\.\.)[A-Za-z0-9_.-][A-Za-z0-9_./-]*")
"""The name of a file beside a config; the schema has the same pattern."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A config as it was read: plain values, the origin of each, and what could not be read."""

    data: Any
    places: Origins = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    root: Node | None = None


def load_config(path: Path, overrides: Mapping[str, Any] | None = None) -> Config:
    """Read a config and what it extends; raises ConfigError for a file that cannot be read.

    `overrides`, the keys set on a command line, are merged in last.
    """
    problems: list[Problem] = []
    root = _load(path, (), problems)
    if overrides:
        _check_length(overrides)
        given = _make_node(overrides, Origin(COMMAND_LINE, 0), problems)
        root = merge(root, given, (), problems)
    return _finish(root, problems)


def _check_length(overrides: Mapping[str, Any]) -> None:
    # As JSON, in a shell's quotes: jobs get it on a command line, of which an argument has a limit.
    size = len(shlex.quote(json.dumps(overrides, default=str)))
    if size > LARGEST_OVERRIDE:
        text = f"{COMMAND_LINE}: {size:,} characters as JSON; allowed: {LARGEST_OVERRIDE:,}"
        raise ConfigError([f"{text}, or a config that extends another (extends: FILE)"])


def load_file(path: Path) -> Config:
    """Read one YAML file that extends no other; raises ConfigError if it cannot be read."""
    problems: list[Problem] = []
    return _finish(_read_file(path, problems), problems)


def raise_problems(found: list[Problem], places: Origins, *, file: str = "config") -> None:
    """Raise a ConfigError that lists all problems once; do nothing if there are none."""
    if found:
        texts = list(dict.fromkeys(format_problem(one, places) for one in found))
        if len(texts) > MOST_PROBLEMS:
            texts[MOST_PROBLEMS:] = [f"and {len(texts) - MOST_PROBLEMS:,} more"]
        raise ConfigError(texts, file=file)


def _finish(root: Node, problems: list[Problem]) -> Config:
    places: dict[KeyPath, Origin] = {}
    values = _flatten(root, (), places)
    return Config(data=values, places=places, problems=tuple(problems), root=root)


def _flatten(node: Node, path: KeyPath, places: dict[KeyPath, Origin]) -> Any:
    """Return the plain value of a node, and record the origins of all values inside it."""
    places[path] = node.place
    if isinstance(node.value, dict):
        name = node.value.get("name")
        if path and isinstance(path[-1], int) and name and _is_plain(name.value):
            places[path] = node.place._replace(name=name.value)
        return {key: _flatten(one, (*path, key), places) for key, one in node.value.items()}
    if isinstance(node.value, list):
        return [_flatten(one, (*path, index), places) for index, one in enumerate(node.value)]
    return node.value


def _is_plain(name: object) -> bool:
    return isinstance(name, str) and PLAIN_NAME.fullmatch(name) is not None


def read_keys(path: Path, *wanted: str) -> dict[str, Any]:
    """Read some top-level keys of a file as texts, without checks.

    Reading stops after the last of them. Values other than texts and mappings of texts are None.
    Raises ConfigError.
    """
    text, found = _read_text(path), dict[str, Any]()
    with _errors_of(path, text):
        events = YAML(typ="safe", pure=True).parse(text)
        # The first three events begin the file, its document and its mapping.
        for event in islice(events, 3, None):
            if isinstance(event, MappingEndEvent) or len(found) == len(wanted):
                break
            value = _take(next(events), events)
            if isinstance(event, ScalarEvent) and event.value in wanted:
                found[event.value] = value
    return found


def _take(event: Event, events: Iterator[Event]) -> Any:
    """Return the texts of the value that begins with an event, and consume its events."""
    if isinstance(event, ScalarEvent):
        return event.value
    taken: list[Any] = []
    if isinstance(event, MappingStartEvent | SequenceStartEvent):
        for below in events:
            if isinstance(below, MappingEndEvent | SequenceEndEvent):
                break
            taken.append(_take(below, events))
    if not isinstance(event, MappingStartEvent):
        return None
    pairs = zip(taken[::2], taken[1::2], strict=True)
    return {key: value for key, value in pairs if isinstance(key, str)}


def _read_file(path: Path, problems: list[Problem]) -> Node:
    """Read one file as a mapping of nodes."""
    text = _read_text(path)
    with _errors_of(path, text):
        yaml = YAML(typ="safe", pure=True)
        yaml.composer.warn_double_anchors = False  # YAML allows reusing a name
        composed = yaml.compose(text)
        root = None if composed is None else _Reader(str(path), problems).read(composed, (), 1)
    if root is None or not isinstance(root.value, dict):
        kind = "empty" if root is None or root.value is None else kind_of(root)
        raise ConfigError([f"{path}: the file is {kind}; allowed: a mapping (key: value lines)"])
    return root


@contextlib.contextmanager
def _errors_of(path: Path, text: str) -> Iterator[None]:
    """Turn exceptions of the YAML reader into a ConfigError with file and line."""
    try:
        yield
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        reason = f"the character U+{ord(text[error.position]):04X} is not allowed"
        raise ConfigError([f"{path}:{line}: not YAML that can be read: {reason}"]) from error
    except YAMLError as error:
        raise ConfigError([f"{path}{_line(error)}: {_reason(error)}"]) from error
    except RecursionError as error:
        raise ConfigError([f"{path}: nested too deeply to be read"]) from error
    except _TooLargeError as error:
        raise ConfigError([f"{path}: too large; allowed: {MOST_VALUES:,} values in all"]) from error


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
        raise ConfigError([f"{path}:{line}: not UTF-8 text: {error.reason}"]) from error


def _line(error: YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return "" if mark is None else f":{mark.line + 1}"


def _reason(error: YAMLError) -> str:
    reason = error.problem if isinstance(error, MarkedYAMLError) else getattr(error, "reason", "")
    return f"not YAML that can be read: {reason}" if reason else "not YAML that can be read"


_TAG = "tag:yaml.org,2002:"
_PLAIN = {f"{_TAG}{name}" for name in ("null", "bool", "int", "float", "timestamp", "value", "str")}
_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_WHOLE = re.compile(r"[-+]?[0-9]+")
_HEXADECIMAL = re.compile(r"[-+]?0x[0-9a-fA-F]+")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NO_NUMBER = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")

_TWO_WAYS = re.compile(
    r"""
      [Yy]es|YES|[Nn]o|NO|[Oo]n|ON|[Oo]ff|OFF        # true and false
    | [-+]?0[0-9_]+                                  # of base 8
    | [-+]?0b[01_]+ | [-+]?0o[0-7_]+                 # of base 2 and 8
    | [-+]?0x[0-9a-fA-F]*_[0-9a-fA-F_]*              # digits in groups
    | [-+]?[0-9][0-9_]*_[0-9_]*(\.[0-9_]*)?([eE].*)?
    | [-+]?[0-9]+\.[0-9]*_[0-9_]*
    | [-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?   # of base 60
    | [-+]?[0-9]+[eE][-+]?[0-9]+                     # exponents without a point or a sign
    | [-+]?([0-9]+\.[0-9]*|\.[0-9]+)[eE][0-9]+
    | [0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt\ ].*)?      # dates
    """,
    re.VERBOSE,
)
"""Unquoted texts that YAML 1.1 and 1.2 read as different values."""

_QUOTED = "a text in quotes, or a number without leading 0, : and _ (1000, 0.5, 1.0e+3)"


def is_ambiguous(text: str) -> bool:
    """Report whether YAML 1.1 and 1.2 read an unquoted text as different values."""
    return _TWO_WAYS.fullmatch(text) is not None


class _TooLargeError(Exception):
    """The config has more values than allowed."""


class _Reader:
    """Makes the nodes of one file; values that cannot be read become unknown, with a problem."""

    def __init__(self, file: str, problems: list[Problem]) -> None:
        self._file = file
        self._problems = problems
        self._values = 0

    def read(self, given: nodes.Node, path: KeyPath, line: int) -> Node:
        """Read one value; `line` is the line of its key or, in a list, of the item itself."""
        self._values += 1
        if self._values > MOST_VALUES:
            raise _TooLargeError
        place = Origin(self._file, line)
        if len(path) > DEEPEST:
            return self._refuse(path, f"nested too deeply; allowed: {DEEPEST} levels", place)
        if isinstance(given, nodes.ScalarNode):
            return self._read_scalar(given, path, place)
        if str(given.tag) not in (f"{_TAG}map", f"{_TAG}seq"):
            return self._refuse(path, _why_no_tag(given), place)
        if isinstance(given, nodes.MappingNode):
            return Node(self._read_mapping(given, path), place)
        items = enumerate(given.value)
        return Node([self.read(item, (*path, i), _line_of(item)) for i, item in items], place)

    def _read_scalar(self, given: nodes.ScalarNode, path: KeyPath, place: Origin) -> Node:
        value, reason = _read_scalar(given)
        return self._refuse(path, reason, place) if reason else Node(value, place)

    def _read_mapping(self, given: nodes.MappingNode, path: KeyPath) -> dict[str, Node]:
        shared: dict[str, Node] = {}
        own: dict[str, Node] = {}
        for key, value in given.value:
            line = _line_of(key)
            if isinstance(key, nodes.ScalarNode) and str(key.tag) == f"{_TAG}merge":
                shared = self._read_shared(value, path, line) | shared
                continue
            name, reason = _read_key(key)
            if name in own:
                first = own[name].place.line
                reason = f"the key '{name}' is written twice, first in line {first}"
                reason += "; allowed: each key once"
            if reason:
                self._refuse((*path, name), reason, Origin(self._file, line))
            if name not in own:
                own[name] = self.read(value, (*path, name), line)
        return shared | own

    def _read_shared(self, given: nodes.Node, path: KeyPath, line: int) -> dict[str, Node]:
        """Read the value of a key `<<`: a mapping, or several, in which the first one counts."""
        several = given.value if isinstance(given, nodes.SequenceNode) else [given]
        shared: dict[str, Node] = {}
        for one in several:
            read = self.read(one, (*path, "<<"), line)
            if isinstance(read.value, dict):
                shared = read.value | shared
            elif read.value is not UNKNOWN:
                text = (
                    f"{show_node(read)} cannot be merged; allowed: a mapping, or a list of mappings"
                )
                self._refuse((*path, "<<"), text, read.place)
        return shared

    def _refuse(self, path: KeyPath, reason: str, place: Origin) -> Node:
        self._problems.append(problem(path, reason, place))
        return Node(UNKNOWN, place)


def _line_of(given: nodes.Node) -> int:
    return int(given.start_mark.line) + 1


def _why_no_tag(given: nodes.Node) -> str:
    return f"the tag {given.tag} is not allowed; allowed: values without a tag"


def _read_key(key: nodes.Node) -> tuple[str, str]:
    """Return a key as text, so that 1 and true are different keys, and what is wrong with it."""
    if not isinstance(key, nodes.ScalarNode):
        return "?", "a list or a mapping cannot be a key; allowed: a text"
    value, reason = _read_scalar(key)
    return (str(key.value), reason) if reason else (level_text(value), "")


def _read_scalar(given: nodes.ScalarNode) -> tuple[Any, str]:
    """Return the value of a scalar, and what is wrong with it."""
    text, tag = str(given.value), str(given.tag)
    if tag not in _PLAIN or (given.style and tag != f"{_TAG}str"):
        return None, _why_no_tag(given)
    if given.style:
        return text, _why_no_text(text)
    if is_ambiguous(text):
        return None, f"{text} is read in two ways, by YAML 1.1 and 1.2; allowed: {_QUOTED}"
    if tag == f"{_TAG}str":
        return text, _why_no_text(text)
    if text in _WORDS:
        return _WORDS[text], ""
    value = _read_number(text)
    return value, _why_not_plain(value)


def _read_number(text: str) -> Any:
    """Return the number that an unquoted text means, or the text itself."""
    if _HEXADECIMAL.fullmatch(text):
        return int(text, 16)
    if _WHOLE.fullmatch(text):
        # Python refuses texts of thousands of digits, all of which are too large anyway.
        return int(text) if len(text) < 100 else float("inf")
    if _NUMBER.fullmatch(text):
        return float(text)
    return float("nan") if _NO_NUMBER.fullmatch(text) else text


def _load(path: Path, above: tuple[Path, ...], problems: list[Problem]) -> Node:
    """Read a file and what it extends; `above` are the files that extend it."""
    own = _read_file(path, problems)
    above = (*above, path)
    keys = dict(own.value)
    extends, without = keys.pop("extends", None), keys.pop("without", None)
    base = None if extends is None else _load_base(extends, path, above, problems)
    if without is not None:
        base = leave_out(base, without, problems)
    own = Node(keys, own.place)
    return own if base is None else merge(base, own, (), problems)


def _load_base(
    extends: Node, path: Path, above: tuple[Path, ...], problems: list[Problem]
) -> Node | None:
    name, reason = extends.value, ""
    if name is UNKNOWN:
        return None
    beside = sorted(other.name for other in path.parent.glob("*.yaml") if other != path)
    if not isinstance(name, str) or not FILE_BESIDE.fullmatch(name):
        reason = (
            f"{show_node(extends)} is not allowed; allowed: the name of a config beside this one"
        )
    elif not (path.parent / name).is_file():
        reason = unknown("config", name, beside)
    elif (path.parent / name).resolve() in [other.resolve() for other in above]:
        chain = " -> ".join([*(str(other) for other in above), str(path.parent / name)])
        reason = f"configs extend one another in a circle: {chain}; allowed: no circle"
    if reason:
        # Without the config that it extends, nothing else can be checked.
        problems.append(problem(("extends",), reason, extends.place))
        raise_problems(problems, {})
    return _load(path.parent / name, above, problems)


def _make_node(value: Any, place: Origin, problems: list[Problem]) -> Node:
    """Make nodes of values that are in no file, all with the same origin."""
    plain, found = make_plain(value)
    problems += [problem(one.path, one.text, place) for one in found]
    return _at_place(plain, place)


def _at_place(value: Any, place: Origin) -> Node:
    if isinstance(value, dict):
        return Node({key: _at_place(one, place) for key, one in value.items()}, place)
    if isinstance(value, list):
        return Node([_at_place(one, place) for one in value], place)
    return Node(value, place)


class _Copier:
    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._values = 0

    def copy(self, value: Any, path: KeyPath) -> Any:
        """Copy a value as plain JSON; a part that cannot be copied becomes unknown."""
        self._values += 1
        if self._values > MOST_VALUES:
            raise _TooLargeError
        if len(path) > DEEPEST:
            return self._refuse(path, f"nested too deeply; allowed: {DEEPEST} levels")
        if hasattr(value, "keys"):
            return self._copy_mapping(value, path)
        if isinstance(value, list | tuple):
            return [self.copy(item, (*path, i)) for i, item in enumerate(value)]
        reason = _why_not_plain(value)
        return self._refuse(path, reason) if reason else value

    def _copy_mapping(self, value: Mapping[Any, Any], path: KeyPath) -> dict[str, Any]:
        plain: dict[str, Any] = {}
        for key, item in value.items():
            name = level_text(key)
            if name in plain:
                self._refuse((*path, name), "written twice; allowed: each key once")
            plain[name] = self.copy(item, (*path, name))
        return plain

    def _refuse(self, path: KeyPath, reason: str) -> str:
        self.problems.append(problem(path, reason))
        return UNKNOWN


def make_plain(config: Any) -> tuple[Any, list[Problem]]:
    """Copy a config as plain JSON values, and return problems for values that are not plain."""
    copier = _Copier()
    try:
        return copier.copy(config, ()), copier.problems
    except _TooLargeError:
        return UNKNOWN, [problem((), f"too large; allowed: {MOST_VALUES} values in all")]


def _why_not_plain(value: object) -> str:
    if value is None or isinstance(value, bool):
        return ""
    if isinstance(value, int | float):
        # Comparisons with NaN are false, so it is refused.
        inside = abs(value) <= LARGEST_NUMBER
        return "" if inside else "this number is not allowed; allowed: numbers within 64 bits"
    if isinstance(value, str):
        return _why_no_text(value)
    kind = type(value).__name__
    return f"a value of type {kind} ({value}) is not allowed; quote it if a text is meant"


def _why_no_text(value: str) -> str:
    if "\0" in value or any("\ud800" <= c <= "\udfff" for c in value):
        return f"{value!r} is not allowed; allowed: text without NUL and lone surrogates"
    return ""


def repair(config: Any, problems: list[Problem]) -> Any:
    """Replace each value that has a problem by an unknown one, so the others can be checked."""
    for found in problems:
        if not found.path:
            return UNKNOWN
        *above, last = found.path
        parent = config
        for part in above:
            parent = parent if parent is UNKNOWN else parent[part]
        if parent is not UNKNOWN:
            parent[last] = UNKNOWN
    return config


def mappings(items: Any, path: KeyPath) -> Iterator[tuple[dict[str, Any], KeyPath]]:
    """Yield the mappings of a list with their paths; refused items are skipped."""
    for index, item in enumerate(items if isinstance(items, list) else ()):
        if isinstance(item, dict):
            yield item, (*path, index)


def place_in(config: Any, path: KeyPath) -> list[int]:
    """Return the positions of a path's parts: a key that sorts paths in the config's order."""
    positions = []
    for part in path:
        if isinstance(part, int):
            positions.append(part)
        else:
            keys = list(config) if isinstance(config, dict) else []
            positions.append(keys.index(part) if part in keys else len(keys))
        config = child_of(config, part)
    return positions


def child_of(value: Any, part: str | int) -> Any:
    """Return the value at a key or position, or None."""
    if isinstance(value, dict):
        return value.get(part)
    return value[part] if isinstance(value, list) and isinstance(part, int) else None
