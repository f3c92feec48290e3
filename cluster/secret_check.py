"""Refuses text that looks like a secret, before it can reach a rendered file, a log or a commit.

The patterns are the published shapes of common credentials, and long random-looking words. A false alarm costs one
renamed value; a leaked key costs more, so doubtful words are refused.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from mouse_facelift.errors import InputError

_SHAPES = {
    "an AWS access key": r"\b(AKIA|ASIA)[0-9A-Z]{16}\b",
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY",
    "a GitHub token": r"\b(gh[pousr]_|github_pat_)\w{20,}",
    "a Hugging Face token": r"\bhf_[A-Za-z0-9]{20,}",
    "a Google API key": r"\bAIza[0-9A-Za-z_-]{30,}",
    "a Slack token": r"\bxox[abprs]-[0-9A-Za-z-]{10,}",
    "a JSON web token": r"\beyJ[\w-]{8,}\.[\w-]{8,}\.",
    "a password inside a URL": r"://[^/@\s]+:[^/@\s]+@",
    "a credential": r"(?i)(passw(or)?d|secret(_access)?(_key)?|token|api_?key|access_key)\s*[=:]\s*[^\s$<{]",
}
# Names of images end in a digest of the image's content, which is public.
_DIGEST = re.compile(r"@sha256:[0-9a-f]{64}\b")
_WORD = re.compile(r"[A-Za-z0-9+=]{32,}")
# 40 random hexadecimal digits carry 3.5 to 3.9 bits per character; words and paths of that length stay below 3.4
# (without digits they are not considered).
_RANDOM_BITS = 3.4


def what_secret(text: str) -> str | None:
    """What the text looks like ("a GitHub token"), or None when it looks harmless."""
    text = _DIGEST.sub("", text)
    for name, shape in _SHAPES.items():
        if re.search(shape, text):
            return name
    words = (match.group() for match in _WORD.finditer(text))
    return "a random key" if any(_looks_random(word) for word in words) else None


def refuse_secrets(plain: Any, *, source: str) -> None:
    """Check every key and value of a YAML document.

    Raises:
        InputError: names the file and the dotted key; never repeats the value.
    """
    for key, text in _strings(plain):
        kind = what_secret(text)
        if kind is not None:
            raise InputError(
                f"{source}: '{key}' looks like {kind}; keep secrets in the environment or the platform's secret store "
                "and give their names under 'environment'"
            )


def _looks_random(word: str) -> bool:
    if not (any(c.isdigit() for c in word) and any(c.isalpha() for c in word)):
        return False
    shares = [count / len(word) for count in Counter(word).values()]
    return -sum(share * math.log2(share) for share in shares) > _RANDOM_BITS


def _strings(plain: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every text in a document with its dotted key; keys themselves are texts too."""
    if isinstance(plain, Mapping):
        for name, item in plain.items():
            # `wandb_token: abc` is one text, so that the name counts as well as the value.
            if isinstance(item, str) and item:
                yield f"{key}{name}", f"{name}: {item}" if not _names_a_secret_store(str(name)) else item
            else:
                yield from _strings(item, f"{key}{name}.")
    elif isinstance(plain, (list, tuple)):
        for index, item in enumerate(plain):
            yield from _strings(item, f"{key.removesuffix('.')}[{index}].")
    elif isinstance(plain, str):
        yield key.removesuffix("."), plain


def _names_a_secret_store(field: str) -> bool:
    """Fields that hold the *name* of a Kubernetes Secret."""
    return field.endswith("_secret")
