"""The pictures of the course, each one command: python -m experiments.figures.NAME writes NAME.png and NAME.gif."""
