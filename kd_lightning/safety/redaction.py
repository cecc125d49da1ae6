"""Secrets stay out of everything that is written or shown.

A value is a secret by its name (``api_key``), by what it looks like (``https://TOKEN@host``), or by where it stands: the
user's own ``vars``, settings of loggers and environment variables may hold anything, so a text in them is hidden unless
its name is known to be harmless. Configuration files and records only describe a run; nothing is resumed from them.
"""

from __future__ import annotations

import re
from typing import Any

HIDDEN = "***"
PLACEHOLDER = "..."
"""Stands in our messages for what the user is to type."""
SECRET = re.compile(
    r"token(?!i[sz]|s(?![a-z]))|secret|passw|passphrase|(?<![a-z])(?:pwd|pat|dsn|creds?|jwt|sas)(?![a-z])|credential|bearer|cookie"
    r"|auth(?!ors?(?![a-z]))|(?:api|private|access|secret|account|signing|encryption|ssh|shared)[_-]?key|passcode|webhook|signature",
    re.IGNORECASE,
)
"""What a secret's name holds, whatever its value is. ``tokenizer``, ``tokens`` and ``author`` are no such names."""
SECRET_OF_TEXT = re.compile(r"(?<![a-z])(?:keys?|tokens|sig|pass|otp)(?![a-z])", re.IGNORECASE)
"""The same where the value is a text: counts of tokens are no secret."""
PRIVATE = frozenset({"vars", "logger", "env_set"})
"""Nodes whose texts are hidden unless the name is harmless."""
HARMLESS_NAMES = frozenset(
    {
        *("_target_", "artifact_location", "dataset", "description", "entity", "experiment_name", "group", "job_type"),
        *("log_dir", "log_model", "mode", "name", "note", "offline", "prefix", "project", "root_dir", "run_id"),
        *("run_name", "save_dir", "stage", "sub_dir", "tracking_uri", "version"),
    }
)

CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
WEB_USER = re.compile(r"(\bhttps?://|\+https?://)[^\s/?#]+@|(\b[a-z][\w+.-]*://)[^\s/?#:@]{16,}@", re.IGNORECASE)
"""A user of the web is mostly a token; elsewhere a long name is one."""
PASSWORD = re.compile(r"(?<=://)([^\s/:@]*):(?:[^\s/]+|[^\s,;]+)@")
BEARER = re.compile(r"\b(bearer\s+)[\w.~+/=-]{4,}", re.IGNORECASE)
ASSIGNED_NAME = re.compile(r"""(?<![\w.@+-])(?P<name>[\w.@+-]*\w)(?P<sign>["']?\s*(?:=>?|:(?!/))\s*)""")
VALUE = re.compile(
    r"""(?:(?:bearer|basic|token|digest)\s+)?(?:"[^"\n]*"|'[^'\n]*'|\{[^}\n]*\}|[^\s,;&"'(){}\[\]]+)""", re.IGNORECASE
)
LOOKS_SECRET = re.compile(
    r"(?<=basic )(?=[a-z+/]*[0-9=])[\w+/]{8,}={0,2}"
    r"|\b(?:gh[oprsu]|github_pat|glpat|hf|sk|pk|rk|xox[abeprs]|npm|pypi|dop_v1|ya29)[-_.](?=[\w-]*[0-9])[\w-]{10,}"
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{12,}|\bAIza[\w-]{20,}"
    r"|\beyJ[\w-]+\.[\w-]+\.[\w-]*"
    r"|(?<=hooks\.slack\.com/services/)[\w/]+"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)",
    re.IGNORECASE | re.DOTALL,
)
"""Tokens of well-known services, web tokens, private keys."""


def redact_settings(node: Any) -> Any:
    """Settings with every secret in them replaced, also where another setting repeats it.

    Example:
        >>> redact_settings({"api_key": "x", "steps": {"auth_token": "y", "tokens": 3}, "store": "db://me:pw@host/x"})
        {'api_key': '***', 'steps': {'auth_token': '***', 'tokens': 3}, 'store': 'db://me:***@host/x'}
        >>> redact_settings({"vars": {"kind": "x", "name": "x", "size": 3}, "kind": "x"})
        {'vars': {'kind': '***', 'name': 'x', 'size': 3}, 'kind': 'x'}
    """
    repeated = sorted(find_secrets(node), key=len, reverse=True)

    def replace(value: Any, private: bool) -> Any:
        if isinstance(value, dict):
            return {
                key: HIDDEN if is_secret(str(key), each, private) else replace(each, private or key in PRIVATE)
                for key, each in value.items()
            }
        if isinstance(value, list):
            return [HIDDEN if private and isinstance(each, str) else replace(each, private) for each in value]
        if not isinstance(value, str):
            return value
        for secret in repeated:
            value = value.replace(secret, HIDDEN)
        return without_secrets(value)

    return replace(node, False)


