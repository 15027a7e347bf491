import sys

from experiments.figures import ink_drop
from experiments.figures.command import main

sys.exit(main("ink_drop", ink_drop.__doc__, ink_drop.draw, sys.argv[1:]))
