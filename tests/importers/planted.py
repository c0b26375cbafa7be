"""Secrets of many shapes, in the places in which conversations with tools have them."""

from __future__ import annotations

import base64
import json
import random
import string
from collections.abc import Callable
from typing import Any, NamedTuple

LETTERS = string.ascii_letters + string.digits
HEX = "0123456789abcdef"


class Planted(NamedTuple):
    """A secret (``lines``: each of its parts is one), and the text or object that it stands in."""

    shape: str
    lines: list[str]
    value: Any


def _word(rng: random.Random, length: int = 24, alphabet: str = LETTERS) -> str:
    """Random characters, a digit and a capital letter among them."""
    made = "".join(rng.choice(alphabet) for _ in range(length - 2))
    return made if alphabet is not LETTERS else f"{made[0]}7{made[1:]}Q"


def _upper(rng: random.Random, length: int) -> str:
    return "".join(rng.choice(string.ascii_uppercase + "234567") for _ in range(length))


def _jwt(rng: random.Random) -> str:
    head = base64.urlsafe_b64encode(b'{"alg":"HS256","n":"%d"}' % rng.randrange(10**9)).decode().rstrip("=")
    return f"{head}.{_word(rng, 40)}.{_word(rng, 43)}"


def _pem(kind: str) -> Callable[[random.Random], str]:
    def made(rng: random.Random) -> str:
        lines = "\n".join(_word(rng, 64) for _ in range(6))
        return f"-----BEGIN {kind}-----\n{lines}\n-----END {kind}-----"

    return made


def _token(prefix: str, length: int, alphabet: str = LETTERS) -> Callable[[random.Random], str]:
    return lambda rng: prefix + "".join(rng.choice(alphabet) for _ in range(length))


