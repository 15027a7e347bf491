"""What a game of two networks cannot be: every mistake is one line, before anything is computed."""

import inspect
from typing import TYPE_CHECKING, Any

from diffjax.adversarial import PENALTIES, NoPenalty
from diffjax.augment import AUGMENTS, Augment, NoAugment
from diffjax.errors import UserError
from diffjax.methods.game import kind_of

if TYPE_CHECKING:
    from diffjax.methods.gan import GAN


def check(game: "GAN") -> None:
    """Raises UserError for settings of a `GAN` that make no sense, alone or together."""
    _check_numbers(game)
    _check_player(game, "generator", {"z", "label", "train"}, "latent")
    _check_player(game, "discriminator", {"x", "label", "train"}, "outputs" if game.auxiliary else "")
    _check_updates(game)
    _check_labels(game)
    for player in ("generator", "discriminator"):
        game.check_text(player)
    _check_augment(game)


def _check_numbers(game: "GAN") -> None:
    for field in ("d_steps", "lazy", "packing", "path_length_every"):
        if getattr(game, field) < 1:
            raise UserError(f"method.{field}: {getattr(game, field)} must be at least 1")
    for field in ("auxiliary", "clip_weights", "path_length"):
        if not getattr(game, field) >= 0:
            raise UserError(f"method.{field}: {getattr(game, field)} must not be negative; 0 switches it off")


def _check_player(game: "GAN", player: str, given: set[str], field: str) -> None:
    """A network takes what it is given, and has a field that is asked of it."""
    kind = kind_of(getattr(game, player))
    _self, *inputs = inspect.signature(kind.__call__).parameters.values()
    needed, taken = {p.name for p in inputs if p.default is p.empty}, {p.name for p in inputs}
    given = given | set(game.input_names)
    if not needed <= given <= taken or (field and not hasattr(kind, field)):
        lacks = f", or has no {field}" if field else ""
        raise UserError(
            f"method.{player}.name: {kind.__name__} is no {player} of this game, which gives it "
            f"{', '.join(sorted(given))}: it takes {', '.join(sorted(taken))}{lacks}"
        )


def _check_updates(game: "GAN") -> None:
    """There is something to update on, and a penalty is of logits that are each one image's own."""
    free = isinstance(game.penalty, NoPenalty)
    if game.lazy > 1 and free:
        raise UserError(f"method.lazy: {game.lazy} updates on a penalty, but method.penalty is none; use 1")
    norm = getattr(game.critic(), "norm", "none")
    if norm != "none" and not free:
        raise UserError(
            f"method.discriminator.norm: {norm!r} makes an image's logit depend on the others, and method.penalty is "
            f"{_name_of(game.penalty, PENALTIES)}, of the gradient of one image's logit; use 'none', here or there"
        )
    if game.path_length and not game.styled:
        raise UserError(
            f"method.path_length: {game.path_length} is of the way from styles to images, and "
            f"{kind_of(game.generator).__name__} has no styles; use 0, or stylegan2_generator"
        )


def _check_labels(game: "GAN") -> None:
    game.check_conditional()
    if game.auxiliary and not game.conditional:
        raise UserError(f"method.auxiliary: {game.auxiliary} asks for classes; method.conditional must be true")
    if game.auxiliary and game.reads_captions:
        raise UserError(f"method.auxiliary: {game.auxiliary} asks for classes, and captions are shown here; use 0")
    if game.auxiliary and getattr(game.critic(), "conditioning", "projection") != "projection":
        raise UserError(
            f"method.discriminator.conditioning: {game.critic().conditioning!r} shows it the classes that "
            f"method.auxiliary has it find out; leave it as it is, or use 0 there"
        )
    if game.packing > 1 and game.conditional:
        raise UserError(f"method.packing: {game.packing} examples have no label in common; use 1, or no labels")


def _check_augment(game: "GAN") -> None:
    name = _name_of(game.augment, AUGMENTS)
    if not isinstance(game.augment, Augment):
        raise UserError(f"method.augment: {name} says what it did, which no discriminator takes; use ada, diff_augment")
    if game.space.kind != "images" and not isinstance(game.augment, NoAugment):
        raise UserError(f"method.augment: {name} is of images, and {game.space.kind} cannot be augmented; use none")
    if getattr(game.augment, "target", 0) and game.loss.even is None:
        raise UserError(
            f"method.augment.target: {game.augment.target} is of the signs of logits, which mean nothing to this loss; "
            "use 0, and method.augment.p to p_last in ramp_images"
        )


def _name_of(component: Any, table: dict[str, Any]) -> str:
    """What a config calls a component, or the class of one that is in no table."""
    kind = component if component in table.values() else type(component)
    return next((name for name, known in table.items() if known is kind), kind.__name__)
