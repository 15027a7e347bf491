"""Opens the frozen text encoder that a config's networks read, once for all, and records its identity."""

from ml_collections import ConfigDict

from diffjax.encoders import Encoder
from diffjax.errors import UserError


def readers_of(method: ConfigDict) -> dict[str, ConfigDict]:
    """The configs of the networks' readers of a frozen encoder, by path; {} if all networks read bytes or nothing."""
    networks = {slot: node for slot, node in method.items() if isinstance(node, ConfigDict) and "text" in node}
    return {f"method.{slot}.text": node.text for slot, node in networks.items() if node.text.name == "frozen"}


def open_for(readers: dict[str, ConfigDict], config: ConfigDict) -> tuple[Encoder, ConfigDict]:
    """The encoder that they read, and the config with its identity recorded.

    Raises UserError if the readers differ in their encoder, or if the config already records another identity.
    """
    (first, node), *others = readers.items()
    for path, other in others:
        for name in ("kind", "encoder", "tokens", "identity"):
            if other[name] != node[name]:
                values = f"{other[name]!r}, and {first} has {node[name]!r}"
                raise UserError(f"{path}.{name}: {values}; all networks are given the same embeddings")
    try:
        encoder = Encoder.open(node.kind, node.encoder, node.tokens)
    except UserError as error:
        raise error.about("", first.removesuffix("text")) from error.__cause__
    if node.identity not in ("", encoder.identity):
        raise UserError(
            f"{first}.encoder: {node.encoder} is another encoder ({encoder.identity}) than that of this run; must be "
            f"{node.identity}"
        )
    config = ConfigDict(config.to_dict())
    for path in readers:
        config.update_from_flattened_dict({f"{path}.identity": encoder.identity})
    return encoder, config.lock()
