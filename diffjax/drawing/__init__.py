"""The command `sample`: a trained run drawn from, photos edited, prompts followed, films made."""
