"""One module a subject: commands append events, queries read projections."""
