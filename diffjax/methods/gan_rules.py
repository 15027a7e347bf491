"""Validation of a GAN's settings: each mistake is reported as one line, before anything is computed."""

import inspect
from typing import TYPE_CHECKING

from diffjax.adversarial import PENALTIES, NoPenalty
from diffjax.augment import AUGMENTS, NoAugment
from diffjax.errors import UserError
from diffjax.methods.method import class_of, name_of

if TYPE_CHECKING:
    from diffjax.methods.gan import GAN


def check(gan: "GAN") -> None:
    """Raises UserError for settings of a `GAN` that are invalid, alone or in combination."""
    if gan.space.kind == "categories":
        raise UserError(
            "method.name: a GAN needs images or points, and these data are categories; use 'discrete_diffusion'"
        )
    _check_numbers(gan)
    _check_network(gan, "generator", "latent")
    _check_network(gan, "discriminator", *(["outputs"] if gan.auxiliary else []))
    _check_updates(gan)
    _check_labels(gan)
    for slot in ("generator", "discriminator"):
        gan.check_text(slot)
    _check_augment(gan)


def _check_numbers(gan: "GAN") -> None:
    for field in ("d_steps", "lazy", "packing", "path_length_every"):
        if getattr(gan, field) < 1:
            raise UserError(f"method.{field}: {getattr(gan, field)} must be at least 1")
    for field in ("auxiliary", "clip_weights", "path_length"):
        if not getattr(gan, field) >= 0:
            raise UserError(f"method.{field}: {getattr(gan, field)} must not be negative; 0 switches it off")


def _check_network(gan: "GAN", slot: str, *fields: str) -> None:
    """The network accepts the inputs that it is given, requires no others, and has the fields."""
    network_class = class_of(getattr(gan, slot))
    if not gan.fits(network_class, slot, *fields):
        _self, *accepted = inspect.signature(network_class.__call__).parameters
        also = f" and have a field {fields[0]}" if fields else ""
        raise UserError(
            f"method.{slot}.name: {network_class.__name__} takes {', '.join(sorted(accepted))}; a {slot} must take "
            f"{', '.join(sorted(gan.given[slot]))}{also}; use {gan.fitting(slot, *fields)}"
        )


def _check_updates(gan: "GAN") -> None:
    """Lazy updates have a term to descend, and a penalised discriminator judges each image independently."""
    no_penalty = isinstance(gan.penalty, NoPenalty)
    if gan.lazy > 1 and no_penalty:
        raise UserError(f"method.lazy: {gan.lazy} must be 1, as method.penalty is none")
    norm = getattr(gan.critic(), "norm", "none")
    if norm != "none" and not no_penalty:
        raise UserError(
            f"method.discriminator.norm: {norm!r} makes an image's logit depend on the whole batch, but method.penalty "
            f"{name_of(gan.penalty, PENALTIES)} needs the gradient of one image's logit; one must be 'none'"
        )
    if gan.path_length and not gan.styled:
        raise UserError(
            f"method.path_length: {gan.path_length} needs a generator with styles, and "
            f"{class_of(gan.generator).__name__} has none; use 0, or stylegan2_generator"
        )


def _check_labels(gan: "GAN") -> None:
    gan.check_conditional()
    if gan.auxiliary and not gan.conditional:
        raise UserError(f"method.auxiliary: {gan.auxiliary} needs labels; method.conditional must be true")
    if gan.auxiliary and gan.reads_captions:
        raise UserError(f"method.auxiliary: {gan.auxiliary} needs labels, but these data have captions; use 0")
    if gan.auxiliary and getattr(gan.critic(), "conditioning", "projection") != "projection":
        raise UserError(
            f"method.discriminator.conditioning: {gan.critic().conditioning!r} shows the discriminator the class that "
            f"method.auxiliary makes it predict; use 'projection', or method.auxiliary 0"
        )
    if gan.packing > 1 and gan.conditional:
        raise UserError(
            f"method.packing: {gan.packing} packed examples would differ in label; use 1, or method.conditional false"
        )


def _check_augment(gan: "GAN") -> None:
    name = name_of(gan.augment, AUGMENTS)
    if gan.augment.labels:
        raise UserError(f"method.augment: {name} returns labels, which no discriminator takes; use ada or diff_augment")
    if gan.space.kind != "images" and not isinstance(gan.augment, NoAugment):
        raise UserError(f"method.augment: {name} needs images, and these data are {gan.space.kind}; use none")
    if getattr(gan.augment, "target", 0) and gan.loss.even is None:
        raise UserError(
            f"method.augment.target: {gan.augment.target} follows the signs of logits, which mean nothing in this "
            "loss; use 0 and a ramp from method.augment.p to p_last in ramp_images"
        )
