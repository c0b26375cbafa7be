"""Secrets do not reach the log: 200 planted ones, and what must not be mistaken for one."""

from __future__ import annotations

import base64
import random
import string
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import eventlog
from eventlog import redaction
from eventlog.recorder.capture import bounded_argv, environment
from eventlog.recorder.tee import Tee
from eventlog.redaction import add_pattern, redact, redact_argv, redact_bytes, redact_mapping, redact_named

LETTERS = string.ascii_letters + string.digits


def word(rng: random.Random, length: int = 24, alphabet: str = LETTERS) -> str:
    return "".join(rng.choice(alphabet) for _ in range(length))


def jwt(rng: random.Random) -> str:
    parts = [base64.urlsafe_b64encode(b'{"alg":"HS256","n":"%d"}' % rng.randrange(10**9)).decode().rstrip("=")]
    return ".".join([*parts, word(rng, 40), word(rng, 43)])


def pem(rng: random.Random) -> str:
    lines = "\n".join(word(rng, 64) for _ in range(20))
    return f"-----BEGIN RSA PRIVATE KEY-----\n{lines}\n-----END RSA PRIVATE KEY-----"


# What a secret looks like, and the text it stands in. {} is the secret.
IN_TEXT: list[tuple[str, Callable[[random.Random], str]]] = [
    ("{}", jwt),
    ("{}", pem),
    ("Authorization: Bearer {}", word),
    ("authorization: Basic {}", lambda rng: base64.b64encode(word(rng).encode()).decode()),
    ("curl -H 'Authorization: token {}' https://api.example", word),
    ("curl -u admin:{} https://example.org", word),
    ("X-Api-Key: {}", word),
    ("Cookie: session={}; theme=dark", word),
    ("set-cookie: id={}; HttpOnly", word),
    ("postgresql://user:{}@db.example:5432/app", word),
    ("redis://:{}@cache:6379/0", word),
    ("https://{}@git.example/repo.git", lambda rng: word(rng, 40)),
    ("connecting with password={} to host", lambda rng: word(rng, 9)),
    ('{{"user": "bob", "password": "{}"}}', lambda rng: word(rng, 12)),
    ("db_password: {}", lambda rng: word(rng, 10)),
    ("export AWS_SECRET_ACCESS_KEY={}", lambda rng: word(rng, 40, LETTERS + "/+")),
    ("aws_access_key_id = {}", lambda rng: "AKIA" + word(rng, 16, string.ascii_uppercase + "234567")),
    ("key id {} used", lambda rng: "ASIA" + word(rng, 16, string.ascii_uppercase + "234567")),
    ("pushing with {}", lambda rng: "ghp_" + word(rng, 36)),
    ("pushing with {}", lambda rng: "github_pat_" + word(rng, 60)),
    ("runner {}", lambda rng: "glpat-" + word(rng, 20)),
    ("slack {} posted", lambda rng: f"xoxb-{word(rng, 12, string.digits)}-{word(rng, 24)}"),
    ("https://hooks.slack.com/services/{}", lambda rng: f"T{word(rng, 8)}/B{word(rng, 8)}/{word(rng, 24)}"),
    ("maps key {}", lambda rng: "AIza" + word(rng, 35)),
    ("using {}", lambda rng: "sk-proj-" + word(rng, 40)),
    ("using {}", lambda rng: "sk-ant-api03-" + word(rng, 40)),
    ("charge with {}", lambda rng: "sk_live_" + word(rng, 24)),
    ("hub {}", lambda rng: "hf_" + word(rng, 34)),
    ("publish {}", lambda rng: "npm_" + word(rng, 36)),
    ("publish {}", lambda rng: "pypi-" + word(rng, 80)),
    ("mail {}", lambda rng: f"SG.{word(rng, 22)}.{word(rng, 43)}"),
    ("client_secret={}", word),
    ("refresh_token={}", word),
    ("GET /x?access_token={}&page=2", word),
    ("api-key: {}", word),
    ("vault {}", lambda rng: "hvs." + word(rng, 24)),
    ("bot {}", lambda rng: f"{word(rng, 9, '123456789')}:AA{word(rng, 33)}"),
]
AS_ARGUMENTS: list[list[str]] = [
    ["tool", "--password={}"],
    ["tool", "--password", "{}"],
    ["tool", "--token", "{}"],
    ["tool", "--api-key", "{}"],
    ["tool", "--db-password={}"],
    ["tool", "--client-secret", "{}"],
    ["tool", "--auth-token={}"],
    ["env", "MY_TOKEN={}", "tool"],
    ["curl", "-u", "bob:{}", "https://example"],
    ["git", "clone", "https://bob:{}@example/x"],
    ["tool", "--header", "Authorization: Bearer {}"],
    ["tool", "--passphrase", "{}"],
]
NAMES = [
    "DB_PASSWORD",
    "GITHUB_TOKEN",
    "AWS_SECRET_ACCESS_KEY",
    "API_KEY",
    "PGPASSWORD",
    "CLIENT_SECRET",
    "MY_AUTH",
    "X_CREDENTIALS",
]


