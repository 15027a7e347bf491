"""Validation of a GAN's settings: each mistake is reported as one line, before anything is computed."""

import inspect
from typing import TYPE_CHECKING, Any

from diffjax.adversarial import PENALTIES, NoPenalty
from diffjax.augment import AUGMENTS, Augment, NoAugment
from diffjax.errors import UserError
from diffjax.methods.game import kind_of

if TYPE_CHECKING:
    from diffjax.methods.gan import GAN


def check(game: "GAN") -> None:
    """Raises UserError for settings of a `GAN` that are invalid, alone or in combination."""
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
    """The network accepts the game's inputs, requires no others, and has the given field."""
    network_class = kind_of(getattr(game, player))
    _self, *inputs = inspect.signature(network_class.__call__).parameters.values()
    required, accepted = {p.name for p in inputs if p.default is p.empty}, {p.name for p in inputs}
    given = given | set(game.input_names)
    if not required <= given <= accepted or (field and not hasattr(network_class, field)):
        suffix = f", or has no {field}" if field else ""
        raise UserError(
            f"method.{player}.name: {network_class.__name__} is no {player} of this game, which gives it "
            f"{', '.join(sorted(given))}: it takes {', '.join(sorted(accepted))}{suffix}"
        )


def _check_updates(game: "GAN") -> None:
    """Lazy updates have a term to descend, and a penalised discriminator judges each image independently."""
    no_penalty = isinstance(game.penalty, NoPenalty)
    if game.lazy > 1 and no_penalty:
        raise UserError(f"method.lazy: {game.lazy} must be 1, as method.penalty is none")
    norm = getattr(game.critic(), "norm", "none")
    if norm != "none" and not no_penalty:
        raise UserError(
            f"method.discriminator.norm: {norm!r} makes an image's logit depend on the whole batch, but method.penalty "
            f"{_name_of(game.penalty, PENALTIES)} needs the gradient of one image's logit; one must be 'none'"
        )
    if game.path_length and not game.styled:
        raise UserError(
            f"method.path_length: {game.path_length} needs a generator with styles, and "
            f"{kind_of(game.generator).__name__} has none; use 0, or stylegan2_generator"
        )


def _check_labels(game: "GAN") -> None:
    game.check_conditional()
    if game.auxiliary and not game.conditional:
        raise UserError(f"method.auxiliary: {game.auxiliary} needs labels; method.conditional must be true")
    if game.auxiliary and game.reads_captions:
        raise UserError(f"method.auxiliary: {game.auxiliary} needs labels, but these data have captions; use 0")
    if game.auxiliary and getattr(game.critic(), "conditioning", "projection") != "projection":
        raise UserError(
            f"method.discriminator.conditioning: {game.critic().conditioning!r} shows the discriminator the class that "
            f"method.auxiliary makes it predict; use 'projection', or method.auxiliary 0"
        )
    if game.packing > 1 and game.conditional:
        raise UserError(
            f"method.packing: {game.packing} packed examples would differ in label; use 1, or method.conditional false"
        )


def _check_augment(game: "GAN") -> None:
    name = _name_of(game.augment, AUGMENTS)
    if not isinstance(game.augment, Augment):
        raise UserError(f"method.augment: {name} returns labels, which no discriminator takes; use ada or diff_augment")
    if game.space.kind != "images" and not isinstance(game.augment, NoAugment):
        raise UserError(f"method.augment: {name} needs images, and these data are {game.space.kind}; use none")
    if getattr(game.augment, "target", 0) and game.loss.even is None:
        raise UserError(
            f"method.augment.target: {game.augment.target} follows the signs of logits, which mean nothing in this "
            "loss; use 0 and a ramp from method.augment.p to p_last in ramp_images"
        )


def _name_of(component: Any, table: dict[str, Any]) -> str:
    """The name of a component in its table, which configs use; the class name of a component that is in no table."""
    component_class = component if component in table.values() else type(component)
    return next((name for name, entry in table.items() if entry is component_class), component_class.__name__)