Make = Callable[[random.Random], str]
BARE: dict[str, Make] = {
    "aws": lambda rng: "AKIA" + _upper(rng, 16),
    "aws session": lambda rng: "ASIA" + _upper(rng, 16),
    "github": _token("ghp_", 36), "github app": _token("ghs_", 36), "github pat": _token("github_pat_", 60),
    "gitlab": _token("glpat-", 20), "slack": lambda rng: f"xoxb-{_token('', 12, '123456789')(rng)}-{_word(rng, 24)}",
    "slack app": lambda rng: f"xapp-1-{_upper(rng, 10)}-{_token('', 12, '123456789')(rng)}-{_word(rng, 40)}",
    "google": _token("AIza", 35), "google oauth": _token("ya29.", 60), "google client": _token("GOCSPX-", 28),
    "openai": _token("sk-proj-", 48), "openai old": _token("sk-", 48), "anthropic": _token("sk-ant-api03-", 80),
    "openrouter": _token("sk-or-v1-", 64, HEX), "groq": _token("gsk_", 52), "xai": _token("xai-", 80),
    "perplexity": _token("pplx-", 48), "hugging face": _token("hf_", 34), "replicate": _token("r8_", 37),
    "stripe": _token("sk_live_", 24), "stripe restricted": _token("rk_live_", 24), "stripe hook": _token("whsec_", 32),
    "npm": _token("npm_", 36), "pypi": _token("pypi-AgEIcHlwaS5vcmc", 80), "docker": _token("dckr_pat_", 27),
    "sendgrid": lambda rng: f"SG.{_word(rng, 22)}.{_word(rng, 43)}", "twilio": _token("SK", 32, HEX),
    "mailgun": _token("key-", 32, HEX), "telegram": lambda rng: f"{_token('', 9, '123456789')(rng)}:AA{_word(rng, 33)}",
    "digital ocean": _token("dop_v1_", 64, HEX), "vault": _token("hvs.", 24), "databricks": _token("dapi", 32, HEX),
    "tailscale": _token("tskey-auth-", 30), "supabase": _token("sbp_", 40, HEX), "shopify": _token("shpat_", 32, HEX),
    "new relic": lambda rng: "NRAK-" + _upper(rng, 27), "linear": _token("lin_api_", 40), "notion": _token("ntn_", 46),
    "postman": _token("PMAK-", 59), "atlassian": _token("ATATT", 60), "figma": _token("figd_", 40),
    "sentry": _token("sntrys_", 60), "age": lambda rng: "AGE-SECRET-KEY-1" + _upper(rng, 58), "jwt": _jwt,
    "rsa": _pem("RSA PRIVATE KEY"), "openssh": _pem("OPENSSH PRIVATE KEY"), "pkcs8": _pem("PRIVATE KEY"),
    "ec": _pem("EC PRIVATE KEY"), "pgp": _pem("PGP PRIVATE KEY BLOCK"),
}  # fmt: skip
"""What is known by itself, wherever it stands."""
AROUND = (
    "use {} for it", "{}", "`{}`", '"{}"', "first line\n{}\nlast line", "key:\t{}", "größer {} 大きい", "<{}>", "({})",
    "x={};", "a \\n{}\\n b", "echo '{}' | pbcopy", "é{}é", "🦉\n{}",
)  # fmt: skip
NAMED: dict[str, tuple[str, Make]] = {
    "assignment": ("connecting with password={} to host", lambda rng: _word(rng, 12)),
    "export": ("export DB_PASSWORD={}\nmake deploy", lambda rng: _word(rng, 12)),
    "short name": ("DB_PASS={} ./run", lambda rng: _word(rng, 12)),
    "pwd": ("Server=db;Uid=bob;MYSQL_PWD={};", lambda rng: _word(rng, 12)),
    "connection string": ("Server=tcp:db,1433;User ID=bob;Password={};Encrypt=true", lambda rng: _word(rng, 12)),
    "azure": ("AccountName=x;AccountKey={};EndpointSuffix=core", lambda rng: _word(rng, 86) + "=="),
    "secret key": ("aws_secret_access_key = {}", lambda rng: _word(rng, 40, LETTERS + "/+")),
    "yaml": ("db:\n  user: bob\n  password: {}\n", lambda rng: _word(rng, 10)),
    "quoted": ("const apiKey = '{}';", _word), "env file": ("A=1\nSTRIPE_SECRET={}\nB=2", _word),
    "json": ('{{"user": "bob", "password": "{}"}}', lambda rng: _word(rng, 12)),
    "json in json": ('{{\\"user\\": \\"bob\\", \\"password\\": \\"{}\\"}}', lambda rng: _word(rng, 12)),
    "option": ("mysql --user bob --password {} -h db", lambda rng: _word(rng, 12)),
    "option=": ("tool --api-key={} run", _word),
    "bearer": ("curl -H 'Authorization: Bearer {}' https://a.example", _word),
    "basic": ("Authorization: Basic {}", lambda rng: base64.b64encode(f"bob:{_word(rng)}".encode()).decode()),
    "token header": ("Authorization: token {}", _word), "api header": ("X-Api-Key: {}", _word),
    "private header": ("PRIVATE-TOKEN: {}", _word), "cookie": ("Cookie: session={}; theme=dark", _word),
    "set-cookie": ("< set-cookie: id={}; HttpOnly", _word), "curl": ("curl -u admin:{} https://example.org", _word),
    "url": ("postgresql://user:{}@db.example:5432/app", _word), "url alone": ("redis://:{}@cache:6379/0", _word),
    "git": ("git clone https://{}@git.example/repo.git", lambda rng: _word(rng, 40)),
    "query": ("GET /x?access_token={}&page=2", _word), "signature": ("https://a.example/b?sv=2&sig={}&se=3", _word),
    "slack hook": ("https://hooks.slack.com/services/{}",
                   lambda rng: f"T{_word(rng, 9)}/B{_word(rng, 9)}/{_word(rng)}"),
    "discord hook": ("https://discord.com/api/webhooks/1234567890/{}", lambda rng: _word(rng, 60)),
    "client": ("client_secret={}", _word), "refresh": ("refresh_token: {}", _word), "otp": ("MY_OTP={}", _word),
    "netrc": ("machine a.example login bob password {}", lambda rng: _word(rng, 14)),
    "npmrc": ("//registry.example/:_authToken={}", _word), "pgpass": ("PGPASSWORD={} psql", lambda rng: _word(rng, 12)),
    "ruby": ("config.secret_key_base = '{}'", lambda rng: _word(rng, 60)), "passphrase": ("passphrase: {}", _word),
    "docker auth": ('"auth": "{}"', lambda rng: base64.b64encode(f"bob:{_word(rng)}".encode()).decode()),
    "webhook secret": ("WEBHOOK_SECRET: {}", _word), "session id": ("sessionid={}", _word),
}  # fmt: skip
"""What is known by the name that it is given; {} is the secret."""
FIELDS: list[Callable[[str], dict[str, Any]]] = [
    lambda one: {"api_key": one}, lambda one: {"apiKey": one}, lambda one: {"clientSecret": one},
    lambda one: {"access_token": one}, lambda one: {"accessToken": one}, lambda one: {"password": one},
    lambda one: {"DB_PASSWORD": one}, lambda one: {"token": one}, lambda one: {"authToken": one},
    lambda one: {"headers": {"Authorization": f"Bearer {one}", "Accept": "*/*"}},
    lambda one: {"headers": {"X-Api-Key": one}}, lambda one: {"headers": {"Cookie": f"sid={one}"}},
    lambda one: {"env": {"GITHUB_TOKEN": one, "PATH": "/bin"}}, lambda one: {"env": {"STRIPE_SECRET_KEY": one}},
    lambda one: {"aws_secret_access_key": one}, lambda one: {"deep": [{"secret": one}, 3]},
    lambda one: {"password": [one, "second"]}, lambda one: {"credentials": {"secretKey": one}},
    lambda one: {"name": "API_TOKEN", "value": one}, lambda one: {"key": "DB_PASSWORD", "value": one},
    lambda one: {"args": ["--user", "bob", "--password", one]}, lambda one: {"argv": ["tool", f"--token={one}"]},
    lambda one: {"url": f"https://bob:{one}@a.example/x"}, lambda one: {"privateKey": one},
    lambda one: {"passphrase": one}, lambda one: {"refreshToken": one},
    lambda one: {"command": f"export API_KEY={one}"},
    lambda one: {"content": json.dumps({"password": one})}, lambda one: {f"password={one}": "in a name"},
    lambda one: {"session_token": one}, lambda one: {"private_key": f"-----BEGIN PRIVATE KEY-----\n{one}"},
]  # fmt: skip
"""A secret in a JSON object."""


def planted(seed: int = 39, count: int = 200) -> list[Planted]:
    """At least so many, each another one."""
    rng = random.Random(seed)
    found: list[Planted] = []
    turn = 0
    while len(found) < count:
        for shape, make in BARE.items():
            secret = make(rng)
            around = AROUND[turn % len(AROUND)]
            parts = secret.split("\n")[1:-1] or [secret]
            if turn % 3 == 2 and len(parts) > 1:
                secret = secret.replace("\n", "\\n")
            found.append(Planted(f"{shape} in {around!r}", parts, around.format(secret)))
            turn += 1
        for shape, (text, make) in NAMED.items():
            secret = make(rng)
            found.append(Planted(shape, [secret], text.format(secret)))
        for number, field in enumerate(FIELDS):
            secret = _word(rng, 20)
            found.append(Planted(f"field {number} {next(iter(field('…')))}", [secret], field(secret)))
    return found


def left(found: list[Planted], stored: bytes) -> list[Planted]:
    """Those of which a part is in the bytes."""
    return [one for one in found if any(part.encode() in stored for part in one.lines)]
