"""Rendered scenes with captions: text-to-image data without a download, whose alignment can be measured exactly."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from diffjax.data.shapes.render import place, render
from diffjax.data.shapes.scene import BACKGROUNDS, COLOURS, RELATIONS, SHAPES, SIZES, Scene, Thing, across
from diffjax.data.source import Examples, Synthetic, random
from diffjax.data.space import Space
from diffjax.data.text import encode, longest
from diffjax.errors import UserError

SHOWN = 128  # captions per split that are the default prompts of samples, used cyclically
SIDES = (16, 32, 64)
TRAIN, HELD_OUT, PAIRS, PLACES, ANEW = range(5)  # independent random streams


@dataclass(frozen=True)
class Shapes(Synthetic):
    """Pictures [size, size, 3] of one to three shapes, with a caption that describes their arrangement; see `scene`.

    Training never contains some pairs of colour and shape, and every scene of the held-out split has a thing of such a
    pair. Everything else is uniform, except that the second relation is along the other axis than the first. Raises
    UserError for invalid numbers.
    """

    size: int = 16  # pixels, height and width: 16, 32 or 64
    objects: tuple[int, ...] = (2,)  # possible numbers of things in a scene, 1 to 3, equally likely
    counted: float = 0.0  # share of scenes of several identical things with a number, "two small red circles"
    held_pairs: int = 2  # pairs of colour and shape held out from training, all disjoint; 0 to 3
    num_train: int = 50_000
    num_heldout: int = 2_000
    seed: int = 0  # of the scenes and of the held-out pairs

    def __post_init__(self):
        self._check_counts()
        if self.size not in SIDES:
            raise UserError(f"data.size: {self.size}; must be one of {', '.join(map(str, SIDES))}")
        if not self.objects or not set(self.objects) <= {1, 2, 3}:
            raise UserError(f"data.objects: {self.objects}; must be numbers from 1 to 3, such as 1,2")
        if not 0 <= self.counted <= 1:
            raise UserError(f"data.counted: {self.counted}; must be a share of the scenes, from 0 to 1")
        if not 0 <= self.held_pairs <= len(SHAPES):
            raise UserError(f"data.held_pairs: {self.held_pairs}; must be from 0 to {len(SHAPES)}")

    @cached_property
    def space(self) -> Space:
        alternating = zip(*(self._scenes[stream][:SHOWN] for stream in (TRAIN, HELD_OUT)), strict=False)
        prompts = tuple(scene.caption for scenes in alternating for scene in scenes)
        return Space("images", (self.size, self.size, 3), caption=self._longest, prompts=prompts)

    @cached_property
    def held_out(self) -> frozenset[tuple[str, str]]:
        """The pairs (colour, shape) held out from training: no colour and no shape occurs in two of them."""
        generator = random(self.seed, PAIRS, field="data.seed")
        colours, shapes = generator.permutation(list(COLOURS)), generator.permutation(list(SHAPES))
        return frozenset(list(zip(map(str, colours), map(str, shapes), strict=False))[: self.held_pairs])

    def is_held_out(self, scene: Scene) -> bool:
        """Whether a scene is held out from training: one of its things is a held-out pair."""
        return any((thing.colour, thing.shape) in self.held_out for thing in scene.things)

    def rendered(self, scenes: list[Scene], number: int) -> np.ndarray:
        """Renders each scene, [n, size, size, 3], in a layout that is drawn independently for each `number`."""
        corners = place(scenes, self.size, random(self.seed, ANEW, number, field="data.seed"))
        return np.stack([render(scene, layout, self.size) for scene, layout in zip(scenes, corners, strict=True)])

    @cached_property
    def _longest(self) -> int:
        """Bytes of the longest possible caption."""
        thing = Thing(*(max(words, key=len) for words in (SIZES, COLOURS, SHAPES)))
        relation, background = (max(words, key=len) for words in (RELATIONS, BACKGROUNDS))
        chains = [Scene((thing,) * k, (relation,) * (k - 1), background) for k in self.objects]
        return longest(scene.caption for scene in chains)  # captions with a number are shorter

    @cached_property
    def _scenes(self) -> dict[int, list[Scene]]:
        return {TRAIN: self._imagined(self.num_train, TRAIN), HELD_OUT: self._imagined(self.num_heldout, HELD_OUT)}

    def _imagined(self, n: int, stream: int) -> list[Scene]:
        """Draws n scenes of a split."""
        generator = random(self.seed, stream, field="data.seed")
        all_pairs = [(colour, shape) for colour in COLOURS for shape in SHAPES]
        training_pairs = [pair for pair in all_pairs if pair not in self.held_out]
        held_out_pairs = [pair for pair in all_pairs if pair in self.held_out] or training_pairs
        allowed_pairs = training_pairs if stream == TRAIN else all_pairs

        def draw(words, *shape):
            return generator.randint(len(words), size=(n, *shape))

        counts, counted = draw(self.objects), generator.random_sample(n) < self.counted
        pairs, sizes, backgrounds = draw(allowed_pairs, 3), draw(SIZES, 3), draw(BACKGROUNDS)
        relations, axis_choices = draw(RELATIONS), draw((0, 1))
        positions, held_out_choices = generator.random_sample(n), draw(held_out_pairs)
        scenes = []
        for i in range(n):
            count = self.objects[counts[i]]
            things = [Thing(list(SIZES)[sizes[i, j]], *allowed_pairs[pairs[i, j]]) for j in range(count)]
            if stream == HELD_OUT:
                position = int(positions[i] * count)
                things[position] = Thing(things[position].size, *held_out_pairs[held_out_choices[i]])
            relation = list(RELATIONS)[relations[i]]
            scene_relations = (relation, across(relation)[axis_choices[i]])[: count - 1]
            if counted[i]:
                things, scene_relations = [things[int(positions[i] * count)]] * count, ()
            scenes.append(Scene(tuple(things), scene_relations, list(BACKGROUNDS)[backgrounds[i]]))
        return scenes

    def _draw(self, n: int, stream: int) -> Examples:
        scenes = self._scenes[stream]
        layouts = place(scenes, self.size, random(self.seed, stream, PLACES, field="data.seed"))
        captions = encode((scene.caption for scene in scenes), self.space.caption)

        def take(indices):
            x = np.stack([render(scenes[i], layouts[i], self.size) for i in indices])
            return {"x": x, "label": np.zeros(len(indices), np.int32), "caption": captions[indices]}

        return Examples(n, take, captions)
