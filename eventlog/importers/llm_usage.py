"""What a call of ``llm`` used: its tokens by lanes, and whose model it was where the model's name says so."""

from __future__ import annotations

from typing import Any

from eventlog.events.agents import Usage
from eventlog.importers.cells import count

PROVIDERS = frozenset((
    "anthropic", "azure", "bedrock", "cohere", "deepseek", "fireworks", "gemini", "github", "groq", "mistral", "openai",
    "openrouter", "perplexity", "together", "vertex", "xai",
))  # fmt: skip
"""What a model's name may begin with, where the provider is a part of it."""


def provider_of(model: str | None) -> str | None:
    """The provider that a model's name begins with; None where it begins with none."""
    first = (model or "").partition("/")[0]
    return first if first in PROVIDERS and first != model else None


def usage_of(given: int, made: int, details: dict[str, Any]) -> Usage:
    """The lanes of a call's tokens.

    Where OpenAI and Google tell of cached tokens, those are a part of the input, and what was thought is a part of the
    output; Anthropic's are beside it.
    """

    def inside(*names: str) -> int:
        for name in names:
            value: Any = details
            for step in name.split("."):
                value = value.get(step) if isinstance(value, dict) else None
            if (found := count(value)) is not None:
                return found
        return 0

    cached = inside(
        "cached_tokens",
        "prompt_tokens_details.cached_tokens",
        "input_tokens_details.cached_tokens",
        "cachedContentTokenCount",
    )
    thought = inside(
        "reasoning_tokens",
        "completion_tokens_details.reasoning_tokens",
        "output_tokens_details.reasoning_tokens",
        "thoughtsTokenCount",
    )
    long = inside("cache_creation.ephemeral_1h_input_tokens")
    written = max(inside("cache_creation_input_tokens"), long)
    cached, thought = min(cached, given), min(thought, made)
    return Usage(
        input=given - cached,
        cache_read=cached + inside("cache_read_input_tokens"),
        cache_write_5m=written - long,
        cache_write_1h=long,
        output=made - thought,
        reasoning=thought,
    )
