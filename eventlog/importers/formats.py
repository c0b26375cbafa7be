"""The programs whose past can be brought in, by the name the command has for each. A new one is a line here."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from eventlog.errors import InvalidInput

if TYPE_CHECKING:
    from eventlog.importers.run import LineFormat, TableFormat

FORMATS = {
    "claude": ("claude:ClaudeTranscripts", "Claude Code's transcripts (~/.claude/projects)."),
    "sessions-json": ("sessions_json:SessionFiles", "Sessions as JSON files, one a file or a list in one."),
    "codex": ("codex:CodexRollouts", "Codex's rollouts (~/.codex/sessions)."),
    "llm": ("llm:LlmLogs", "The logs of the program llm (logs.db, of every version)."),
    "opencode": ("opencode:OpencodeStore", "opencode's databases, and its older files (~/.local/share/opencode)."),
    "tasks-db": ("tasks_db:TaskDatabases", "A coding agent's database of tasks (contexts/tasks.db)."),
    "agent-jsonl": ("agent_jsonl:AgentFiles", "A coding agent's messages, tools and summaries in JSON lines."),
    "openai-agents": ("openai_agents:OpenAIAgents", "Sessions of the OpenAI Agents SDK (SQLite)."),
    "mlflow": ("mlflow:MlflowStore", "MLflow's tracking store in SQLite (mlflow.db)."),
    "runs-db": ("runs_db:RunHistory", "A history of runs (.runmeta/run_history.db) with its result/<run_id>."),
}


def format_of(name: str) -> LineFormat | TableFormat:
    """A format by its name. Raises InvalidInput."""
    if name not in FORMATS:
        raise InvalidInput(f"there is no importer {name[:80]!r}; there are: {', '.join(FORMATS)}")
    module, _, cls = FORMATS[name][0].partition(":")
    made: Any = getattr(import_module(f"eventlog.importers.{module}"), cls)()
    return made  # type: ignore[no-any-return]
