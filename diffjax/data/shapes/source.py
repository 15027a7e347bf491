"""Rendered scenes with captions: text to image without a download, and whether it came true can be read exactly."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from diffjax.data.shapes.render import place, render
from diffjax.data.shapes.scene import BACKGROUNDS, COLOURS, RELATIONS, SHAPES, SIZES, Scene, Thing, across
from diffjax.data.source import Examples, Synthetic, random
from diffjax.data.space import Space
from diffjax.data.text import encode, longest
from diffjax.errors import UserError

SHOWN = 128  # captions of either split that samples are drawn by, again and again, where none are asked for
SIDES = (16, 32, 64)
TRAIN, HELD_OUT, PAIRS, PLACES, ANEW = range(5)  # what is drawn from a stream of its own


@dataclass(frozen=True)
class Shapes(Synthetic):
    """Pictures [size, size, 3] of one to three shapes, each with a sentence that says what is where; see `scene`.

    Some pairs of a colour and a shape are never seen in training, and every scene of the held-out split has a thing of
    such a pair. All else is drawn evenly; but a third thing's relation is along the other axis than that of the first.
    Raises UserError for numbers that make no scenes.
    """

    size: int = 16  # pixels, height and width: 16, 32 or 64
    objects: tuple[int, ...] = (2,)  # how many things a scene may have, 1 to 3; each as often
    counted: float = 0.0  # share of scenes of several things that are alike and counted, "two small red circles"
    held_pairs: int = 2  # pairs of a colour and a shape that training never sees, all different; 0 to 3
    num_train: int = 50_000
    num_heldout: int = 2_000
    seed: int = 0  # of the draws; of the pairs as well

    def __post_init__(self):
        self._check_counts()
        if self.size not in SIDES:
            raise UserError(f"data.size: {self.size} is not one of {', '.join(map(str, SIDES))}")
        if not self.objects or not set(self.objects) <= {1, 2, 3}:
            raise UserError(f"data.objects: {self.objects} must be numbers from 1 to 3, such as 1,2")
        if not 0 <= self.counted <= 1:
            raise UserError(f"data.counted: {self.counted} is not a share of the scenes; 0 to 1")
        if not 0 <= self.held_pairs <= len(SHAPES):
            raise UserError(f"data.held_pairs: {self.held_pairs} is not a number of pairs from 0 to {len(SHAPES)}")

    @cached_property
    def space(self) -> Space:
        by_turns = zip(*(self._scenes[stream][:SHOWN] for stream in (TRAIN, HELD_OUT)), strict=False)
        prompts = tuple(scene.caption for scenes in by_turns for scene in scenes)
        return Space("images", (self.size, self.size, 3), caption=self._longest, prompts=prompts)

    @cached_property
    def held_out(self) -> frozenset[tuple[str, str]]:
        """The pairs (colour, shape) that training never sees: no colour and no shape is in two of them."""
        generator = random(self.seed, PAIRS, field="data.seed")
        colours, shapes = generator.permutation(list(COLOURS)), generator.permutation(list(SHAPES))
        return frozenset(list(zip(map(str, colours), map(str, shapes), strict=False))[: self.held_pairs])

    def is_held_out(self, scene: Scene) -> bool:
        """Whether training never saw such a scene: one of its things is of a held-out pair."""
        return any((thing.colour, thing.shape) in self.held_out for thing in scene.things)

    def rendered(self, scenes: list[Scene], number: int) -> np.ndarray:
        """A picture [size, size, 3] of each scene, its things at places drawn anew for each `number`."""
        corners = place(scenes, self.size, random(self.seed, ANEW, number, field="data.seed"))
        return np.stack([render(scene, at, self.size) for scene, at in zip(scenes, corners, strict=True)])

    @cached_property
    def _longest(self) -> int:
        """The bytes of the longest caption there can be, whatever was drawn."""
        thing = Thing(*(max(words, key=len) for words in (SIZES, COLOURS, SHAPES)))
        relation, background = (max(words, key=len) for words in (RELATIONS, BACKGROUNDS))
        chains = [Scene((thing,) * k, (relation,) * (k - 1), background) for k in self.objects]
        return longest(scene.caption for scene in chains)  # a counted one is shorter

    @cached_property
    def _scenes(self) -> dict[int, list[Scene]]:
        return {TRAIN: self._imagined(self.num_train, TRAIN), HELD_OUT: self._imagined(self.num_heldout, HELD_OUT)}

    def _imagined(self, n: int, stream: int) -> list[Scene]:
        """n scenes of a split."""
        generator = random(self.seed, stream, field="data.seed")
        every = [(colour, shape) for colour in COLOURS for shape in SHAPES]
        seen = [pair for pair in every if pair not in self.held_out]
        unseen = [pair for pair in every if pair in self.held_out] or seen
        known = seen if stream == TRAIN else every

        def drawn(words, *shape):
            return generator.randint(len(words), size=(n, *shape))

        counts, counted = drawn(self.objects), generator.random_sample(n) < self.counted
        pairs, sizes, backgrounds = drawn(known, 3), drawn(SIZES, 3), drawn(BACKGROUNDS)
        relations, turns = drawn(RELATIONS), drawn((0, 1))
        which, strange = generator.random_sample(n), drawn(unseen)
        scenes = []
        for i in range(n):
            count = self.objects[counts[i]]
            things = [Thing(list(SIZES)[sizes[i, j]], *known[pairs[i, j]]) for j in range(count)]
            if stream == HELD_OUT:
                one = int(which[i] * count)
                things[one] = Thing(things[one].size, *unseen[strange[i]])
            first = list(RELATIONS)[relations[i]]
            chain = (first, across(first)[turns[i]])[: count - 1]
            if counted[i]:
                things, chain = [things[int(which[i] * count)]] * count, ()
            scenes.append(Scene(tuple(things), chain, list(BACKGROUNDS)[backgrounds[i]]))
        return scenes

    def _draw(self, n: int, stream: int) -> Examples:
        scenes = self._scenes[stream]
        corners = place(scenes, self.size, random(self.seed, stream, PLACES, field="data.seed"))
        captions = encode((scene.caption for scene in scenes), self.space.caption)

        def take(indices):
            x = np.stack([render(scenes[i], corners[i], self.size) for i in indices])
            return {"x": x, "label": np.zeros(len(indices), np.int32), "caption": captions[indices]}

        return Examples(n, take, captions)