def find_secrets(node: Any) -> set[str]:
    """Values under names of secrets that are long enough to be told from words."""
    if isinstance(node, list):
        return {found for each in node for found in find_secrets(each)}
    if not isinstance(node, dict):
        return set()
    own = {each for key, each in node.items() if SECRET.search(split_words(str(key))) and isinstance(each, str)}
    return {each for each in own if len(each) >= 6} | {found for each in node.values() for found in find_secrets(each)}


def is_secret(name: str, value: Any, private: bool) -> bool:
    """A value is hidden for its name, or for where it stands.

    Args:
        name: The last part of the setting's path.
        value: The setting's value.
        private: It stands below one of ``PRIVATE``.
    """
    if value is None or value == "" or isinstance(value, bool):
        return False
    words = split_words(name)
    if SECRET.search(words):
        return True
    if not isinstance(value, str):
        return False
    return SECRET_OF_TEXT.search(words) is not None or (private and name not in HARMLESS_NAMES)


def split_words(name: str) -> str:
    """The name with its words apart.

    Example:
        >>> split_words("accessKey")
        'access_Key'
    """
    return CAMEL.sub("_", name)


def redact_override(word: str) -> str:
    """A word of the command line, its value replaced where it is a secret.

    Example:
        >>> [redact_override(word) for word in ("+vars.api_key=x", "+vars={token: x}", "+vars.n=3", "logger=csv", "seed=1")]
        ['+vars.api_key=***', '+vars=***', '+vars.n=3', 'logger=csv', 'seed=1']
    """
    key, equals, value = word.partition("=")
    return f"{key}={HIDDEN}" if equals and hides_value(key, value) else without_secrets(word)


def hides_value(key: str, value: str) -> bool:
    """The value of an override is a secret."""
    path = key.lstrip("+~").replace("@", ".").replace("/", ".").split(".")
    private = not PRIVATE.isdisjoint(path)
    if private and len(path) == 1:  # `logger=csv` is a choice, `vars={a: b}` may hold anything
        return "{" in value or SECRET.search(value) is not None
    known: Any = value if not is_number(value) else 0
    if any(is_secret(name, known, private and name == path[-1]) for name in path if name not in PRIVATE):
        return True
    return "{" in value and (private or SECRET.search(value) is not None)


def is_number(text: str) -> bool:
    """The text reads as numbers: one, or several with commas between them."""
    try:
        return all(float(part) is not None for part in text.split(","))
    except ValueError:
        return text in ("true", "false", "null")


def without_secrets(text: str) -> str:
    """A text with all in it replaced that is a secret for its name or its looks.

    Example:
        >>> without_secrets("postgresql://me:p@w@localhost/studies?sslpassword=x&a=b")
        'postgresql://me:***@localhost/studies?sslpassword=***&a=b'
        >>> without_secrets("git+https://ghp@host/x.git, Server=s;Pwd=x;, Authorization: Bearer abcd1, tokens: 3")
        'git+https://***@host/x.git, Server=s;Pwd=***;, Authorization: ***, tokens: 3'
    """
    text = WEB_USER.sub(lambda found: f"{found[1] or found[2]}{HIDDEN}@", text)
    text = BEARER.sub(rf"\1{HIDDEN}", PASSWORD.sub(rf"\1:{HIDDEN}@", text))
    text, parts, at = LOOKS_SECRET.sub(HIDDEN, text), [], 0
    for found in ASSIGNED_NAME.finditer(text):
        value = VALUE.match(text, found.end())
        if found.start() >= at and value and assigns_secret(found["name"], found["sign"], value[0]):
            parts += [text[at : found.end()], HIDDEN]
            at = value.end()
    return "".join([*parts, text[at:]])


def assigns_secret(name: str, sign: str, value: str) -> bool:
    """``name=value`` or ``name: value`` in a text tells a secret."""
    if value == PLACEHOLDER:
        return False
    words = split_words(name.rpartition(".")[2])
    if SECRET.search(words):
        return True
    if "=" not in sign:  # prose
        return False
    if SECRET_OF_TEXT.search(words) and not is_number(value.strip("'\"")):
        return True
    return "." in name and hides_value(name, value)


class HiddenValues:
    """Hides values of a sweep's jobs so that jobs that differ in one can be told apart: ``***``, ``***2``, ``***3``."""

    def __init__(self) -> None:
        self.seen: dict[str, list[str]] = {}

    def redact(self, word: str) -> str:
        """As ``redact_override``, with a number from the second value of a setting on."""
        shown = redact_override(word)
        key, _, value = word.partition("=")
        if shown == word or shown != f"{key}={HIDDEN}":
            return shown
        values = self.seen.setdefault(key, [])
        if value not in values:
            values.append(value)
        number = values.index(value) + 1
        return shown if number == 1 else f"{shown}{number}"
