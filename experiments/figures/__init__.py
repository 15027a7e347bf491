"""The pictures of the course. `python -m experiments.figures.NAME` writes NAME.png and NAME.gif."""
