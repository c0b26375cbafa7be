"""The read models: one file each, declarations and pure functions only. Installed through entry points."""
