"""The past of a table: as of a version, diff, explain, roll back, resume."""

from __future__ import annotations

import eventlog


def main() -> None:
    with eventlog.open() as log:
        log.projects.add("atlas", path="/srv/atlas", note="draft")
        draft = log.head().position
        log.projects.update("atlas", note="ready")
        log.projects.delete("atlas")

        with log.as_of(draft) as past:
            print("then:", past.projects.get("atlas").note, "· now:", log.projects.find("atlas"))

        for change in log.projections.diff(draft, log.head().position, names=["projects"]):
            print(change.change, change.table, change.key, "by the events at", change.positions)

        for step in log.projections.explain("projects", "atlas").steps:
            print(step.position, step.type, step.changes)

        log.projections.rollback(to=draft)
        print("rolled back:", [project.project_id for project in log.projects.list()])
        log.projections.resume()
        print("resumed:", [project.project_id for project in log.projects.list()])
        print("differences:", log.projections.verify())


if __name__ == "__main__":
    main()
