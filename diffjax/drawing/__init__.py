"""The command `sample`: draws from a trained run, edits photos, follows prompts and makes films."""
