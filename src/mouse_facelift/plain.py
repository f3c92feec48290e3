"""Frozen dataclasses to and from plain values: the strict half of every configuration file.

A configuration's only schema is its dataclass. `to_plain` gives what YAML and JSON can hold; `from_plain` reads it
back and refuses every key the dataclass does not have, every missing one, and every value of another type, naming the
file, the dotted key and the nearest valid name.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from mouse_facelift.errors import InputError

Config = TypeVar("Config")


def to_plain(value: Any) -> Any:
    """Nested dataclasses, tuples, lists, mappings and paths as dicts, lists, strings and numbers.

    Raises:
        TypeError: a value no configuration may hold (a bug in the dataclass, not in the input).
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [to_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"{value!r} of type {type(value).__name__} has no plain form")


def from_plain(config_type: type[Config], plain: Any, *, source: str = "configuration") -> Config:
    """Build a configuration from plain values, strictly; keys with a default may be absent.

    Args:
        config_type: a dataclass whose fields are bool, int, float, str, Path, Literal, tuple, dict[str, ...], nested
            dataclasses, and unions of these.
        plain: what `yaml.safe_load` or `json.load` returned.
        source: the file's name, for messages.

    Raises:
        InputError: an unknown key, a missing key without default, or a value of the wrong type.
    """
    values = field_values(config_type, plain, source=source)
    missing = [name for name in _required(config_type) if name not in values]
    if missing:
        raise InputError(f"{source}: key '{missing[0]}' is missing; add it")
    return config_type(**values)


def field_values(config_type: type, plain: Any, *, source: str, prefix: str = "") -> dict[str, Any]:
    """The converted values of the keys that are present: `from_plain` without asking for the required ones.

    Raises:
        InputError: as `from_plain`, except for a missing key at this level.
    """
    if not isinstance(plain, Mapping):
        where = f"'{prefix[:-1]}'" if prefix else "the file"
        raise InputError(f"{source}: {where} must hold keys and values, not {_describe(plain)}")
    hints = _hints(config_type)
    values = {}
    for key, item in plain.items():
        if key not in hints:
            hint = did_you_mean(str(key), hints, prefix=prefix)
            raise InputError(f"{source}: unknown key '{prefix}{key}'{hint}")
        values[key] = _convert(hints[key], item, source, f"{prefix}{key}")
    return values


def did_you_mean(name: str, valid: Iterable[str], *, prefix: str = "") -> str:
    """` (did you mean 'x'?)` with the nearest valid name, or a list of the valid ones when none is near."""
    names = list(valid)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if near:
        return f" (did you mean '{prefix}{near[0]}'?)"
    return f" (valid: {', '.join(names)})"


@cache
def _hints(config_type: type) -> dict[str, Any]:
    hints = get_type_hints(config_type)
    return {field.name: hints[field.name] for field in dataclasses.fields(config_type) if field.init}


def _required(config_type: type) -> list[str]:
    absent = dataclasses.MISSING
    return [
        field.name
        for field in dataclasses.fields(config_type)
        if field.init and field.default is absent and field.default_factory is absent
    ]


def _convert(hint: Any, value: Any, source: str, key: str) -> Any:
    """One value as the type its field states."""
    origin = get_origin(hint)
    if origin is Annotated:
        return _convert(get_args(hint)[0], value, source, key)
    if origin in (Union, types.UnionType):
        return _convert_union(get_args(hint), value, source, key)
    if origin is Literal:
        # True == 1 in Python; in a file they are different things.
        if any(value == option and type(value) is type(option) for option in get_args(hint)):
            return value
        raise _wrong(hint, value, source, key)
    if origin is tuple:
        return _convert_tuple(hint, value, source, key)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise _wrong(hint, value, source, key)
        return {str(name): _convert(get_args(hint)[1], item, source, f"{key}.{name}") for name, item in value.items()}
    if dataclasses.is_dataclass(hint):
        values = field_values(cast(type, hint), value, source=source, prefix=f"{key}.")
        missing = [name for name in _required(cast(type, hint)) if name not in values]
        if missing:
            raise InputError(f"{source}: key '{key}.{missing[0]}' is missing; add it")
        return cast(type, hint)(**values)
    return _convert_scalar(hint, value, source, key)


def _convert_scalar(hint: Any, value: Any, source: str, key: str) -> Any:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is type(None) and value is None:
        return None
    if hint is bool and isinstance(value, bool):
        return value
    if hint is int and number and not isinstance(value, float):
        return value
    if hint is float and number:
        return float(value)
    if hint is float and isinstance(value, str):
        # YAML 1.1 reads `1e-4` (no dot) as a string; a person means the number.
        try:
            return float(value)
        except ValueError:
            raise _wrong(hint, value, source, key) from None
    if hint is str and isinstance(value, str):
        return value
    if hint is Path and isinstance(value, str) and value:
        return Path(value)
    if hint in (bool, int, float, str, Path, type(None)):
        raise _wrong(hint, value, source, key)
    raise TypeError(f"{key}: fields of type {hint} cannot be read from a file")


def _convert_union(hints: tuple[Any, ...], value: Any, source: str, key: str) -> Any:
    errors = []
    for hint in hints:
        try:
            return _convert(hint, value, source, key)
        except InputError as error:
            errors.append(error)
    options = [hint for hint in hints if hint is not type(None)]
    if len(options) == 1 and value is not None:
        # Only `None` stands beside the real type: that type's own message is the useful one.
        raise errors[hints.index(options[0])]
    raise _wrong(Union[hints], value, source, key)  # noqa: UP007 - built from a tuple at run time


def _convert_tuple(hint: Any, value: Any, source: str, key: str) -> tuple[Any, ...]:
    parts = get_args(hint)
    if not isinstance(value, (list, tuple)):
        raise _wrong(hint, value, source, key)
    if len(parts) == 2 and parts[1] is Ellipsis:
        return tuple(_convert(parts[0], item, source, f"{key}[{i}]") for i, item in enumerate(value))
    if len(value) != len(parts):
        raise InputError(f"{source}: '{key}' has {len(value)} values; it needs {len(parts)}")
    pairs = zip(parts, value, strict=True)
    return tuple(_convert(part, item, source, f"{key}[{i}]") for i, (part, item) in enumerate(pairs))


def _wrong(hint: Any, value: Any, source: str, key: str) -> InputError:
    return InputError(f"{source}: '{key}' is {_describe(value)}; it must be {_name(hint)}")


def _describe(value: Any) -> str:
    if value is None or isinstance(value, (bool, int, float, str)):
        return repr(value)
    return "a list" if isinstance(value, (list, tuple)) else f"a {type(value).__name__}"


def _name(hint: Any) -> str:
    origin = get_origin(hint)
    if origin is Literal:
        return "one of " + ", ".join(repr(option) for option in get_args(hint))
    if origin in (Union, types.UnionType):
        return " or ".join(_name(part) for part in get_args(hint))
    if origin is tuple:
        return "a list of " + _name(get_args(hint)[0])
    if origin is dict or dataclasses.is_dataclass(hint):
        return "keys and values"
    if hint is type(None):
        return "empty"
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "text", Path: "a path"}
    return names.get(hint, str(hint))