def planted(rng: random.Random) -> list[tuple[str, str]]:
    """At least 200 (secret, what would have been stored)."""
    found: list[tuple[str, str]] = []
    for _ in range(4):
        for template, make in IN_TEXT:
            secret = make(rng)
            text = template.format(secret)
            found.append((secret, redact(text)))
            found.append((secret, redact_bytes(f"before\n{text}\nafter\n".encode()).decode()))
        for argv in AS_ARGUMENTS:
            secret = word(rng, 16, LETTERS + "!#%,;@")
            found.append((secret, " ".join(redact_argv([part.format(secret) for part in argv]))))
        for name in NAMES:
            secret = word(rng, 20, LETTERS + ",;& ")
            found.append((secret, redact_mapping({name: secret})[name]))
    return found


def test_planted_secrets_are_gone() -> None:
    results = planted(random.Random(20260101))
    assert len(results) >= 200
    left = [(secret, stored) for secret, stored in results if secret in stored]
    assert len(left) <= len(results) * 0.02, left[:10]


def test_planted_secrets_are_not_in_any_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the recorder into the log: argument, environment, message, note, parameter, output."""
    rng = random.Random(39)
    secrets = []
    monkeypatch.setenv("DB_PASSWORD", "environment-password-1")
    monkeypatch.setenv("EVENTLOG_ENV_ALLOW", "DB_PASSWORD,LANG")
    with eventlog.open(tmp_path / "log.db") as log:
        for template, make in IN_TEXT:
            secret = make(rng)
            secrets.append(secret)
            with log.runs.track(template.format(secret), note=template.format(secret)) as run:
                run.message(template.format(secret))
                run.parameters(text=template.format(secret), token=secret)
                run.tag(token=secret)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    stored = b"".join(path.read_bytes() for path in files)
    assert b"environment-password-1" not in stored
    left = [
        secret
        for secret in secrets
        if secret.encode() in stored or (secret.split("\n")[1:2] and secret.split("\n")[1].encode() in stored)
    ]
    assert len(left) <= len(secrets) * 0.02, left


@pytest.mark.parametrize(
    "text",
    [
        "PWD=/home/x", "max_tokens=100 --max-tokens 5", "--tokenizer bert", "unexpected token: ;",
        "monkey=5 keyboard=7",
        "author: Bob", "AUTHOR=bob", "git --author=me", "design=3 sigma=0.2", "--pin-memory true --passes 3",
        "sort --key 2 --key=3", "primary_key=id", "session: 4 tests passed", "password=",
        "tokens per second: 5000000.123",
        "if password == other:", "basic training set loaded", "/etc/passwd: Permission denied", "password: incorrect",
        "epoch 3 loss=0.123", "commit 159e32477fb41aca0d1b2c3d4e5f60718293a4b5", "https://example.org:8080/a@b",
        "3 passed, 1 failed",
        "-p 8080", "bypass=1",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "KeyError: 'name'",
        "const STORAGE_KEY = 'todos';", 'session_id="test_session"', "session_id=session_id,", "token = token.strip()",
        "password: str | None = None", "password=server.password.reveal()", "user, _, password = login.partition(':')",
        "self.token = job.token or 0", "secrets: int = 0", "input_cost_per_token=3e-06", "curl -H 'X-Api-Key: $KEY'",
        'f"Authorization: Bearer {token}"', "Authorization: Bearer and the token", "DB_PASSWORD=${DB_PASSWORD}",
        "a secret: the log cannot forget", 'click.option("--token", "token")', "token=$(cat file)",
        '{"name": "SORT_KEY", "value": "of name"}', "signature = inspect.signature(above)", "password=<password>",
    ],
)  # fmt: skip
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text
    assert redact_bytes(text.encode()) == text.encode()


def test_the_names_stay_readable() -> None:
    assert redact("mysql --password=x1 -h db") == "mysql --password=[redacted] -h db"
    assert redact("postgres://bob:x1@db/app") == "postgres://bob:[redacted]@db/app"
    assert redact_argv(["t", "--token", "x1", "--token", "--flag"]) == (
        "t",
        "--token",
        "[redacted]",
        "--token",
        "--flag",
    )
    assert redact_named("DB_PASSWORD", "a b;c") == "[redacted]"
    assert redact_named("plain", "value") == "value"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"{\"password\": \"hunter2\"}", r"{\"password\": [redacted]\"}"),
        (r"{\"Authorization\": \"Bearer x1y2z3w4\"}", r"{\"Authorization\": \"Bearer [redacted]\"}"),
        (r"a\nghp_" + "a1B2" * 9, r"a\n[redacted]"),
        (r"a\u003csk-" + "a1B2" * 9, r"a\u003c[redacted]"),
        ('["--password", "hunter2", "-v"]', '["--password", "[redacted]", "-v"]'),
        ('{"name": "API_TOKEN", "value": "x1y2z3w4"}', '{"name": "API_TOKEN", "value": [redacted]}'),
        ("- name: API_TOKEN\n  value: x1y2z3w4\n", "- name: API_TOKEN\n  value: [redacted]\n"),
        ('"password": ["hunter2", 3]', '"password": [[redacted], 3]'),
        ("machine a.example login bob password hunter2", "machine a.example login bob password [redacted]"),
        ("API_TOKEN=abcdef ./run --token=abcdef", "API_TOKEN=[redacted] ./run --token=[redacted]"),
    ],
)
def test_secrets_in_json_and_lists(text: str, expected: str) -> None:
    assert redact(text) == expected


def test_redaction_is_stable_and_bytes_survive() -> None:
    text = "--password=hunter22 Ünïcode token=abcdefgh1234"
    once = redact(text)
    assert redact(once) == once
    assert "Ünïcode" in once
    data = bytes(range(256)) * 3
    assert redact_bytes(data) is data
    assert redact_bytes(b"\xff\xfe password=hunter22 \xc3\xa9\n") == b"\xff\xfe password=[redacted] \xc3\xa9\n"


def test_patterns_can_be_added() -> None:
    assert redact("employee 12345-XYZ") == "employee 12345-XYZ"
    before = list(redaction.PATTERNS)
    try:
        add_pattern("employee number", r"\d{5}-[A-Z]{3}")
        assert redact("employee 12345-XYZ") == "employee [redacted]"
        assert redact_bytes(b"employee 12345-XYZ\n") == b"employee [redacted]\n"
    finally:
        redaction.PATTERNS[:] = before
        redaction._hints.cache_clear()


@pytest.mark.parametrize(
    "text", ["a" * 200_000, "pass_" * 40_000, "x-token" * 30_000, "--" * 100_000, "://a" * 50_000,
             "-----BEGIN " * 20_000, "eyJ" * 70_000, "key=" * 50_000, "password:" * 20_000, "token:" * 40_000,
             "token=\"" * 30_000, "--password " * 20_000, "'" * 100_000 + "token='", "login a password " * 20_000,
             "login " * 50_000 + "password", "token=" + "\\" * 100_000, "token=" + "a." * 100_000, "\\n" * 100_000,
             "token=" + "a_" * 100_000, "token\", \"value\": " * 20_000, "password: [" * 20_000, "token\n" * 40_000,
             "eyJ-" * 100_000, "-eyJabcdef" * 40_000, "cookie: a " * 40_000, "authorization: a " * 20_000],
)  # fmt: skip
def test_hostile_text_takes_no_time(text: str) -> None:
    began = time.perf_counter()
    redact(text)
    assert time.perf_counter() - began < 5


def test_a_secret_in_pieces_is_kept_out_of_the_stream(tmp_path: Path) -> None:
    path = tmp_path / "log"
    tee = Tee(path.open("wb", buffering=0))
    rng = random.Random(7)
    key = pem(rng)
    text = f"start\npassword=hunter22 x\n{key}\nend token=abcdefgh12345678".encode()
    for start in range(0, len(text), 7):
        tee.feed(text[start : start + 7])
    assert tee.close()
    stored = path.read_bytes()
    assert stored == b"start\npassword=[redacted] x\n[redacted]\nend token=[redacted]"
    assert tee.size_bytes == len(text)
    assert tee.file_size == len(stored)
    assert tee.redacted
    assert tee.tail() == stored.decode()


def test_no_environment_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EVENTLOG_ENV_ALLOW", raising=False)
    assert environment() == {}
    monkeypatch.setenv("EVENTLOG_ENV_ALLOW", "MY_*, TZ,ABSENT")
    monkeypatch.setenv("MY_VALUE", "1")
    monkeypatch.setenv("MY_TOKEN", "abc")
    monkeypatch.setenv("TZ", "UTC")
    assert environment() == {"MY_VALUE": "1", "MY_TOKEN": "[redacted]", "TZ": "UTC"}


def test_long_argument_lists_are_bounded() -> None:
    argv = bounded_argv(["x", *("y" * 1000 for _ in range(10_000)), "--password=a"])
    assert sum(map(len, argv)) < 200_000
    assert "more)" in argv[-1]
