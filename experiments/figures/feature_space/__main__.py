import sys

from experiments.figures import feature_space
from experiments.figures.command import main

sys.exit(main("feature_space", feature_space.__doc__, feature_space.draw, sys.argv[1:]))
