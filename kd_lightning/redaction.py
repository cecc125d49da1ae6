"""Secrets stay out of everything that is written or shown."""

from __future__ import annotations

import re
from typing import Any

SECRET = re.compile(r"token(?!izer|s\b)|secret|password|passwd|api_?key|credential", re.IGNORECASE)
URL_PASSWORD = re.compile(r"(?<=://)([^\s/:@]*):[^\s/]+@")
URL_OPTION = re.compile(r"([?&][^=&\s]*(?:password|passwd|secret|token)[^=&\s]*=)[^&\s]*", re.IGNORECASE)


def redacted(node: Any) -> Any:
    """The settings with the values of keys named like secrets, and passwords in URLs, replaced.

    Example:
        >>> redacted({"api_key": "x", "steps": {"auth_token": "y", "tokens": 3}, "store": "db://me:pw@host/x"})
        {'api_key': '***', 'steps': {'auth_token': '***', 'tokens': 3}, 'store': 'db://me:***@host/x'}
    """
    if isinstance(node, dict):
        return {key: "***" if SECRET.search(str(key)) and value else redacted(value) for key, value in node.items()}
    if isinstance(node, list):
        return [redacted(value) for value in node]
    return without_passwords(node) if isinstance(node, str) else node


def redacted_override(word: str) -> str:
    """A word of the command line, its value replaced where a key in it is named like a secret.

    Example:
        >>> [redacted_override(word) for word in ("+vars.api_key=x", "+vars={token: x}", "seed=1")]
        ['+vars.api_key=***', '+vars=***', 'seed=1']
    """
    key, _, value = word.partition("=")
    hidden = SECRET.search(key) or ("{" in value and SECRET.search(value))
    return f"{key}=***" if hidden else without_passwords(word)


def without_passwords(text: str) -> str:
    """The text with the passwords of URLs in it replaced.

    Example:
        >>> without_passwords("postgresql://me:p@w@localhost/studies?sslpassword=x&a=b")
        'postgresql://me:***@localhost/studies?sslpassword=***&a=b'
    """
    return URL_OPTION.sub(r"\1***", URL_PASSWORD.sub(r"\1:***@", text))
